"""What the API can answer besides images, and what each answer says of the bill.

    ApiError
    ├── NotSent                 refused connection, DNS, TLS: the body never went out          unbilled
    ├── CannotRecover           an earlier call that cannot be asked about                     unknown
    ├── ReplyLost               time-out or cut connection after the body went out             unknown
    ├── UnreadableReply         a 2xx that is not the JSON it should be                        unknown
    │   ├── TaskAccepted        a 2xx that names a task instead of images                      unknown
    │   └── ErrorReply          a 2xx with an error in it                                      by its cost and meaning
    └── StatusError             any other status
        ├── InvalidByApi        400, 422 in words of an API; 413, 414, 431, 451 from anybody   unbilled
        ├── BadKey              401; codes such as `invalid_api_key`                           unbilled
        ├── Forbidden           403                                                            unbilled
        │   └── OutOfCredit     402; codes such as `insufficient_quota`                        unbilled
        ├── NotFound            404: path, or a model without a backend                        unbilled
        ├── ProxyLogin          407: the request never reached the API                         unbilled
        ├── RateLimited         429, in whatever form                                          unbilled
        ├── ServerError         500, 502, 503, 504, 524 …                                      unknown
        └── UnexpectedStatus    a redirect, an HTML page with a 4xx: not the API's own word    unknown

Error bodies are read in the API's two envelopes, and in those of the gateways and frameworks in front of and behind it:
OpenAI's (`error.message`, `type`, `code`), FastAPI's (`detail`), Google's (`error.status`), and problem+json.

`core.purchase.decision` says what is recorded for each. *Unknown* is not *failed*: the provider may have billed it, so
it is never repeated unless a person or a policy decides so. The provider's docs say that failed requests are not
billed; nobody has measured it for a 5xx, hence `ServerError` is unknown unless the user trusts the docs
(`trust_unbilled_5xx`).
Sources: AI/ML API docs, "Errors"; public captures of both envelopes, 2025-03 to 2026-08.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ImagenError

_TRUSTABLE_5XX = frozenset({500, 502, 503, 504})
_MAX_MESSAGE = 500


class ApiError(ImagenError):
    """The API did not answer with images."""


class NotSent(ApiError):
    """The request never left: connection refused, name not resolved, TLS failed. Surely not billed."""


class ReplyLost(ApiError):
    """The request was sent and no complete answer came. It may have been billed."""


class CannotRecover(ApiError):
    """The answer of an earlier call cannot be asked for again. It may have been billed."""


class UnreadableReply(ApiError):
    """A success status with a body that cannot be read. It may have been billed."""


class TaskAccepted(UnreadableReply):
    """A success status that names a task to be done instead of its result. It may be billed; the message has the id."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An API's own words about an error.

    Attributes:
        codes: What names the error for a program, in lower case.
        status: The status that the body names.
        bare: It is a text without code or status, which anything between here and the API could have written.
    """

    message: str
    kind: str | None = None
    request_id: str | None = None
    codes: frozenset[str] = frozenset()
    status: int | None = None
    bare: bool = False


@dataclass(eq=False, repr=False)
class StatusError(ApiError):
    """The API answered with an error status."""

    status: int
    message: str
    kind: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        trace = f" (request {self.request_id})" if self.request_id else ""
        return f"the API answered {self.status}: {self.message}{trace}"


class InvalidByApi(StatusError):
    """400 or 422: the provider refuses this request; the same one again would be refused again."""


class BadKey(StatusError):
    """401: the key is missing or wrong."""


class Forbidden(StatusError):
    """403: this key may not make this request (scope, cap of the key)."""


class OutOfCredit(Forbidden):
    """403: the balance does not cover this request."""


class NotFound(StatusError):
    """404: no such path, or the model is gone."""


@dataclass(eq=False, repr=False)
class RateLimited(StatusError):
    """429: too many requests. `retry_after` is in seconds, or None where the API names no time."""

    retry_after: float | None = None


class ServerError(StatusError):
    """5xx: the provider failed; whether it billed is not known."""

    def trusted_unbilled(self) -> bool:
        """Whether `trust_unbilled_5xx` covers this status (500, 502, 503, 504)."""
        return self.status in _TRUSTABLE_5XX


class ProxyLogin(StatusError):
    """407: a proxy wants a login. The API never saw the request."""


class UnexpectedStatus(StatusError):
    """A status the API does not use, or a page of something in between: not the API's own word."""


