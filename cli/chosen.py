"""Which stored images a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import BadInput
from ..core.request import ImageChoice
from .flags import Given

if TYPE_CHECKING:
    from ..core.ledger import Ledger


def read_chosen(ledger: Ledger, given: Given, run: str | None) -> ImageChoice:
    """Read which images are meant, and see that there can be some.

    Args:
        ledger: Knows the runs.
        given: Flags of `ImageChoice`.
        run: Id of a run, or the beginning of it; None for all.

    Raises:
        BadInput: A value that is not allowed, an unknown run, or a run or catalog without a stored image.
    """
    from ..core.ledger import ImageFilter
    from ..core.review.choice import image_filter
    from .runs import find_run
    from .typed import read_choice

    choice = read_choice(given)
    if run is not None:
        choice = choice.model_copy(update={"run": find_run(ledger.runs.all(), run)["run_id"]})
    image_filter(ledger, choice)  # which also says what nothing can match
    if not ledger.review.overview(ImageFilter(run_id=choice.run)).images:
        where = f"run {choice.run[:8]}" if choice.run is not None else ledger.description
        raise BadInput(f"{where} has no stored image yet: `prefect-imagen status` shows how it stands")
    return choice
