"""Small helpers for plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no white space, characters as they are.

    Example:
        >>> canonical_json({"b": 1, "a": "é"})
        '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are not repeated; Python's reader would silently keep the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key {repeated(name for name, _ in pairs)!r} appears twice")
    return values


def repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before.

    Example:
        >>> repeated(["a", "b", "a"])
        'a'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def batched(values: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Split values into lists of at most `size`: a statement takes a bounded number of parameters."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
