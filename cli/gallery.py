"""`prefect-imagen gallery`: the page of `review` as files, for those who have no access to the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.image_filters import ImageFilters
from ..core.store_options import StoreOptions
from . import options
from .console import print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

_OUT = "Where to"
_SHOWN = 10


@with_flags
def gallery(
    filters: Annotated[Given, FlagsOf(ImageFilters)],
    store: Annotated[Given, FlagsOf(StoreOptions)],
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Id of a run, or how it begins; all images if left out.")
    ] = None,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR|s3://…", help="Where the files go.", rich_help_panel=_OUT)
    ] = "gallery",
    no_originals: Annotated[
        bool, typer.Option("--no-originals", help="Write thumbnails only.", rich_help_panel=_OUT)
    ] = False,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Write the page of `review` as files that open from a disk or a static host.

    [dim]prefect-imagen gallery --out spring-gallery --edition 2026-spring[/dim]

    Whoever looks at it saves their verdicts as a file, for `prefect-imagen verdicts --apply FILE`.
    The files have prompts, source rows and costs in them.
    """
    del verbose
    from ..core.ledger import ImageOrder
    from ..core.review import Pictures
    from ..core.review.filters import ledger_filter
    from ..core.review.gallery import write_gallery
    from ..core.storage import open_store
    from .catalogs import existing_ledger
    from .typed import read_store
    from .wanted import read_filters

    reach = read_store(store)
    place = open_store(out, **(reach if out.startswith("s3://") else {}))
    with existing_ledger(catalog, required=True) as ledger:
        if ledger is None:
            raise TypeError("a required ledger is never None")
        wanted = read_filters(ledger, filters, run)
        place.preflight()
        pictures = Pictures(reach)
        try:
            done = write_gallery(
                ledger,
                place,
                ledger_filter(wanted),
                order=ImageOrder(wanted.order),
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
