"""Which pictures the page shows: the words of its address and of its form, as a filter of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..image_filters import ANY_FLAG, ImageFilters, Order
from ..ledger import ImageFilter, ImageOrder, Ledger, VerdictValue
from ..money import usd_to_credits

_MOST_RUNS = 200


def ledger_filter(filters: ImageFilters) -> ImageFilter:
    """Filters as the ledger has them.

    Raises:
        BadInput: Nothing can match.
    """
    verdict = "none" if filters.unreviewed else filters.verdict
    return ImageFilter(
        run_id=filters.run,
        edition=filters.edition,
        tags=filters.tag,
        verdicts=(VerdictValue(verdict),) if verdict is not None else (),
        stars_from=filters.stars,
        flags=() if filters.flag in (None, ANY_FLAG) else (str(filters.flag),),
        flagged=True if filters.flag == ANY_FLAG else None,
        duplicates=True if filters.duplicates else None,
        duplicate_group=filters.duplicate_group,
        model=filters.model,
        text=filters.text,
        since=filters.since,
        until=filters.until,
        cost_from=None if filters.min_cost is None else usd_to_credits(filters.min_cost),
        cost_to=None if filters.max_cost is None else usd_to_credits(filters.max_cost),
    )


def read_filter(given: Mapping[str, str]) -> tuple[ImageFilter, ImageOrder]:
    """Read filters and order from the page's address.

    Raises:
        BadInput: An unknown name, or a value that is not allowed.
    """
    filters = ImageFilters.read(given)
    return ledger_filter(filters), ImageOrder(filters.order)


def choices(ledger: Ledger) -> dict[str, Any]:
    """What a form offers to filter by."""
    runs = ledger.runs.all()
    return {
        "fields": list(ImageFilters.model_fields),
        "flags": [ANY_FLAG, *sorted(ledger.review.counts(ImageFilter()).flags)],
        "runs": [[row["run_id"], _name(row)] for row in runs[:_MOST_RUNS]],
        "editions": sorted({row["edition"] for row in runs} - {""}),
        "models": sorted({row["model"] for row in runs}),
        "tags": sorted({f"{name}={value}" for row in runs for name, value in row["tags"].items()}),
        "orders": list(Order),
    }


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['started_at']:%Y-%m-%d %H:%M} {run['edition'] or run['run_id'][:8]} ({run['items']:,})"
