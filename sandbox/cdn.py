"""The sandbox's own "CDN": image files below `/cdn/`, served without a key."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
import zlib
from collections.abc import AsyncIterator
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .faults import (
    DownloadFault,
    DownloadStatus,
    EncodedDownload,
    OtherBytes,
    PrivateRedirect,
    SimpleDownloadFault,
    SlowDownload,
    WrongContentType,
)
from .image_cache import CachedImage
from .state import SandboxState
from .wire import TruncatedResponse, html_response

_PIECES = 20
_EXPIRED = "AccessDenied: Request has expired"


def _corrupted(data: bytes, content_type: str) -> bytes:
    """An image that no decoder accepts: flipped bytes in a PNG's pixels, which have checksums; else without its end."""
    if content_type != "image/png":
        return data[: len(data) * 3 // 5]
    pixels = data.index(b"IDAT")  # behind its manifest, which no decoder looks at
    middle = pixels + (len(data) - pixels) // 3
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64]) + data[middle + 64 :]


def _encoded(data: bytes, encoding: str) -> bytes:
    return gzip.compress(data) if encoding == "gzip" else zlib.compress(data)


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
        authorization = request.headers.get("authorization")
        if authorization is not None:
            # A fingerprint tells two keys apart without keeping either.
            fingerprint = hashlib.sha256(authorization.encode()).hexdigest()[:12]
            self._state.call_log.report_leak(
                {"method": request.method, "path": request.url.path, "fingerprint": fingerprint}
            )
        response = await self._respond(request)
        if request.method == "GET":
            self._state.call_log.count_download(int(response.headers.get("content-length", 0)))
        return response

    async def _respond(self, request: Request) -> Response:
        state = self._state
        image = state.images.find(request.path_params["name"])
        if image is None:
            return _plain(404, "Not Found")
        if not _same_query(request.scope["query_string"], image.query, exact=state.options.exact_query):
            return _plain(403, "SignatureDoesNotMatch: the query is not the one that was given out")
        expiry = state.options.url_expiry
        if expiry is not None and time.monotonic() - image.created > expiry:
            return _plain(403, _EXPIRED)
        fault = download_fault(state, image) if request.method == "GET" else None
        match fault and fault.fault:
            case "download_404":
                return _plain(404, "Not Found")
            case "download_500":
                return _plain(500, "Internal Server Error")
            case "html_download":
                return html_response(200)
            case "expired_url":
                return _plain(403, _EXPIRED)
            case "browsers_only" if "Mozilla/" not in request.headers.get("user-agent", ""):
                return _plain(403, "error code: 1010")
        if isinstance(fault, DownloadStatus):
            return _plain(fault.status, "No image")
        if isinstance(fault, PrivateRedirect):
            return Response(status_code=302, headers={"location": fault.location})
        data, media_type = await state.images.picture(image.spec), state.images.content_type
        match fault:
            case WrongContentType():
                media_type = fault.content_type
            case OtherBytes(missing=missing) if missing:
                short = TruncatedResponse(fault.data + bytes(missing), media_type=fault.content_type)
                short.missing = missing
                return short
            case OtherBytes():
                data, media_type = fault.data, fault.content_type
            case EncodedDownload(encoding=encoding, really=really):
                data = _encoded(data, encoding) if really else data
                return Response(data, headers={"content-encoding": encoding}, media_type=media_type)
            case SlowDownload(spread=True):
                length = {"content-length": str(len(data))}
                return StreamingResponse(_in_pieces(data, fault.seconds), headers=length, media_type=media_type)
            case SlowDownload():
                await asyncio.sleep(fault.seconds)
            case SimpleDownloadFault(fault="truncated_download"):
                return TruncatedResponse(data, media_type=media_type)
            case SimpleDownloadFault(fault="corrupt_image"):
                data = _corrupted(data, media_type)
        return Response(data, media_type=media_type)


def download_fault(state: SandboxState, image: CachedImage) -> DownloadFault | None:
    """The fault of this GET. It is decided once per image, at its first GET under the current rules."""
    injector = state.faults
    if image.version != injector.version:
        image.version, image.attempts = injector.version, 0
        image.fault = injector.for_image(image.spec.model, image.spec.prompt, image.identity)
    image.attempts += 1
    fault = image.fault
    if fault is None or (fault.first_attempts is not None and image.attempts > fault.first_attempts):
        return None
    return fault


async def inline_bytes(state: SandboxState, image: CachedImage) -> tuple[bytes, str]:
    """An image for a reply that carries images, and its media type: with what a fault of downloads does to them."""
    data, media_type = await state.images.picture(image.spec), state.images.content_type
    match download_fault(state, image):
        case WrongContentType(content_type=other):
            return data, other
        case OtherBytes(data=other_data, content_type=other):
            return other_data, other
        case SimpleDownloadFault(fault="truncated_download"):
            return data[: len(data) // 2], media_type
        case SimpleDownloadFault(fault="corrupt_image"):
            return _corrupted(data, media_type), media_type
    return data, media_type


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain")
