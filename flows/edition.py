"""Editions: which purchase of the same prompts this run asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import prefect.runtime

from ..core.errors import BadInput

__all__ = ["resolve_edition"]

_PLACEHOLDER = "{scheduled_date}"


def resolve_edition(edition: str, timezone: str, scheduled: datetime | None = None) -> str:
    """Fill in `{scheduled_date}`: the day the run was scheduled for, the same on every retry of it.

    Args:
        edition: As the deployment has it.
        timezone: IANA name; the day begins at midnight there.
        scheduled: For when the run was scheduled; None to ask Prefect.

    Raises:
        BadInput: No such time zone.

    Example:
        >>> resolve_edition("daily-{scheduled_date}", "Europe/Berlin", datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
        'daily-2026-03-02'
    """
    if _PLACEHOLDER not in edition:
        return edition
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput(f"edition_timezone: {timezone!r} is not a time zone; use a name such as Europe/Berlin") from None
    moment = scheduled or prefect.runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    return edition.replace(_PLACEHOLDER, moment.astimezone(zone).date().isoformat())
