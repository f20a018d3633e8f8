"""The server of the review page: its files, what it asks for, and the pictures. It listens on this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Protocol

import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..errors import BadInput, ImagenError, Unavailable
from ..http.server import ReadyServer
from .access import Access, AccessMiddleware
from .pictures import CannotBeShown, Pictures, StoredPicture
from .thumbnails import Thumbnails

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# What a browser draws. An SVG is not among them: it is a document, with scripts of its own.
_PICTURE_TYPES = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "avif", "bmp"))
_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
_NEVER = {"cache-control": "no-store"}
_MAX_BODY = 4 * 1024 * 1024
_MAX_ROWS = 500
_DIGITS = 18
_READ_AT_ONCE = 4
_GRACE_SECONDS = 2


class Desk(Protocol):
    """What the page asks the ledger. Every method may raise `BadInput` and `Unavailable`; all run in threads."""

    def start(self, filters: Mapping[str, str]) -> dict[str, Any]:
        """Who reviews what: numbers, and the rows around the first picture without a verdict."""

    def index(self, filters: Mapping[str, str], after: str | None) -> dict[str, Any]:
        """Ids of pictures in their order, verdicts and stars, and where the next part begins."""

    def rows(self, image_ids: list[str]) -> list[dict[str, Any]]:
        """All that is known of pictures."""

    def news(self, after: int) -> dict[str, Any]:
        """What has been said of pictures after a verdict, by the number of that one."""

    def choices(self) -> dict[str, Any]:
        """What can be filtered by."""

    def record(self, verdicts: list[Any]) -> dict[str, Any]:
        """Record verdicts; a verdict that is recorded already changes nothing."""

    def request(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a picture in place of another."""

    def picture(self, image_id: str) -> StoredPicture | None:
        """Where a picture is; None if it is not known or not stored."""


def page_files() -> dict[str, bytes]:
    """The files of the page, by name."""
    folder = files(__package__).joinpath("static")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if "." in entry.name}


def create_app(desk: Desk, pictures: Pictures, thumbnails: Thumbnails, access: Access) -> Starlette:
    """The page as an ASGI application.

    Args:
        desk: Answers for the ledger.
        pictures: Reads pictures.
        thumbnails: Makes thumbnails.
        access: Who may use it.
    """
    app = _App(desk, pictures, thumbnails)
    return Starlette(
        routes=[
            Route("/api/start", app.start),
            Route("/api/index", app.index),
            Route("/api/rows", app.rows, methods=["POST"]),
            Route("/api/news", app.news),
            Route("/api/choices", app.choices),
            Route("/api/verdicts", app.verdicts, methods=["POST"]),
            Route("/api/requests", app.requests, methods=["POST"]),
            Route("/thumbnails/{sha256}.webp", app.thumbnail),
            Route("/pictures/{image_id}", app.picture),
            Route("/{name:path}", app.file),
        ],
        middleware=[Middleware(AccessMiddleware, access=access)],
        exception_handlers={ImagenError: _problem, Exception: _surprise},
    )


class _App:
    """The endpoints."""

    def __init__(self, desk: Desk, pictures: Pictures, thumbnails: Thumbnails) -> None:
        self._desk = desk
        self._pictures = pictures
        self._thumbnails = thumbnails
        self._files = page_files()
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    async def start(self, request: Request) -> Response:
        return _json(await to_thread.run_sync(self._desk.start, _filters(request)))

    async def index(self, request: Request) -> Response:
        after = request.query_params.get("after")
        return _json(await to_thread.run_sync(self._desk.index, _filters(request), after))

    async def rows(self, request: Request) -> Response:
        ids = (await _body(request)).get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids) or len(ids) > _MAX_ROWS:
            raise BadInput(f"ids: a list of at most {_MAX_ROWS} ids of images")
        return _json({"rows": await to_thread.run_sync(self._desk.rows, ids)})

    async def news(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        if not after.isascii() or not after.isdigit() or len(after) > _DIGITS:
            raise BadInput("after: the number of a verdict")
        return _json(await to_thread.run_sync(self._desk.news, int(after)))

    async def choices(self, request: Request) -> Response:
        return _json(await to_thread.run_sync(self._desk.choices))

    async def verdicts(self, request: Request) -> Response:
        verdicts = (await _body(request)).get("verdicts")
        if not isinstance(verdicts, list):
            raise BadInput("verdicts: a list")
        return _json(await to_thread.run_sync(self._desk.record, verdicts))

    async def requests(self, request: Request) -> Response:
        return _json(await to_thread.run_sync(self._desk.request, await _body(request)))

    async def thumbnail(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise CannotBeShown("not the hash of a picture")
        path = self._thumbnails.ready(sha256)
        if path is None:
            picture = await self._find(request.query_params.get("image", ""))
            if picture.sha256 != sha256:
                raise CannotBeShown("the catalog has another picture by now: load the page again")
            # Shielded: others may wait for the same one.
            path = await asyncio.shield(asyncio.wrap_future(self._thumbnails.make(picture)))
        return FileResponse(path, media_type="image/webp", headers=_FOR_EVER)

    async def picture(self, request: Request) -> Response:
        picture = await self._find(request.path_params["image_id"])
        async with self._reading:
            data = await to_thread.run_sync(self._pictures.read, picture)
        kind = picture.content_type if picture.content_type in _PICTURE_TYPES else "application/octet-stream"
        return Response(data, media_type=kind, headers=_FOR_EVER)

    async def _find(self, image_id: str) -> StoredPicture:
        picture = await to_thread.run_sync(self._desk.picture, image_id)
        if picture is None:
            raise CannotBeShown("the picture is not stored any more")
        return picture

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"] or "index.html"
        data = self._files.get(name)
        if data is None:
            return _json({"problem": "there is no such page"}, 404)
        kind = _TYPES[f".{name.rpartition('.')[2]}"]
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})


def _filters(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name != "after"}


async def _body(request: Request) -> dict[str, Any]:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY:
            raise BadInput(f"a request has at most {_MAX_BODY:,} bytes")
    try:
        body = json.loads(data)
    except ValueError:
        raise BadInput("the request is no JSON") from None
    if not isinstance(body, dict):
        raise BadInput("the request is no JSON object")
    return body


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str)
    # Half a surrogate pair, which some source had, has no UTF-8.
    return Response(text.encode("utf-8", "replace"), status, _NEVER, "application/json")


async def _problem(_request: Request, error: Exception) -> Response:
    status = 503 if isinstance(error, Unavailable) else 404 if isinstance(error, CannotBeShown) else 400
    return _json({"problem": str(error)}, status)


async def _surprise(_request: Request, error: Exception) -> Response:
    return _json({"problem": f"this should not have happened: {type(error).__name__}"}, 500)


def origin_of(listener: socket.socket) -> str:
    """The address of a socket, as a client has it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - no address to listen on, but one that is shown
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: Of `create_app`.
        listener: Of `listen`.
        ready: Called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    ReadyServer(config, ready).run(sockets=[listener])
