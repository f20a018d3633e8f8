"""Checks a request body against a contract of the registry, with the issues the API would name.

The API validates with Zod; its issues are `{code, path, message, …}` (seen in a public capture of an
`invalid_enum_value`; the other codes are Zod's own). A field that the contract does not list is dropped silently,
as the API seems to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..core.aimlapi.registry import FieldSpec, ResolvedModel

__all__ = ["Accepted", "Issue", "check_body", "enum_issue", "type_issue", "type_name"]

Issue: TypeAlias = dict[str, Any]
_Path: TypeAlias = tuple[str | int, ...]

_LEAST_PROMPT = 1


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that fits its contract.

    Attributes:
        prompt: The prompt as sent.
        fields: Every field of the contract that was sent or has a default, with its value.
        width: Width of the images in pixels.
        height: Height of the images in pixels.
    """

    prompt: str
    fields: Mapping[str, Any]
    width: int
    height: int

    @property
    def count(self) -> int:
        """How many images are asked for."""
        return int(self.fields.get("num_images", self.fields.get("n", 1)))


def type_name(value: Any) -> str:
    """The name Zod gives to the type of a JSON value."""
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
    """A value of the wrong type, or (`received="undefined"`) none."""
    message = "Required" if received == "undefined" else f"Expected {expected}, received {received}"
    return {
        "code": "invalid_type",
        "expected": expected,
        "received": received,
        "path": list(path),
        "message": message,
    }


def enum_issue(path: _Path, options: tuple[str, ...], received: str) -> Issue:
    """A string that is none of those allowed."""
    allowed = " | ".join(f"'{option}'" for option in options)
    return {
        "received": received,
        "code": "invalid_enum_value",
        "options": list(options),
        "path": list(path),
        "message": f"Invalid enum value. Expected {allowed}, received '{received}'",
    }


def _bound_issue(path: _Path, kind: str, code: str, limit: int) -> Issue:
    word, relation = ("maximum", "less") if code == "too_big" else ("minimum", "greater")
    message = f"Number must be {relation} than or equal to {limit}"
    if kind == "string":
        message = f"String must contain at {'most' if code == 'too_big' else 'least'} {limit} character(s)"
    return {
        "code": code,
        word: limit,
        "type": kind,
        "inclusive": True,
        "exact": False,
        "message": message,
        "path": list(path),
    }


def _integer(path: _Path, value: Any, minimum: int | None, maximum: int | None, step: int | None) -> list[Issue]:
    if type_name(value) != "number":
        return [type_issue(path, "number", type_name(value))]
    if isinstance(value, float) and not value.is_integer():
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
            issues += _integer((*path, side), value[side], spec.minimum, spec.maximum, spec.multiple_of)
    return issues


def _field(name: str, spec: FieldSpec, value: Any) -> list[Issue]:
    path = (name,)
    if spec.kind == "integer":
        return _integer(path, value, spec.minimum, spec.maximum, spec.multiple_of)
    if spec.kind == "size":
        return _size(path, spec, value)
    if spec.kind == "boolean":
        return [] if isinstance(value, bool) else [type_issue(path, "boolean", type_name(value))]
    if not isinstance(value, str):
        return [type_issue(path, "string", type_name(value))]
    if spec.kind == "choice" and value not in spec.choices:
        return [enum_issue(path, spec.choices, value)]
    return []


def _prompt(body: Mapping[str, Any], limit: int | None) -> list[Issue]:
    if "prompt" not in body:
        return [type_issue(("prompt",), "string", "undefined")]
    prompt = body["prompt"]
    if not isinstance(prompt, str):
        return [type_issue(("prompt",), "string", type_name(prompt))]
    # JavaScript's length: UTF-16 code units, of which an emoji takes two.
    length = len(prompt.encode("utf-16-le", "surrogatepass")) // 2
    if length < _LEAST_PROMPT:
        return [_bound_issue(("prompt",), "string", "too_small", _LEAST_PROMPT)]
    if limit is not None and length > limit:
        return [_bound_issue(("prompt",), "string", "too_big", limit)]
    return []


def _pixels(model: ResolvedModel, fields: Mapping[str, Any]) -> tuple[int, int]:
    """The true size of the images that were asked for; 1024×1024 where nothing is known of the model."""
    fallback = (1024, 1024)
    for name, spec in model.contract.fields.items():
        value = fields.get(name)
        if spec.kind == "size" and isinstance(value, Mapping):
            wide, high = model.spec.pixels.get(spec.default, fallback)
            return int(value.get("width", wide)), int(value.get("height", high))
        if isinstance(value, str) and value in model.spec.pixels:
            return model.spec.pixels[value]
    return fallback


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
            found = _field(name, spec, body[name])
            issues += found
            if not found:
                fields[name] = int(body[name]) if spec.kind == "integer" else body[name]
        elif spec.default is not None:
            fields[name] = spec.default
    if issues:
        return issues
    width, height = _pixels(model, fields)
    return Accepted(body["prompt"], fields, width, height)
