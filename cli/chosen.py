"""Which items or stored images a command means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ..core.errors import BadInput
from ..core.request import ImageChoice, ItemChoice
from .flags import Given

if TYPE_CHECKING:
    from ..core.ledger import Ledger, Selection

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


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
    from .typed import read_choice

    choice = read_choice(given)
    if run is not None:
        choice = choice.model_copy(update={"run": ledger.runs.find(run)})
    image_filter(ledger, choice)  # which also says what nothing can match
    if not ledger.review.overview(ImageFilter(run_id=choice.run)).images:
        where = f"run {choice.run[:8]}" if choice.run is not None else ledger.description
        raise BadInput(f"{where} has no stored image yet: `prefect-imagen status` shows how it stands")
    return choice


def read_selection(ledger: Ledger, given: Given) -> Selection:
    """Read which items are meant.

    Args:
        ledger: Knows the runs.
        given: Flags of `ItemChoice`.

    Raises:
        BadInput: A value that is not allowed, or an unknown run.
    """
    from ..core.ledger import Selection
    from .typed import read_options

    choice = read_options(given, ItemChoice)
    return Selection(
        run_id=ledger.runs.find(choice.run) if choice.run is not None else None,
        edition=choice.edition,
        tags=choice.tags,
        before=moment_before(choice.older_than, datetime.now(UTC)) if choice.older_than is not None else None,
    )


def moment_before(text: str, now: datetime) -> datetime:
    """An age (`90d`, `12h`, `4w`) or a day (`2026-01-31`, its beginning in UTC) as a moment.

    Raises:
        BadInput: Neither, or not in the past.

    Example:
        >>> moment_before("90d", datetime(2026, 4, 1, tzinfo=UTC)).date().isoformat()
        '2026-01-01'
    """
    age = re.fullmatch(r"(\d{1,5})([hdw])", text)
    try:
        if age:
            moment = now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadInput(
            f"--older-than: {text!r} is neither an age such as 90d, 12h, 4w nor a day as 2026-01-31"
        ) from None
    if moment > now:
        raise BadInput(f"--older-than: {text} lies in the future")
    return moment
