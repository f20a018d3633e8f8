"""`GET /docs-json?model=…`: the OpenAPI document of one model, made from the registry.

The API serves one for each of its models, without a key (AI/ML API docs, 2026-08).
"""

from __future__ import annotations

from typing import Any

from ..core.providers.common_parameters import PICTURES
from ..core.providers.spec import FieldSpec, ResolvedModel
from .reply_formats import reply_schema

_KINDS = {"choice": "string", "text": "string", "url": "string"}


def _bounds(spec: FieldSpec, low: str, high: str) -> dict[str, Any]:
    found = {low: spec.minimum, high: spec.maximum, "multipleOf": spec.multiple_of}
    return {name: bound for name, bound in found.items() if bound is not None}


def _size(spec: FieldSpec) -> dict[str, Any]:
    side: dict[str, Any] = {"type": "integer", **_bounds(spec, "minimum", "maximum")}
    pixels = {"type": "object", "properties": {"width": side, "height": side}}
    return {"anyOf": [pixels, {"type": "string", "enum": list(spec.choices)}]}


def _field(spec: FieldSpec) -> dict[str, Any]:
    match spec.kind:
        case "size":
            made = _size(spec)
        case "list":
            made = {"type": "array", "items": _field(spec.items) if spec.items else {}}
            made |= _bounds(spec, "minItems", "maxItems")
        case "object":
            made = {"type": "object", "properties": {name: _field(field) for name, field in spec.fields.items()}}
            needed = [name for name, field in spec.fields.items() if field.required]
            made |= {"required": needed} if needed else {}
        case "integer" | "number":
            made = {"type": spec.kind, **_bounds(spec, "minimum", "maximum")}
        case _:
            made = {"type": _KINDS.get(spec.kind, spec.kind)}
            if spec.kind == "choice":
                made["enum"] = list(spec.choices)
            elif spec.kind == "text":
                made |= _bounds(spec, "minLength", "maxLength")
            elif spec.kind == "url":
                made |= {"format": "uri", "pattern": "^(https?://|data:image/)."}
    if spec.default is not None:
        made["default"] = spec.default
    return {**made, "description": spec.description}


def request_schema(model: ResolvedModel, names: list[str]) -> dict[str, Any]:
    """The schema of a request to a model.

    Args:
        model: The model and the contract it is served with.
        names: Model ids that select this contract.
    """
    contract = model.contract
    prompt: dict[str, Any] = {"type": "string", "minLength": 1}
    if contract.prompt_limit is not None:
        prompt["maxLength"] = contract.prompt_limit
    needed = [name for name, field in contract.fields.items() if field.required]
    elsewhere = PICTURES if contract.inputs.by == "form" else ()  # at the endpoint for edits
    return {
        "type": "object",
        "properties": {
            "model": {"type": "string", "enum": names},
            **({"prompt": {**prompt, "description": "What the image is to show."}} if contract.takes_prompt else {}),
            **{name: _field(field) for name, field in contract.fields.items() if name not in elsewhere},
        },
        "required": ["model", *(["prompt"] if contract.takes_prompt else []), *needed],
        "title": names[0],
    }


def model_document(model: ResolvedModel, names: list[str], origin: str) -> dict[str, Any]:
    """The OpenAPI document of a model.

    Args:
        model: The model and the contract it is served with.
        names: Model ids that select this contract.
        origin: Scheme, host and port of the API.
    """
    return {
        "openapi": "3.0.0",
        "info": {"title": "AIML API, as the sandbox imitates it", "version": "1.0.0"},
        "servers": [{"url": origin}],
        "paths": {
            "/v1/images/generations": {
                "post": {
                    "operationId": "_v1_images_generations",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": request_schema(model, names)}},
                    },
                    "responses": {
                        "200": {
                            "description": "The images.",
                            "content": {"application/json": {"schema": reply_schema(model.contract.reply)}},
                        }
                    },
                }
            }
        },
        "components": {"securitySchemes": {"access-token": {"scheme": "bearer", "type": "http"}}},
        "security": [{"access-token": []}],
    }
