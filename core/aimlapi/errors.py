"""What the API can answer besides images, and what each answer says of the bill.

    ApiError
    ├── NotSent                 refused connection, DNS, TLS: the body never went out          unbilled
    ├── ReplyLost               time-out or cut connection after the body went out             unknown
    ├── UnreadableReply         a 2xx that is not the JSON it should be                        unknown
    └── StatusError             any other status
        ├── InvalidByApi        400, 422 in one of the API's envelopes                         unbilled
        ├── BadKey              401                                                            unbilled
        ├── Forbidden           403                                                            unbilled
        │   └── OutOfCredit     403, kind `err_insufficent_credits` (their spelling)           unbilled
        ├── NotFound            404: path, or a model without a backend                        unbilled
        ├── RateLimited         429, in whatever form                                          unbilled
        ├── ServerError         500, 502, 503, 504, 524 …                                      unknown
        └── UnexpectedStatus    a redirect, an HTML page with a 4xx: not the API's own word    unknown

`core.purchase.decision` says what is recorded for each. *Unknown* is not *failed*: the provider may have billed it, so
it is never repeated unless a person or a policy decides so. The provider's docs say that failed requests are not
billed; nobody has measured it for a 5xx, hence `ServerError` is unknown unless the user trusts the docs
(`trust_unbilled_5xx`).
Sources: AI/ML API docs, "Errors"; public captures of both envelopes, 2025-03 to 2026-08.
"""

from __future__ import annotations

import json
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


class UnreadableReply(ApiError):
    """A success status with a body that cannot be read. It may have been billed."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The API's own words about an error, from either of its two envelopes."""

    message: str
    kind: str | None = None
    request_id: str | None = None


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


class UnexpectedStatus(StatusError):
    """A status the API does not use, or a page of something in between: not the API's own word."""


def _message(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 3]}..."


def _zod_issues(data: Any) -> str:
    if not isinstance(data, list):
        return ""
    issues = []
    for issue in data[:10]:
        if isinstance(issue, Mapping):
            path = ".".join(map(str, issue.get("path") or ())) or "body"
            issues.append(f"{path}: {issue.get('message') or issue.get('code')}")
    return "; ".join(issues)


def read_envelope(body: bytes) -> Envelope | None:
    """Read an error body in either of the API's envelopes; None if it is neither (HTML, plain text, cut JSON).

    The newer one is problem+json (`title`, `status`, `message`, `error{name, message, data}`), the older one has
    `statusCode`, `path`, `message`.
    """
    try:
        return _envelope(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _envelope(document: Any) -> Envelope | None:
    if not isinstance(document, Mapping) or not ({"statusCode", "status"} & set(document)):
        return None
    error = document.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    message = document.get("message") or inner.get("message")
    if message is None:
        return None
    data = inner.get("data")
    issues = _zod_issues(data)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    request_id = document.get("requestId")
    return Envelope(
        message=_message(f"{_message(message)} — {issues}" if issues else message),
        kind=str(kind) if kind is not None else None,
        request_id=str(request_id) if request_id is not None else None,
    )


def status_error(
    status: int, body: bytes, *, request_id: str | None = None, retry_after: float | None = None
) -> StatusError:
    """Build the error for an answer that is not a 2xx."""
    envelope = read_envelope(body)
    if envelope is None:
        message, kind = "no error message of the API's own (a page from something in between?)", None
    else:
        message, kind = envelope.message, envelope.kind
        request_id = request_id or envelope.request_id
    if status == 429:
        return RateLimited(status, message, kind, request_id, retry_after)
    if status >= 500:
        return ServerError(status, message, kind, request_id)
    if envelope is None:
        return UnexpectedStatus(status, message, kind, request_id)
    if status == 403 and _is_out_of_credit(envelope):
        return OutOfCredit(status, message, kind, request_id)
    classes: dict[int, type[StatusError]] = {
        400: InvalidByApi,
        401: BadKey,
        403: Forbidden,
        404: NotFound,
        422: InvalidByApi,
    }
    return classes.get(status, UnexpectedStatus)(status, message, kind, request_id)


def _is_out_of_credit(envelope: Envelope) -> bool:
    if envelope.kind is not None:
        return envelope.kind in {"err_insufficent_credits", "err_insufficient_credits"}
    return "run out of" in envelope.message.lower()