def _message(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 3]}..."


def _issues(data: Any) -> str:
    """Zod's issues (`path`, `message`), or those of FastAPI (`loc`, `msg`)."""
    if not isinstance(data, list):
        return ""
    issues = []
    for issue in data[:10]:
        if isinstance(issue, Mapping):
            path = issue.get("path") or issue.get("loc")
            place = ".".join(map(str, path)) if isinstance(path, list) and path else "body"
            issues.append(f"{place}: {issue.get('message') or issue.get('msg') or issue.get('code')}")
    return "; ".join(issues)


def read_envelope(body: bytes) -> Envelope | None:
    """Read an error body; None if it is in no known envelope (HTML, plain text, cut JSON).

    The API's newer envelope is problem+json (`title`, `status`, `message`, `error{name, message, data}`), the older one
    has `statusCode`, `path`, `message`.
    """
    try:
        return envelope_of(json.loads(body))
    except (ValueError, RecursionError):
        return None


def envelope_of(document: Any) -> Envelope | None:
    """Read an error out of a JSON document; None if it is in no known envelope."""
    if not isinstance(document, Mapping):
        return None
    error = document.get("error")
    if not error and isinstance(document.get("errors"), list) and document["errors"]:
        error = document["errors"][0]
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    outer = document if {"statusCode", "status", "code", "title"} & set(document) else {}
    detail = document.get("detail")
    bare = isinstance(error, str) and not outer
    message = outer.get("message") or inner.get("message") or inner.get("detail") or _issues(detail) or detail
    message = message or inner.get("code") or inner.get("type") or (error if isinstance(error, str) else None)
    if message is None or message == "":
        return None
    data = inner.get("data")
    issues = _issues(data)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    request_id = document.get("requestId")
    details = inner.get("details")
    reasons = (one.get("reason") for one in details if isinstance(one, Mapping)) if isinstance(details, list) else ()
    named = (*(inner.get(name) for name in ("code", "type", "status", "name")), document.get("code"), kind, *reasons)
    return Envelope(
        message=_message(f"{_message(message)} — {issues}" if issues else message),
        kind=str(kind) if kind is not None else None,
        request_id=str(request_id) if request_id is not None else None,
        codes=frozenset(name.lower() for name in named if isinstance(name, str)),
        status=_named_status(document, inner),
        bare=bare,
    )


def _named_status(document: Mapping[str, Any], inner: Mapping[str, Any]) -> int | None:
    for holder, names in ((document, ("statusCode", "status", "code")), (inner, ("status", "code", "statusCode"))):
        for name in names:
            value = holder.get(name)
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
                return value
    return None


_CREDIT = {
    "err_insufficent_credits",
    "err_insufficient_credits",
    "insufficient_quota",
    "insufficient_credits",
    "insufficient_balance",
    "insufficient_funds",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_limit_user_error",
    "budget_exceeded",
    "payment_required",
}
_KEY = {
    "invalid_api_key",
    "api_key_invalid",
    "authentication_error",
    "invalid_authentication",
    "unauthenticated",
    "account_deactivated",
    # LiteLLM's proxy; without a database it looks a wrong key up in none, and says so with a 400.
    "auth_error",
    "expired_key",
    "no_db_connection",
    "token_not_found_in_db",
}
_MODEL = {"model_not_found"}
_RATE = {"rate_limit_exceeded", "rate_limit_error", "too_many_requests", "resource_exhausted"}
_REFUSED = {"invalid_request_error", "image_generation_user_error", "invalid_argument", "unknown_parameter"}
_SAFETY = re.compile(
    r"moderation|safety|content[ _-]?polic|content[ _-]?filter|content_violation|nsfw|responsible ai", re.I
)


