"""`prefect-imagen thumbnails`: small copies ahead of a review."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .console import print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

_SHOWN = 10


@with_flags
def thumbnails(
    chosen: options.ChosenOfRun,
    store: options.Reach,
    run: options.OfRun = None,
    catalog: options.Catalog = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Images in work at the same time.", rich_help_panel="Work")
    ] = 4,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Make the thumbnails of the review page in advance.

      prefect-imagen thumbnails --edition 2026-03-01

    The page makes missing thumbnails when it shows them. They are kept in ~/.prefect-imagen/thumbnails.
    """
    del verbose
    from ..core.review.ahead import make_thumbnails
    from ..core.review.choice import image_filter
    from ..core.storage.sources import Sources
    from .catalogs import existing_ledger
    from .chosen import read_chosen
    from .typed import read_store

    with existing_ledger(catalog) as ledger:
        wanted = image_filter(ledger, read_chosen(ledger, chosen, run))
        done = make_thumbnails(ledger, wanted, Sources.of(read_store(store)), at_once=at_once)
    if json:
        print_json({"made": done.made, "there": done.there, "failed": done.failed})
    else:
        stdout().print(f"{done.made:,} made, {done.there:,} were there, {len(done.failed):,} cannot be made")
    for image_id, reason in list(done.failed.items())[:_SHOWN]:
        stderr().print(f"  {image_id}: {reason}", soft_wrap=True)
    return INCOMPLETE if done.failed else OK
