"""Which pictures the page shows: the words of its address and of its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadInput
from ..ledger import ImageFilter, ImageOrder, Ledger
from ..request import ImageChoice, options_of
from .choice import ANY, NONE, image_filter

_MOST_RUNS = 200
_OPTIONS = {option.name: option for option in options_of(ImageChoice)}


def query_of(choice: ImageChoice, order: ImageOrder = ImageOrder.TIME) -> dict[str, str]:
    """What is asked for as the page's address has it; several values stand on a line each."""
    given = choice.model_dump(mode="json", exclude_defaults=True)
    found: dict[str, str] = {}
    for name, option in _OPTIONS.items():
        value = given.get(option.path[-1])
        if isinstance(value, dict):
            value = "\n".join(f"{key}={text}" for key, text in value.items())
        elif isinstance(value, list):
            value = "\n".join(value)
        if value is not None:
            found[name] = str(value)
    return found | ({} if order is ImageOrder.TIME else {"order": order.value})


def read_filter(ledger: Ledger, given: Mapping[str, str]) -> tuple[ImageFilter, ImageOrder]:
    """Read filters and order from the page's address.

    Raises:
        BadInput: An unknown name, or a value that is not allowed.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name == "order":
            continue
        option = _OPTIONS.get(name)
        if option is None:
            raise BadInput(f"unknown filter {name[:40]!r}: use {', '.join([*_OPTIONS, 'order'])}")
        if isinstance(option.default, dict):
            values[option.path[-1]] = dict(_pair(line) for line in text.splitlines())
        elif isinstance(option.default, tuple):
            values[option.path[-1]] = tuple(text.splitlines())
        elif text or name == "edition":
            values[option.path[-1]] = text
    return image_filter(ledger, ImageChoice.read(values)), read_order(given.get("order"))


def read_order(text: str | None) -> ImageOrder:
    """Read how pictures are sorted.

    Raises:
        BadInput: No such order.
    """
    try:
        return ImageOrder(text or ImageOrder.TIME)
    except ValueError:
        raise BadInput(f"order: {str(text)[:40]!r} is not one of {', '.join(ImageOrder)}") from None


def choices(ledger: Ledger) -> dict[str, Any]:
    """What a form offers to filter by."""
    runs = ledger.runs.brief()
    flags = sorted(ledger.review.flags())
    return {
        "fields": [*_OPTIONS, "order"],
        "flags": [ANY, NONE, *flags] if flags else [],
        "runs": [[row["run_id"], _name(row)] for row in runs[:_MOST_RUNS]],
        "editions": sorted({row["edition"] for row in runs} - {""}),
        "models": sorted({row["model"] for row in runs}),
        "tags": sorted({f"{name}={value}" for row in runs for name, value in row["tags"].items()}),
    }


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['started_at']:%Y-%m-%d %H:%M} {run['edition'] or run['run_id'][:8]} ({run['rows']:,})"


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise BadInput(f"tag: {text[:80]!r} is not of the form NAME=VALUE")
    return name, value
