"""Small helpers for plain values."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no white space, characters as they are.

    Example:
        >>> canonical_json({"b": 1, "a": "é"})
        '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
