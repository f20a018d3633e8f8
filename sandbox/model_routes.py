"""The routes about models, which need no key.

The shape of rows is that of the API (`GET /v1/models`, `GET /v1/models/deprecations`, public copies of 2026-08).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..core.providers.chat_models import load_chat_models
from ..core.providers.providers import DEFAULT_PROVIDER
from ..core.providers.spec import ModelSpec
from .error_bodies import now_iso, unknown_model
from .openapi import model_document
from .state import SandboxState
from .wire import JsonReply, failure_response

_IMAGE_TYPE = "openai/image-generations"
_CHAT_TYPE = "openai/chat-completions"
_MAX_AGE = "public, max-age=60"


class ModelRoutes:
    """Models and deprecations."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        # Fixed, so that the ETag is fixed, too.
        self._generated_at = now_iso()

    async def models(self, request: Request) -> Response:
        """`GET /v1/models?id=&type=&include=pricing`: every model that can be called."""
        wanted_id, wanted_type = request.query_params.get("id"), request.query_params.get("type")
        include = set(",".join(request.query_params.getlist("include")).split(","))
        priced = not include.isdisjoint({"pricing", "all"})
        rows = []
        for row in self._rows():
            pricing = row.pop("pricing")
            if wanted_type is not None and row["type"] != wanted_type:
                continue
            if wanted_id is not None and wanted_id not in (row["id"], *row["aliases"]):
                continue
            rows.append({**row, "pricing": pricing} if priced else row)
        return _cached(request, {"object": "list", "data": rows})

    async def deprecations(self, request: Request) -> Response:
        """`GET /v1/models/deprecations`: every model that is deprecated or withdrawn."""
        rows = []
        for spec in self._state.registry.sold_by(DEFAULT_PROVIDER):
            current = self._state.status_of(spec)
            if current.status == "listed":
                continue
            row = {"id": spec.id, "aliases": [alias.name for alias in spec.aliases], **current.model_dump()}
            reason = "consolidated" if current.status == "superseded" else "provider_delisted"
            rows.append({**row, "reason": reason})
        return _cached(request, {"object": "list", "generated_at": self._generated_at, "data": rows})

    async def document(self, request: Request) -> Response:
        """`GET /docs-json?model=`: the OpenAPI document of one image model."""
        name = request.query_params.get("model", "")
        model = self._state.model(name)
        if model is None:
            return failure_response(unknown_model(name), request, self._state.new_id())
        spec, contract = model.spec, model.contract_name
        own = [alias.name for alias in spec.aliases if (alias.contract or spec.default_contract) == contract]
        names = [name] if model.contract.wire_model else [spec.id, *own]
        return _cached(request, model_document(model, names, self._state.origin))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for spec in self._state.registry.sold_by(DEFAULT_PROVIDER):
            if self._state.status_of(spec).status == "withdrawn":
                continue
            yield _row(
                spec.id,
                spec.title,
                _IMAGE_TYPE,
                [alias.name for alias in spec.aliases],
                ["playground:image"],
                min(contract.since for contract in spec.contracts.values()),
                self._pricing(spec),
            )
        for model in load_chat_models():
            units = [
                {"name": "token", "measure": measure, "price": float(price), "per": 1_000_000}
                for measure, price in (("input", model.input_usd), ("output", model.output_usd))
            ]
            title = model.id.partition("/")[2]
            tags = ["playground:chat"]
            pricing = {"kind": "fixed", "currency": "USD", "units": units}
            yield _row(model.id, title, _CHAT_TYPE, list(model.aliases), tags, "2026-08-01", pricing)

    def _pricing(self, spec: ModelSpec) -> dict[str, Any]:
        """The price of a model per image, megapixel or token, as its provider charges it."""
        if not self._state.stock.quotes(spec):
            return {"kind": "variable", "currency": "USD"}
        price = self._state.stock.price(spec)
        unit: dict[str, Any] = {"name": price.per, "measure": "output", "price": float(price.usd), "per": 1}
        if price.per == "token":
            unit |= {"content": "image", "price": float(price.usd * 1000), "per": 1_000_000}
        return {"kind": "fixed", "currency": "USD", "units": [unit]}


def _row(
    id_: str, title: str, type_: str, aliases: list[str], tags: list[str], since: str, pricing: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": id_,
        "info": {
            "releasedAt": since,
            "name": title,
            "developer": id_.partition("/")[0],
            "description": f"{title}, as the sandbox imitates it.",
            "url": "",
            "docsUrl": "",
            "docsJson": "",
        },
        "type": type_,
        "aliases": aliases,
        "tags": tags,
        "pricing": pricing,
    }


def _cached(request: Request, content: dict[str, Any]) -> Response:
    """A reply with an ETag, or 304 if the caller has this version."""
    tag = f'W/"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": _MAX_AGE}
    offered = request.headers.get("if-none-match", "")
    if tag in (part.strip() for part in offered.split(",")) or offered.strip() == "*":
        return Response(status_code=304, headers=headers)
    return JsonReply(content, headers=headers)
