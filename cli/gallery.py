"""`prefect-imagen gallery`: the page of `review` as files, for those who have no access to the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .console import print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

_OUT = "Where to"
_SHOWN = 10


@with_flags
def gallery(
    chosen: options.ChosenOfRun,
    store: options.Store,
    run: options.OfRun = None,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR|s3://…", help="Where the files go.", rich_help_panel=_OUT)
    ] = "gallery",
    no_originals: Annotated[
        bool, typer.Option("--no-originals", help="Write thumbnails only.", rich_help_panel=_OUT)
    ] = False,
    order: options.Order = None,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Write the page of `review` as files for a disk or a static host.

      prefect-imagen gallery --out spring-gallery --edition 2026-spring

    A reviewer saves the verdicts as a file, and `prefect-imagen verdicts --apply FILE` reads it. The files contain
    prompts, source rows and costs.
    """
    del verbose
    from ..core.review.choice import image_filter
    from ..core.review.filters import read_order
    from ..core.review.gallery import write_gallery
    from ..core.review.pictures import Pictures
    from ..core.storage import open_place
    from ..core.storage.sources import Sources
    from .catalogs import existing_ledger
    from .chosen import read_chosen
    from .typed import read_store

    sorting = read_order(order)
    reach = read_store(store)
    place = open_place(out, reach)
    with existing_ledger(catalog) as ledger:
        wanted = image_filter(ledger, read_chosen(ledger, chosen, run))
        place.preflight()
        pictures = Pictures(Sources.of(reach))
        try:
            done = write_gallery(
                ledger,
                place,
                wanted,
                order=sorting,
                pictures=pictures,
                originals=not no_originals,
            )
        finally:
            pictures.close()
    if json:
        print_json({"uri": done.uri, "images": done.images, "written": done.written, "failed": done.failed})
    else:
        stdout().print(f"{done.images:,} pictures → {done.uri}", soft_wrap=True)
    for image_id, reason in list(done.failed.items())[:_SHOWN]:
        stderr().print(f"  {image_id} cannot be shown: {reason}", soft_wrap=True)
    return INCOMPLETE if done.failed else OK
