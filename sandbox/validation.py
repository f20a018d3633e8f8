"""Checks a request body against a contract of the registry, and reports the API's issues.

The API validates with Zod; its issues are `{code, path, message, …}` (from a public capture of an
`invalid_enum_value`; the other codes are Zod's own). A field that is not in the contract is ignored, as the API
seems to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..core.providers.spec import FieldSpec, ResolvedModel

Issue: TypeAlias = dict[str, Any]
_Path: TypeAlias = tuple[str | int, ...]

_LEAST_PROMPT = 1
_MEGAPIXEL = 1024 * 1024
_ZOD_TYPES = {"list": "array", "object": "object", "boolean": "boolean", "integer": "number", "number": "number"}
_SCALES = {"1K": 1, "2K": 2, "4K": 4}
_ADDRESS = re.compile(r"https?://[^\s/]|data:image/.")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that fits its contract.

    Attributes:
        fields: Values of the contract's fields that were sent or have a default.
        width, height: Size of the images in pixels.
    """

    prompt: str
    fields: Mapping[str, Any]
    width: int
    height: int

    @property
    def count(self) -> int:
        """How many images were asked for."""
        return int(self.fields.get("num_images", self.fields.get("n", 1)))


MISSING: Any = object()
"""Stands for a value that is not there."""


def type_name(value: Any) -> str:
    """Zod's name for the type of a JSON value."""
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def type_issue(path: _Path, expected: str, value: Any, received: str | None = None) -> Issue:
    """A value of the wrong type, or one that is `MISSING`."""
    received = received or type_name(value)
    message = "Required" if value is MISSING else f"Expected {expected}, received {received}"
    return {
        "code": "invalid_type",
        "expected": expected,
        "received": received,
        "path": list(path),
        "message": message,
    }


def enum_issue(path: _Path, options: tuple[str, ...], received: str) -> Issue:
    """A string that is not one of the allowed ones."""
    allowed = " | ".join(f"'{option}'" for option in options)
    return {
        "received": received,
        "code": "invalid_enum_value",
        "options": list(options),
        "path": list(path),
        "message": f"Invalid enum value. Expected {allowed}, received '{received}'",
    }


def bound_issue(path: _Path, kind: str, code: str, limit: float) -> Issue:
    """A number, or the length of a string or array, that is `too_big` or `too_small`."""
    word, relation = ("maximum", "less") if code == "too_big" else ("minimum", "greater")
    message = f"Number must be {relation} than or equal to {limit}"
    if kind in ("string", "array"):
        named, unit = ("String", "character(s)") if kind == "string" else ("Array", "element(s)")
        message = f"{named} must contain at {'most' if code == 'too_big' else 'least'} {limit} {unit}"
    return {
        "code": code,
        word: limit,
        "type": kind,
        "inclusive": True,
        "exact": False,
        "message": message,
        "path": list(path),
    }


def _number(path: _Path, spec: FieldSpec, value: Any, *, whole: bool = True) -> list[Issue]:
    if type_name(value) != "number" or (isinstance(value, float) and not math.isfinite(value)):
        return [type_issue(path, "number", value)]
    if whole and isinstance(value, float) and not value.is_integer():
        return [type_issue(path, "integer", value, "float")]
    issues = _bounds(path, "number", value, spec.minimum, spec.maximum)
    if spec.multiple_of is not None and value % spec.multiple_of:
        message = f"Number must be a multiple of {spec.multiple_of}"
        issues.append(
            {"code": "not_multiple_of", "multipleOf": spec.multiple_of, "message": message, "path": list(path)}
        )
    return issues


def _bounds(path: _Path, kind: str, amount: float, minimum: float | None, maximum: float | None) -> list[Issue]:
    if minimum is not None and amount < minimum:
        return [bound_issue(path, kind, "too_small", minimum)]
    if maximum is not None and amount > maximum:
        return [bound_issue(path, kind, "too_big", maximum)]
    return []


