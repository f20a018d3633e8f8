"""The client of the AI/ML API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from ...errors import BadInput
from ...http.exchange import retry_after_seconds
from ..client import ImageClient, RawReply, WireRequest, take_files
from ..errors import UnreadableReply, status_error
from ..logs import LOG_PAGE, LogPage, read_log
from ..reply import read_json
from ..request import ImageRequest
from .catalog import fetch_provider_catalog

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class AimlApiClient(ImageClient):
    """A client of the AI/ML API, or of a sandbox that stands in for it."""

    kept_headers = (
        "content-type",
        "location",
        "retry-after",
        "server",
        "x-aimlapi-credits-used",
        "x-aimlapi-usd-spent",
        "x-client-request-id",
        "x-inference-id",
        "x-request-id",
    )
    catalog = staticmethod(fetch_provider_catalog)
    has_log = True

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        """`POST /v1/images/generations`; OpenAI's models take pictures at `/v1/images/edits` (AI/ML API docs)."""
        body = request.body(seed=seed)
        files = take_files(body, several="image") if request.model.contract.inputs.by == "form" else []
        return WireRequest("/images/edits" if files else "/images/generations", body, files)

    def headers(self, call_id: str) -> dict[str, str]:
        """The request id is stored and echoed by the API, it does not make the call idempotent.

        Args:
            call_id: 1 to 128 characters of `A-Za-z0-9._:-`; the API ignores any other silently.
        """
        if not _REQUEST_ID.fullmatch(call_id):
            raise ValueError(f"not a client request id: {call_id!r}")
        return {"X-Client-Request-Id": call_id, **super().headers(call_id)}

    def chat(self, body: Mapping[str, Any], call_id: str) -> RawReply:
        """Ask a language model, once: `POST /v1/chat/completions`, in the OpenAI form (AI/ML API docs)."""
        return self._pay(WireRequest("/chat/completions", body), self.headers(call_id))

    def check_key(self) -> Decimal:
        """Ask for the balance: `GET /v2/billing` (AI/ML API docs)."""
        response = self._get("/v2/billing", key=True)
        if not 200 <= response.status < 300:
            raise status_error(response.status, response.body)
        try:
            return Decimal(str(read_json(response.body)["current_balance"]))
        except (ValueError, KeyError, ArithmeticError, TypeError, RecursionError, UnreadableReply):
            raise UnreadableReply("the balance could not be read from the API's answer") from None

    def log(self, start: datetime, end: datetime, offset: int = 0) -> LogPage:
        """A page of `GET /v2/logs` (AI/ML API docs); the API answers 200 of them in 60 s."""
        window = {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
        query = urlencode({**window, "limit": LOG_PAGE, "offset": offset})
        response = self._get(f"/v2/logs?{query}", key=True, timeout=20.0)
        if not 200 <= response.status < 300:
            raise status_error(
                response.status,
                response.body,
                retry_after=retry_after_seconds(response.headers.get("retry-after")),
            )
        try:
            return read_log(read_json(response.body))
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            BadInput,
            UnreadableReply,
        ):
            raise UnreadableReply("the API's log has a form that is not known") from None
