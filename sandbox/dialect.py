"""How each protocol says what is the same in all of them: where the key is, what an error looks like, which headers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from ..core.money import credits_to_usd
from .call_log import Call, Protocol
from .error_bodies import Failure
from .wire import JsonReply, failure_response


class Dialect(ABC):
    """The manner of one protocol.

    Attributes:
        protocol: Its name in the call log.
        takes_keys: Whether its endpoints honour `Idempotency-Key` where the sandbox is told so.
    """

    protocol: ClassVar[Protocol]
    takes_keys: ClassVar[bool] = True

    def key_of(self, request: Request) -> str | None:
        """The key of a request; None if there is none where the protocol has it. By default a bearer token."""
        return token_of(request, "bearer")

    @abstractmethod
    def refuse(
        self, failure: Failure, request: Request, request_id: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The reply to a request that failed."""

    def headers(self, call: Call, request_id: str) -> dict[str, str]:
        """Headers of every reply to a paid call."""
        return {"x-request-id": request_id}

    def cost_headers(self, credits_: int) -> dict[str, str]:
        """Headers with the price of a call; most protocols have none."""
        return {}


class JsonDialect(Dialect):
    """One whose errors have the same form whatever the request."""

    @abstractmethod
    def error(self, failure: Failure) -> tuple[int, Any]:
        """Status and JSON body of an error."""

    def refuse(
        self, failure: Failure, request: Request, request_id: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The reply to a request that failed."""
        status, body = self.error(failure)
        return JsonReply(body, status, {"x-request-id": request_id, **(headers or {}), **failure.headers})


class AimlapiDialect(Dialect):
    """The AI/ML API."""

    protocol: ClassVar[Protocol] = "aimlapi"
    takes_keys: ClassVar[bool] = False

    def refuse(
        self, failure: Failure, request: Request, request_id: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The reply to a request that failed, in the shape that the failure names."""
        return failure_response(failure, request, request_id, headers)

    def headers(self, call: Call, request_id: str) -> dict[str, str]:
        """The ids by which the API's log finds the call."""
        headers = {"x-request-id": request_id, "x-inference-id": call.inference_id}
        if call.client_request_id is not None:
            headers["x-client-request-id"] = call.client_request_id
        return headers

    def cost_headers(self, credits_: int) -> dict[str, str]:
        """Credits and US dollars."""
        return {
            "x-aimlapi-credits-used": str(credits_),
            "x-aimlapi-usd-spent": f"{credits_to_usd(credits_):f}",
        }


def token_of(request: Request, wanted: str) -> str | None:
    """The token of the `Authorization` header, if it has that scheme."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == wanted else None
