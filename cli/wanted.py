"""Which images a command means, from its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import BadInput
from ..core.image_filters import ImageFilters
from .flags import Given

if TYPE_CHECKING:
    from ..core.ledger import Ledger


def read_filters(ledger: Ledger, given: Given, run: str | None) -> ImageFilters:
    """Read the filters of a command.

    Args:
        ledger: Knows the runs.
        given: Flags of `ImageFilters`.
        run: Id of a run, or how it begins; None for all.

    Raises:
        BadInput: A value that is not allowed, an unknown run, or one without images.
    """
    from ..core.ledger import ImageFilter
    from ..core.review.filters import ledger_filter
    from .runs import find_run
    from .typed import read_pairs

    values = dict(given.values)
    if "tag" in values:
        values["tag"] = read_pairs(values["tag"], "--tag")
    if run is not None:
        values["run"] = find_run(ledger.runs.all(), run)["run_id"]
    if not ledger.review.counts(ImageFilter(run_id=values.get("run"))).images:
        where = f"run {values['run'][:8]} has" if run is not None else f"{ledger.description} has"
        raise BadInput(f"{where} no stored image yet: `prefect-imagen status` shows how it stands")
    wanted = ImageFilters.read(values)
    ledger_filter(wanted)  # which also says what nothing can match
    return wanted
