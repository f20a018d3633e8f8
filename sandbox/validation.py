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

from ..core.aimlapi.spec import FieldSpec, ResolvedModel

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
        prompt: The prompt as sent.
        fields: Values of the contract's fields that were sent or have a default.
        width: Width of the images in pixels.
        height: Height of the images in pixels.
    """

    prompt: str
    fields: Mapping[str, Any]
    width: int
    height: int

    @property
    def count(self) -> int:
        """How many images were asked for."""
        return int(self.fields.get("num_images", self.fields.get("n", 1)))


def type_name(value: Any) -> str:
    """Zod's name for the type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def type_issue(path: _Path, expected: str, received: str) -> Issue:
    """A value of the wrong type, or (`received="undefined"`) a missing value."""
    message = "Required" if received == "undefined" else f"Expected {expected}, received {received}"
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


def _bound_issue(path: _Path, kind: str, code: str, limit: float) -> Issue:
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


def _number(
    path: _Path,
    value: Any,
    minimum: float | None,
    maximum: float | None,
    step: int | None = None,
    *,
    whole: bool = True,
) -> list[Issue]:
    if type_name(value) != "number" or (isinstance(value, float) and not math.isfinite(value)):
        return [type_issue(path, "number", type_name(value))]
    if whole and isinstance(value, float) and not value.is_integer():
        return [type_issue(path, "integer", "float")]
    issues = []
    if minimum is not None and value < minimum:
        issues.append(_bound_issue(path, "number", "too_small", minimum))
    if maximum is not None and value > maximum:
        issues.append(_bound_issue(path, "number", "too_big", maximum))
    if step is not None and value % step:
        message = f"Number must be a multiple of {step}"
        issues.append({"code": "not_multiple_of", "multipleOf": step, "message": message, "path": list(path)})
    return issues


def _size(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    if isinstance(value, str):
        return [] if value in spec.choices else [enum_issue(path, spec.choices, value)]
    if not isinstance(value, dict):
        return [type_issue(path, "object", type_name(value))]
    issues = []
    for side in ("width", "height"):
        if side in value:
            issues += _number((*path, side), value[side], spec.minimum, spec.maximum, spec.multiple_of)
    return issues


def _length(path: _Path, kind: str, length: int, spec: FieldSpec) -> list[Issue]:
    if spec.maximum is not None and length > spec.maximum:
        return [_bound_issue(path, kind, "too_big", spec.maximum)]
    if spec.minimum is not None and length < spec.minimum:
        return [_bound_issue(path, kind, "too_small", spec.minimum)]
    return []


def _array(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    if not isinstance(value, list) or spec.items is None:
        return [type_issue(path, "array", type_name(value))]
    issues = _length(path, "array", len(value), spec)
    for place, item in enumerate(value):
        issues += _value((*path, place), spec.items, item)
    return issues


def _object(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    if not isinstance(value, dict):
        return [type_issue(path, "object", type_name(value))]
    issues = []
    for name, field in spec.fields.items():
        if name in value:
            issues += _value((*path, name), field, value[name])
        elif field.required:
            issues.append(type_issue((*path, name), _ZOD_TYPES.get(field.kind, "string"), "undefined"))
    return issues


def _value(path: _Path, spec: FieldSpec, value: Any) -> list[Issue]:
    match spec.kind:
        case "integer" | "number":
            whole = spec.kind == "integer"
            return _number(path, value, spec.minimum, spec.maximum, spec.multiple_of, whole=whole)
        case "size":
            return _size(path, spec, value)
        case "list":
            return _array(path, spec, value)
        case "object":
            return _object(path, spec, value)
        case "boolean":
            return [] if isinstance(value, bool) else [type_issue(path, "boolean", type_name(value))]
    if not isinstance(value, str):
        return [type_issue(path, "string", type_name(value))]
    if spec.kind == "choice" and value not in spec.choices:
        return [enum_issue(path, spec.choices, value)]
    if spec.kind == "url" and not _ADDRESS.match(value):
        return [{"code": "invalid_string", "validation": "url", "message": "Invalid url", "path": list(path)}]
    return _length(path, "string", _units(value), spec) if spec.kind == "text" else []


def _units(text: str) -> int:
    """JavaScript's length: UTF-16 code units, of which an emoji takes two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _prompt(body: Mapping[str, Any], limit: int | None) -> list[Issue]:
    if "prompt" not in body:
        return [type_issue(("prompt",), "string", "undefined")]
    prompt = body["prompt"]
    if not isinstance(prompt, str):
        return [type_issue(("prompt",), "string", type_name(prompt))]
    length = _units(prompt)
    if length < _LEAST_PROMPT:
        return [_bound_issue(("prompt",), "string", "too_small", _LEAST_PROMPT)]
    if limit is not None and length > limit:
        return [_bound_issue(("prompt",), "string", "too_big", limit)]
    return []


def _pixels(model: ResolvedModel, fields: Mapping[str, Any]) -> tuple[int, int]:
    """The size of the images that were asked for; about a megapixel of that shape if it is not documented."""
    known = model.spec.pixels
    sizing = model.contract.sizing or "aspect_ratio"
    value = fields.get(sizing)
    if isinstance(value, Mapping):
        wide, high = known.get(str(model.contract.fields[sizing].default), (1024, 1024))
        return int(value.get("width", wide)), int(value.get("height", high))
    wide, high = known[value] if isinstance(value, str) and value in known else _shape(value)
    scale = _SCALES.get(str(fields.get("resolution", "")).upper(), 1)
    return wide * scale, high * scale


def _shape(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
    if match is None:
        return 1024, 1024
    ratio = float(match[1]) / float(match[2])
    wide = round(math.sqrt(_MEGAPIXEL * ratio) / 16) * 16
    return wide, round(wide / ratio / 16) * 16


def check_body(body: Mapping[str, Any], model: ResolvedModel) -> Accepted | list[Issue]:
    """Check a body against the contract of its model.

    Args:
        body: The decoded JSON object.
        model: The model and the contract it is served with.

    Returns:
        The request with defaults filled in, or all issues found.
    """
    contract = model.contract
    issues = _prompt(body, contract.prompt_limit)
    fields: dict[str, Any] = {}
    for name, spec in contract.fields.items():
        if name in body:
            found = _value((name,), spec, body[name])
            issues += found
            if not found:
                fields[name] = int(body[name]) if spec.kind == "integer" else body[name]
        elif spec.required:
            issues.append(type_issue((name,), _ZOD_TYPES.get(spec.kind, "string"), "undefined"))
        elif spec.default is not None:
            fields[name] = spec.default
    if issues:
        return issues
    width, height = _pixels(model, fields)
    return Accepted(body["prompt"], fields, width, height)
