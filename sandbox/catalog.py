"""The keyless routes about models.

Row shapes from the API's own catalogue (`GET /v1/models`, `GET /v1/models/deprecations`, public copies of 2026-08).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..core.aimlapi.chat import load_chat_models
from .envelopes import now_iso
from .house import House
from .wire import JsonReply

__all__ = ["Catalog"]

_IMAGE_TYPE = "openai/image-generations"
_CHAT_TYPE = "openai/chat-completions"
_MAX_AGE = "public, max-age=60"


class Catalog:
    """Models and deprecations."""

    def __init__(self, house: House) -> None:
        self._house = house
        # Fixed for the life of the server, so that the ETag is.
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
        rows = [
            {
                "id": spec.id,
                "aliases": [alias.name for alias in spec.aliases],
                "status": spec.lifecycle.status,
                "deprecated_at": spec.lifecycle.withdrawn_at,
                "shutdown_at": spec.lifecycle.withdrawn_at,
                "replaced_by": spec.lifecycle.successor,
                "reason": "provider_delisted",
            }
            for spec in self._house.registry.models
            if spec.lifecycle.status != "listed"
        ]
        return _cached(request, {"object": "list", "generated_at": self._generated_at, "data": rows})

    def _rows(self) -> Iterator[dict[str, Any]]:
        for spec in self._house.registry.models:
            if spec.lifecycle.status == "withdrawn":
                continue
            unit = {"name": "image", "measure": "output", "price": float(spec.price.usd), "per": 1}
            yield _row(
                spec.id,
                spec.title,
                _IMAGE_TYPE,
                [alias.name for alias in spec.aliases],
                ["playground:image"],
                min(contract.since for contract in spec.contracts.values()),
                [unit],
            )
        for model in load_chat_models():
            units = [
                {"name": "token", "measure": measure, "price": float(price), "per": 1_000_000}
                for measure, price in (("input", model.input_usd), ("output", model.output_usd))
            ]
            title = model.id.partition("/")[2]
            tags = ["playground:chat"]
            yield _row(model.id, title, _CHAT_TYPE, list(model.aliases), tags, "2026-08-01", units)


def _row(
    id_: str, title: str, type_: str, aliases: list[str], tags: list[str], since: str, units: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "id": id_,
        "info": {
            "releasedAt": since,
            "name": title,
            "developer": id_.partition("/")[0],
            "description": f"{title}, as the sandbox plays it.",
            "url": "",
            "docsUrl": "",
            "docsJson": "",
        },
        "type": type_,
        "aliases": aliases,
        "tags": tags,
        "pricing": {"kind": "fixed", "currency": "USD", "units": units},
    }


def _cached(request: Request, content: dict[str, Any]) -> Response:
    """A reply with an ETag, or 304 where the caller has it already."""
    tag = f'W/"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": _MAX_AGE}
    offered = request.headers.get("if-none-match", "")
    if tag in (part.strip() for part in offered.split(",")) or offered.strip() == "*":
        return Response(status_code=304, headers=headers)
    return JsonReply(content, headers=headers)
