"""Whether a value is one that a field takes, and what was meant by one typed on a command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ..values import is_content_reference
from .spec import FieldSpec

_PIXELS = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")
_ADDRESS = re.compile(r"https?://[^\s/]|data:image/")


def prompt_length(prompt: str) -> int:
    """Length of a prompt in UTF-16 code units.

    The provider validates with Zod, in JavaScript, where a string's length counts UTF-16 units; for ordinary text it
    equals the number of characters. Counting the larger of the two never lets a prompt through that is refused there.
    """
    return len(prompt.encode("utf-16-le", "surrogatepass")) // 2


def bad_character(text: str) -> str | None:
    """What is allowed, where a text has something in it that cannot be sent."""
    if "\x00" in text:
        return "text without NUL characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "well-formed Unicode (there is half a surrogate pair)"
    return None


def _bounds(spec: FieldSpec) -> str:
    low, high = ("…" if bound is None else f"{bound}" for bound in (spec.minimum, spec.maximum))
    return f"{low} to {high}"


def _within(spec: FieldSpec, value: float) -> bool:
    return (spec.minimum is None or value >= spec.minimum) and (spec.maximum is None or value <= spec.maximum)


def _number(spec: FieldSpec, value: Any) -> str | None:
    wanted = f"an integer, {_bounds(spec)}" if spec.kind == "integer" else f"a number, {_bounds(spec)}"
    kinds = int if spec.kind == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        return wanted
    return None if _within(spec, value) else wanted


def _size(spec: FieldSpec, value: Any) -> str | None:
    low, high, step = spec.minimum or 1, spec.maximum or 16384, spec.multiple_of or 1
    allowed = f"one of {', '.join(spec.choices)}, or WIDTHxHEIGHT of {low} to {high}, multiples of {step}"
    if isinstance(value, str):
        return None if value in spec.choices else allowed
    if not isinstance(value, Mapping) or set(value) != {"width", "height"}:
        return allowed
    for side in value.values():
        if isinstance(side, bool) or not isinstance(side, int):
            return allowed
        if not low <= side <= high or side % step:
            return allowed
    return None


def _text(spec: FieldSpec, value: Any) -> str | None:
    if not isinstance(value, str):
        return "text"
    if spec.kind == "url" and not (_ADDRESS.match(value) or is_content_reference(value)):
        return "an address of an image (https://…), or a data URI"
    if spec.kind == "text" and not _within(spec, prompt_length(value)):
        return f"text of {_bounds(spec)} characters"
    return bad_character(value)


def _list(spec: FieldSpec, value: Any) -> str | None:
    wanted = f"a list, {_bounds(spec)} long" if spec.minimum is not None or spec.maximum is not None else "a list"
    if not isinstance(value, list | tuple) or not _within(spec, len(value)) or spec.items is None:
        return wanted
    allowed = next((problem for item in value if (problem := what_is_allowed(spec.items, item)) is not None), None)
    return f"{wanted}, of {allowed}" if allowed else None


def _object(spec: FieldSpec, value: Any) -> str | None:
    wanted = f"an object with {', '.join(spec.fields)}"
    if not isinstance(value, Mapping) or not set(value) <= set(spec.fields):
        return wanted
    for name, field in spec.fields.items():
        if name not in value:
            if field.required:
                return wanted
        elif (allowed := what_is_allowed(field, value[name])) is not None:
            return f"{wanted}; {name}: {allowed}"
    return None


def what_is_allowed(spec: FieldSpec, value: Any) -> str | None:
    """What a field would take, where it does not take `value`; None where it does."""
    match spec.kind:
        case "integer" | "number":
            return _number(spec, value)
        case "size":
            return _size(spec, value)
        case "boolean":
            return None if isinstance(value, bool) else "true or false"
        case "choice":
            return None if value in spec.choices else f"one of {', '.join(spec.choices)}"
        case "text" | "url":
            return _text(spec, value)
        case "list":
            return _list(spec, value)
        case "object":
            return _object(spec, value)


def settled(value: Any) -> Any:
    """A value in the one form that it has in an item's identity: 3.0 is 3, a tuple is a list."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): settled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [settled(inner) for inner in value]
    return value


def parse_parameter(spec: FieldSpec, text: str) -> Any:
    """Read a parameter as typed on a command line; what cannot be read is returned as text, for the check to refuse.

    Example:
        >>> parse_parameter(FieldSpec(kind="size", choices=("square",), description=""), "512x768")
        {'width': 512, 'height': 768}
    """
    stripped = text.strip()
    if spec.kind in ("integer", "number") and re.fullmatch(r"[+-]?\d+", stripped):
        return int(stripped)
    if spec.kind == "number" and re.fullmatch(r"[+-]?\d+\.\d+", stripped):
        return float(stripped)
    if spec.kind == "boolean" and stripped.lower() in {"true", "yes", "1", "false", "no", "0"}:
        return stripped.lower() in {"true", "yes", "1"}
    if spec.kind == "size" and (pixels := _PIXELS.fullmatch(stripped)):
        return {"width": int(pixels[1]), "height": int(pixels[2])}
    if spec.kind in ("list", "object"):
        return _structure(spec, stripped)
    return text


def _structure(spec: FieldSpec, text: str) -> Any:
    """A list or an object, as JSON; a list of addresses also as it is, or with commas between them."""
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if spec.kind == "list" and spec.items is not None and spec.items.kind == "url":
        return [text] if text.startswith("data:") else [part.strip() for part in text.split(",")]
    return text