def status_error(
    status: int, body: bytes, *, request_id: str | None = None, retry_after: float | None = None
) -> StatusError:
    """Build the error for an answer that is not a 2xx."""
    return _status_error(status, read_envelope(body), request_id, retry_after)


def _status_error(
    status: int, envelope: Envelope | None, request_id: str | None, retry_after: float | None
) -> StatusError:
    if envelope is None:
        message, kind = "no error message of the API's own (a page from something in between?)", None
    else:
        message, kind = envelope.message, envelope.kind
        request_id = request_id or envelope.request_id
    told = (status, message, kind, request_id)
    if status >= 500:
        return ServerError(*told)
    meaning = _by_code(envelope) if envelope is not None and status >= 400 else None
    if meaning is RateLimited or (status == 429 and meaning is not OutOfCredit):
        return RateLimited(*told, retry_after)
    return (meaning or _by_status(status, envelope))(*told)


def _by_code(envelope: Envelope) -> type[StatusError] | None:
    """What the error's own name says, whatever status it came with."""
    for names, meaning in ((_CREDIT, OutOfCredit), (_KEY, BadKey), (_MODEL, NotFound), (_RATE, RateLimited)):
        if envelope.codes & names:
            return meaning
    return None


def _by_status(status: int, envelope: Envelope | None) -> type[StatusError]:
    anybody = _FROM_ANYBODY.get(status)
    if anybody is not None:
        return anybody
    if envelope is None or (envelope.bare and status not in (400, 422)):
        return UnexpectedStatus
    if status == 403 and envelope.kind is None and "run out of" in envelope.message.lower():
        return OutOfCredit
    return _FROM_AN_API.get(status, UnexpectedStatus)


# Whoever says this, nothing was done.
_FROM_ANYBODY: dict[int, type[StatusError]] = {
    401: BadKey,
    402: OutOfCredit,
    407: ProxyLogin,
    413: InvalidByApi,
    414: InvalidByApi,
    431: InvalidByApi,
    451: InvalidByApi,
}
_FROM_AN_API: dict[int, type[StatusError]] = {
    400: InvalidByApi,
    403: Forbidden,
    404: NotFound,
    422: InvalidByApi,
}


@dataclass(eq=False, repr=False)
class ErrorReply(UnreadableReply):
    """A success status with an error in it.

    Attributes:
        credits: What the reply says it cost; None where it says nothing.
        meaning: The error that it stands for, where it is one that surely was not worked on.
    """

    reason: str
    credits: int | None = None
    meaning: StatusError | None = None

    def __str__(self) -> str:
        return self.reason


def error_in_success(document: Mapping[str, Any], *, request_id: str | None, credits_: int | None) -> ErrorReply | None:
    """The error that a body with a success status tells of; None if it tells of none."""
    envelope = envelope_of(document)
    told = document.get("error") or document.get("errors") or document.get("detail")
    state = str(document.get("status") or document.get("state") or "").lower()
    failed = state in _FAILED or document.get("success") is False
    status = envelope.status if envelope is not None else None
    if not (told or failed or status):
        return None
    message = envelope.message if envelope is not None else _message(document.get("message") or state or "no reason")
    meaning: StatusError | None = None
    if envelope is not None and (status is None or status < 500):
        kind = _by_code(envelope)
        safety = _SAFETY.search(" ".join((envelope.message, *envelope.codes)))
        if kind is None and (safety or envelope.codes & _REFUSED):
            kind = InvalidByApi
        if kind is None and status is not None:
            found = _by_status(status, envelope)
            kind = RateLimited if status == 429 else found if found is not UnexpectedStatus else None
        if kind is not None:
            meaning = kind(status or 400, message, envelope.kind, request_id or envelope.request_id)
    return ErrorReply(f"the API answered with success and an error: {message}", credits_, meaning)


_FAILED = frozenset({"error", "failed", "failure", "canceled", "cancelled", "rejected", "expired"})
