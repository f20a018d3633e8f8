"""The sandbox's own "CDN": image files below `/cdn/`, served without a key."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .faults import (
    CorruptImage,
    Download404,
    Download500,
    DownloadFault,
    ExpiredUrl,
    HtmlDownload,
    PrivateRedirect,
    SlowDownload,
    TruncatedDownload,
    WrongContentType,
)
from .image_cache import CachedImage
from .state import SandboxState
from .wire import TruncatedResponse, html_response

_PIECES = 20


def _corrupted(data: bytes, content_type: str) -> bytes:
    """An image that no decoder accepts: flipped bytes in a PNG, which has checksums; else without its end."""
    if content_type != "image/png":
        return data[: len(data) * 3 // 5]
    middle = len(data) // 3
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64]) + data[middle + 64 :]


def _same_query(got: bytes, given: bytes, *, exact: bool) -> bool:
    return got == given if exact else unquote_to_bytes(got) == unquote_to_bytes(given)


async def _in_pieces(data: bytes, seconds: float) -> AsyncIterator[bytes]:
    step = max(1, -(-len(data) // _PIECES))
    for start in range(0, len(data), step):
        yield data[start : start + step]
        await asyncio.sleep(seconds / _PIECES)


class Cdn:
    """The route of all image URLs."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    async def handle(self, request: Request) -> Response:
        """Serve an image, or what its fault replaces it with."""
        self._report_key(request)
        response = await self._respond(request)
        if request.method == "GET":
            self._state.call_log.count_download(int(response.headers.get("content-length", 0)))
        return response

    def _report_key(self, request: Request) -> None:
        authorization = request.headers.get("authorization")
        if authorization is not None:
            # A fingerprint tells two keys apart without keeping either.
            fingerprint = hashlib.sha256(authorization.encode()).hexdigest()[:12]
            self._state.call_log.report_leak(
                {"method": request.method, "path": request.url.path, "fingerprint": fingerprint}
            )

    async def _respond(self, request: Request) -> Response:
        state = self._state
        image = state.images.find(request.path_params["name"])
        if image is None:
            return _plain(404, "Not Found")
        options = state.options
        if not _same_query(request.scope["query_string"], image.query, exact=options.exact_query):
            return _plain(403, "SignatureDoesNotMatch: the query is not the one that was given out")
        if options.url_expiry is not None and time.monotonic() - image.created > options.url_expiry:
            return _plain(403, "AccessDenied: Request has expired")
        fault = self._fault(image) if request.method == "GET" else None
        if isinstance(fault, Download404):
            return _plain(404, "Not Found")
        if isinstance(fault, Download500):
            return _plain(500, "Internal Server Error")
        if isinstance(fault, HtmlDownload):
            return html_response(200)
        if isinstance(fault, ExpiredUrl):
            return _plain(403, "AccessDenied: Request has expired")
        if isinstance(fault, PrivateRedirect):
            return Response(status_code=302, headers={"location": fault.location})
        return await self._image(image, fault)

    async def _image(self, image: CachedImage, fault: DownloadFault | None) -> Response:
        media_type = self._state.images.content_type
        data = await self._state.images.picture(image.spec)
        if isinstance(fault, WrongContentType):
            return Response(data, media_type=fault.content_type)
        if isinstance(fault, TruncatedDownload):
            return TruncatedResponse(data, media_type=media_type)
        if isinstance(fault, CorruptImage):
            data = _corrupted(data, media_type)
        if isinstance(fault, SlowDownload):
            if fault.spread:
                length = {"content-length": str(len(data))}
                return StreamingResponse(_in_pieces(data, fault.seconds), headers=length, media_type=media_type)
            await asyncio.sleep(fault.seconds)
        return Response(data, media_type=media_type)

    def _fault(self, image: CachedImage) -> DownloadFault | None:
        """The fault of this GET. It is decided once per image, at its first GET under the current rules."""
        injector = self._state.faults
        if image.version != injector.version:
            image.version, image.attempts = injector.version, 0
            image.fault = injector.for_image(image.spec.model, image.spec.prompt, image.identity)
        image.attempts += 1
        fault = image.fault
        if fault is None or (fault.first_attempts is not None and image.attempts > fault.first_attempts):
            return None
        return fault


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain")
