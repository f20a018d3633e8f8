"""Replies on the level of HTTP and the connection, including broken ones.

Cutting a connection needs its transport. uvicorn does not pass it to an application, but copies a per-connection
`state` into every request's scope: the protocol class below puts the transport there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .error_bodies import Failure

_HTML_ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>502 Bad gateway</title></head>"
    "<body><h1>Bad gateway</h1><p>The sandbox plays a proxy whose upstream is gone.</p></body></html>\n"
)


class TransportProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, with the connection's transport in `scope["state"]["transport"]`."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop for a new connection."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class JsonReply(Response):
    """Compact JSON in ASCII, so that any prompt can be echoed."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return json.dumps(content, separators=(",", ":")).encode()


class CutResponse(Response):
    """No response: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the socket, and wait until the server has noticed."""
        scope["state"]["transport"].abort()
        await _disconnected(receive)


class TruncatedResponse(Response):
    """A response whose connection is closed within the body: in its middle, or `missing` bytes before its end."""

    missing: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head with the full length and the first part of the body, then close the socket."""
        body = bytes(self.body)
        sent = len(body) // 2 if self.missing is None else len(body) - self.missing
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[:sent], "more_body": True})
        scope["state"]["transport"].close()
        await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def html_response(status: int) -> Response:
    """The HTML page of a proxy, instead of JSON or an image."""
    return Response(_HTML_ERROR_PAGE, status, media_type="text/html")


def event_response(body: bytes, headers: Mapping[str, str]) -> Response:
    """A reply as server-sent events (WHATWG HTML, section 9.2)."""
    text = b"event: image_generation.completed\ndata: " + body + b"\n\ndata: [DONE]\n\n"
    return Response(text, headers=dict(headers), media_type="text/event-stream")


def failure_response(
    failure: Failure, request: Request, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The reply to a request that failed.

    Args:
        failure: The error.
        request: The request it answers.
        request_id: Sent as `x-request-id` and in the body.
        headers: More headers.
    """
    reply = JsonReply(
        failure.body(request.url.path, request_id),
        failure.status,
        {"x-request-id": request_id, **(headers or {}), **failure.headers},
    )
    reply.headers["content-type"] = failure.content_type
    return reply
