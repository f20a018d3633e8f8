"""The API's errors, in both JSON shapes that it uses.

Shapes from public captures of the gateway: problem+json since 2025-10 (`title`, `status`, `message`, `instance`,
`error`), and the legacy one (`statusCode`, `path`) before that and on some routes since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

Envelope = Literal["problem", "legacy"]
Reason = Literal["request", "key", "wrong_key", "no_key", "model", "credit", "rate", "blocked", "server"]

_KEYS_PAGE = "You can create a new API key on the Billing page: https://aimlapi.com/app/keys"
_NAMES = {
    400: "BadRequestException",
    401: "UnauthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    429: "TooManyRequestsException",
    500: "InternalServerErrorException",
    502: "BadGatewayException",
    503: "ServiceUnavailableException",
    504: "GatewayTimeoutException",
}

GENERIC_SERVER_ERROR = "Something wrong with the server. Please, try again later."


def now_iso() -> str:
    """The time now as the API writes it: UTC, milliseconds, `Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the API, independent of the shape of its body.

    Attributes:
        status: HTTP status.
        message: Text for a person.
        reason: What the matter is, for protocols that answer with a code of their own. `wrong_key` is one that is not
            known; `key` is one that has become invalid.
        data: `error.data`: a list of issues on validation errors, an object with `kind` on 403.
        headers: Extra response headers.
        envelope: Which of the two shapes to use.
    """

    status: int
    message: str
    data: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    envelope: Envelope = "problem"
    reason: Reason = "request"

    @property
    def content_type(self) -> str:
        """The media type of the body."""
        kind = "problem+json" if self.envelope == "problem" else "json"
        return f"application/{kind}; charset=utf-8"

    def body(self, path: str, request_id: str) -> dict[str, Any]:
        """The JSON body.

        Args:
            path: Path of the request, without its query.
            request_id: The id also sent as `x-request-id`.
        """
        if self.envelope == "legacy":
            return {
                "requestId": request_id,
                "statusCode": self.status,
                "timestamp": now_iso(),
                "path": path,
                "message": self.message,
            }
        error: dict[str, Any] = {"name": _NAMES.get(self.status, "HttpException"), "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "message": self.message,
            "instance": path,
            "requestId": request_id,
            "timestamp": now_iso(),
            "error": error,
        }


def other_body(envelope: Literal["openai", "fastapi"], code: str) -> dict[str, Any]:
    """An error in the envelope of something that is not the API: a gateway behind it, a framework."""
    if envelope == "fastapi":
        return {"detail": [{"loc": ["body", "prompt"], "msg": code, "type": "value_error"}]}
    return {"error": {"message": f"The request failed: {code}.", "type": "error", "param": None, "code": code}}


def missing_key(reason: Reason = "key") -> Failure:
    """401: no key, or one that is not accepted."""
    return Failure(401, f"This request requires a valid API key. {_KEYS_PAGE}", reason=reason)


def empty_key() -> Failure:
    """401: `Authorization: Bearer` without a key."""
    return Failure(401, f"You provided an empty string instead of valid API key. {_KEYS_PAGE}", reason="no_key")


def invalid_payload(issues: Sequence[Mapping[str, Any]]) -> Failure:
    """400: the body does not fit the model's schema.

    Args:
        issues: Zod issues, one for each field that is wrong.
    """
    return Failure(400, "Invalid payload provided", issues)


def unknown_model(model: str) -> Failure:
    """404: there is no such model, or it was withdrawn."""
    return Failure(404, f"Model {model} not found or no longer available", reason="model")


def other_request() -> Failure:
    """422: the idempotency key belongs to another request."""
    return Failure(422, "This Idempotency-Key was used with a different request body")


def out_of_credit() -> Failure:
    """403: the balance does not cover the call. `kind` is spelled as the API spells it."""
    message = (
        "You've run out of credits. Please top up your balance or update your payment method to continue: "
        "https://aimlapi.com/app/billing/"
    )
    return Failure(403, message, {"kind": "err_insufficent_credits"}, reason="credit")