def _size(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    if isinstance(value, str):
        return [] if value in spec.choices else [enum_issue(path, spec.choices, value)]
    if not isinstance(value, dict):
        return [type_issue(path, "object", value)]
    issues = []
    for side in ("width", "height"):
        if side in value:
            issues += _number((*path, side), spec, value[side])
    return issues


def _array(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    if not isinstance(value, list) or spec.items is None:
        return [type_issue(path, "array", value)]
    issues = _bounds(path, "array", len(value), spec.minimum, spec.maximum)
    for place, item in enumerate(value):
        issues += _value((*path, place), spec.items, item)
    return issues


def _object(path: _Path, fields: Mapping[str, FieldSpec], value: Any) -> list[Issue]:
    if not isinstance(value, dict):
        return [type_issue(path, "object", value)]
    issues = []
    for name, field in fields.items():
        if name in value:
            issues += _value((*path, name), field, value[name])
        elif field.required:
            issues.append(type_issue((*path, name), _ZOD_TYPES.get(field.kind, "string"), MISSING))
    return issues


def _value(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    match spec.kind:
        case "integer" | "number":
            return _number(path, spec, value, whole=spec.kind == "integer")
        case "size":
            return _size(path, spec, value)
        case "list":
            return _array(path, spec, value)
        case "object":
            return _object(path, spec.fields, value)
        case "boolean":
            return [] if isinstance(value, bool) else [type_issue(path, "boolean", value)]
    if not isinstance(value, str):
        return [type_issue(path, "string", value)]
    if spec.kind == "choice" and value not in spec.choices:
        return [enum_issue(path, spec.choices, value)]
    if spec.kind == "url" and not _ADDRESS.match(value):
        return [{"code": "invalid_string", "validation": "url", "message": "Invalid url", "path": list(path)}]
    return _text(path, value, spec.minimum, spec.maximum) if spec.kind == "text" else []


def _text(path: _Path, value: str, minimum: float | None, maximum: float | None) -> list[Issue]:
    """Check a length as JavaScript counts it: in UTF-16 code units, of which an emoji takes two."""
    return _bounds(path, "string", len(value.encode("utf-16-le", "surrogatepass")) // 2, minimum, maximum)


def _prompt(body: Mapping[str, Any], limit: int | None) -> list[Issue]:
    prompt = body.get("prompt", MISSING)
    if not isinstance(prompt, str):
        return [type_issue(("prompt",), "string", prompt)]
    return _text(("prompt",), prompt, _LEAST_PROMPT, limit)


def _pixels(model: ResolvedModel, fields: Mapping[str, Any]) -> tuple[int, int]:
    """The size of the images that were asked for; about a megapixel of that shape if it is not documented."""
    known = model.spec.pixels
    contract = model.contract
    sizing = contract.sizing or contract.field_for("aspect_ratio") or "aspect_ratio"
    value = fields.get(sizing)
    if isinstance(value, Mapping):
        wide, high = known.get(str(contract.fields[sizing].default), (1024, 1024))
        return int(value.get("width", wide)), int(value.get("height", high))
    wide, high = known[value] if isinstance(value, str) and value in known else _shape(value)
    scale = _SCALES.get(str(fields.get(contract.field_for("resolution") or "resolution", "")).upper(), 1)
    return wide * scale, high * scale


def _shape(value: Any) -> tuple[int, int]:
    pixels = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value) if isinstance(value, str) else None
    if pixels is not None:
        return int(pixels[1]), int(pixels[2])
    match = re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
    if match is None:
        return 1024, 1024
    ratio = float(match[1]) / float(match[2])
    wide = round(math.sqrt(_MEGAPIXEL * ratio) / 16) * 16
    return wide, round(wide / ratio / 16) * 16


def check_body(body: Mapping[str, Any], model: ResolvedModel) -> Accepted | list[Issue]:
    """Check a body against the contract of its model: the request with defaults filled in, or all issues found."""
    contract = model.contract
    issues = _prompt(body, contract.prompt_limit) if contract.takes_prompt else []
    issues += _object((), contract.fields, body)
    if issues:
        return issues
    fields = {name: body.get(name, spec.default) for name, spec in contract.fields.items()}
    fields = {
        name: int(value) if contract.fields[name].kind == "integer" else value
        for name, value in fields.items()
        if name in body or value is not None
    }
    return Accepted(body["prompt"] if contract.takes_prompt else "", fields, *_pixels(model, fields))
