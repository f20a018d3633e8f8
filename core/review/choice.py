"""From what a person asks for to a filter of the ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..errors import BadInput
from ..export.columns import Kind, plain
from ..ledger import ImageFilter, ImageState, Ledger, VerdictValue
from ..money import usd_to_credits
from ..request import ImageChoice

ANY, NONE = "any", "none"


def image_filter(
    ledger: Ledger,
    choice: ImageChoice,
    *,
    verdict: str = ANY,
    states: tuple[ImageState, ...] = (ImageState.STORED,),
) -> ImageFilter:
    """The images that are meant.

    Args:
        ledger: Open; the run is looked for in it.
        choice: What is asked for.
        verdict: What is meant where none is named.
        states: In which states images are meant.

    Raises:
        BadInput: There is no such run, or a criterion that nothing can match.
    """
    wanted = choice.verdict or verdict
    flags = set(choice.flags)
    if flags & {ANY, NONE} and len(flags) > 1:
        raise BadInput(f"--flag: {ANY} and {NONE} stand alone")
    group = choice.duplicates
    return ImageFilter(
        run_id=ledger.runs.find(choice.run) if choice.run is not None else None,
        edition=choice.edition,
        tags=choice.tags,
        model=choice.model,
        verdicts=() if wanted == ANY else (VerdictValue(wanted),),
        stars_from=choice.stars,
        flags=() if flags & {ANY, NONE} else choice.flags,
        flagged=ANY in flags if flags & {ANY, NONE} else None,
        duplicate_group=group if group not in (ANY, NONE) else None,
        duplicates=group == ANY if group in (ANY, NONE) else None,
        text=choice.text,
        since=_aware(choice.since),
        until=_aware(choice.until),
        cost_from=usd_to_credits(choice.cost_from) if choice.cost_from is not None else None,
        cost_to=usd_to_credits(choice.cost_to) if choice.cost_to is not None else None,
        states=states,
    )


def loaded(text: str | None) -> Any:
    """A column of JSON as a value."""
    return None if text is None else json.loads(text)


def iso(moment: Any) -> str | None:
    """A column of time as text, the same from both databases."""
    return None if moment is None else str(plain(Kind.TIME, moment).isoformat())


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)
