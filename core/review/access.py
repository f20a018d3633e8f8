"""Who may use the page: whoever was given its link, from the address that it is meant for."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadInput
from ..files import home, make_private_folder

_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Access:
    """A token in the link becomes a cookie; requests of other sites and for other hosts are refused.

    The token is new with each start. The cookie stays good on this machine, so that an open page goes on with a server
    that was started again.

    Args:
        scope: What the cookie is for, such as the id of a ledger.
        host: Name or address that the server listens on.

    Raises:
        BadInput: The key for cookies can be neither read nor written.
    """

    def __init__(self, scope: str, host: str) -> None:
        self.token = secrets.token_urlsafe(24)
        self._cookie = f"imagen_review_{hashlib.sha256(scope.encode()).hexdigest()[:12]}"
        self._session = hmac.new(_key(), scope.encode(), hashlib.sha256).hexdigest()
        self._names = {host.lower(), "localhost", socket.gethostname().lower()}

    def link(self, origin: str, query: dict[str, str]) -> str:
        """The address to open."""
        return f"{origin}/?{urlencode({'token': self.token, **query})}"

    def check(self, request: Request) -> Response | None:
        """The answer to a request that is not allowed, or None."""
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return _refusal(403, f"this page is not served for the host {host[:80]!r}")
        origin = request.headers.get("origin")
        # A browser names the origin of whatever it sends; what names none is no page of another site.
        if origin is not None and urlsplit(origin).netloc != host:
            return _refusal(403, "this page takes requests of its own origin only")
        if request.method not in ("GET", "HEAD"):
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return _refusal(415, "requests are JSON")
            if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return _refusal(403, "this page takes requests of its own origin only")
        token = request.query_params.get("token")
        if (
            request.url.path == "/"
            and token is not None
            and secrets.compare_digest(token.encode(), self.token.encode())
        ):
            rest = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
            response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            response.set_cookie(self._cookie, self._session, httponly=True, samesite="lax", path="/")
            return response
        shown = request.cookies.get(self._cookie, "")
        if not secrets.compare_digest(shown.encode(), self._session.encode()):
            return _refusal(401, "open the link that prefect-imagen review printed")
        return None

    def _is_ours(self, host: str) -> bool:
        # An address cannot be made to point elsewhere, as a name can.
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return name in self._names


class AccessMiddleware:
    """Puts `Access` before an application, and its headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [
                    (name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in there
                ]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refusal = self._access.check(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)


def _refusal(status: int, problem: str) -> Response:
    return JSONResponse({"problem": problem}, status, {"cache-control": "no-store"})


def _key() -> bytes:
    """A secret of this user on this machine."""
    path = home() / "review.key"
    try:
        make_private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secrets.token_bytes(32))
                os.close(descriptor)
                os.link(draft, path)  # of several that start at once, the first decides
            finally:
                draft.unlink(missing_ok=True)
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can be neither read nor written: {error.strerror}") from None
