"""`prefect-imagen check`: look at images for faults that a computer can see, for nothing."""

from __future__ import annotations

from typing import Annotated

from ..core.request import CheckOptions
from . import options
from .console import facts, print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

_SHOWN = 10


@with_flags
def check(
    store: options.Endpoint,
    chosen: options.Chosen,
    given: Annotated[Given, FlagsOf(CheckOptions)],
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Flag images that are blank, blurred, alike or badly shaped.

      prefect-imagen check --edition spring --check mychecks:has_text

    Flags are written to the catalog. They sort the review, and `deliver --hold-flagged` holds such images back. An
    image that was checked before is not checked again. Nothing is bought or deleted.

    Exit code: 0 all were checked, 1 a check of your own failed on some, 2 bad input.
    """
    del verbose
    from ..core.review.checks import check_images
    from ..core.review.choice import image_filter
    from ..core.storage.sources import Sources
    from .catalogs import existing_ledger
    from .typed import read_choice, read_options, read_store

    with existing_ledger(catalog) as ledger:
        report = check_images(
            ledger,
            image_filter(ledger, read_choice(chosen)),
            read_options(given, CheckOptions),
            sources=Sources.of(read_store(store)),
            say=lambda text: None if json else stderr().print(f"… {text}", style="dim", soft_wrap=True),
        )
    if json:
        print_json(report.as_dict())
    else:
        stdout().print(report.summary(), style="bold", soft_wrap=True)
        facts(stdout(), [("problem", problem) for problem in report.problems[:_SHOWN]])
    return INCOMPLETE if report.problems else OK
