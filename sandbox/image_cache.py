"""The sandbox's images: their URLs, and a cache of their bytes with a size limit.

An image is drawn by a small pool of threads when it is first downloaded, so that a paid call is answered at once. An
image that was dropped from the cache is drawn again, with the same bytes; signed again, with others.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from .faults import DownloadFault
from .options import SandboxOptions
from .pictures import CONTENT_TYPES, PictureSpec, encode_picture

if TYPE_CHECKING:
    from .signing import PictureSigner

CDN_PREFIX = "/cdn/"

_ANIMALS = ("badger", "egret", "hedgehog", "ibex", "lynx", "marten", "otter", "plover", "tapir", "wombat")
_FAST_VARIANTS = 4
_FAST_PROMPT = "Fast mode: this picture stands for all images of its size, whatever was asked for."
_DRAWING_THREADS = 2


@dataclass(slots=True)
class CachedImage:
    """An image that a reply named, and the state of its downloads.

    Attributes:
        spec: Everything that decides the picture.
        name: Its path below `/cdn/`.
        query: The query string of its URL.
        created: When it was made (`time.monotonic()`).
        attempts: GETs so far under the rules of `version`.
        fault: The fault of its downloads under those rules.
        version: Version of the fault rules that `fault` was decided under.
    """

    spec: PictureSpec
    name: str
    query: bytes
    created: float
    attempts: int = 0
    fault: DownloadFault | None = None
    version: int = -1

    @property
    def identity(self) -> bytes:
        """A hash that is the same for the same picture."""
        text = "\x1f".join(map(str, astuple(self.spec)))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _signer() -> PictureSigner:
    # Here: it brings the ledger with it, and SQLAlchemy, half of the time that a sandbox takes to start.
    from .signing import PictureSigner

    return PictureSigner()


class ImageCache:
    """All images of one sandbox. Thread-safe."""

    def __init__(self, options: SandboxOptions) -> None:
        self._format = options.image_format
        self._at_least = options.image_bytes
        self._fast = options.pictures == "fast"
        self._cap = options.cache_bytes
        self.signer = _signer() if options.signed else None
        self._lock = threading.Lock()
        self._images: dict[str, CachedImage] = {}
        self._cache: OrderedDict[PictureSpec, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._pool = ThreadPoolExecutor(_DRAWING_THREADS, thread_name_prefix="sandbox-draw")

    @property
    def content_type(self) -> str:
        """Media type of the images."""
        return CONTENT_TYPES[self._format]

    @property
    def extension(self) -> str:
        """File name extension of the images, without the dot."""
        return "jpg" if self._format == "jpeg" else self._format

    def add(self, spec: PictureSpec) -> CachedImage:
        """Register an image under a new URL."""
        animal = _ANIMALS[spec.seed % len(_ANIMALS)]
        name = f"generations/{animal}/{time.time_ns() // 1_000_000}-{uuid.uuid4()}.{self.extension}"
        # Lower-case escapes are as valid as upper-case ones, but don't survive a client that takes URLs apart.
        signature = base64.b64encode(b"\xff\xfe\xfb" + secrets.token_bytes(18)).decode()
        query = f"v=1&sig={quote(signature, safe='')}".replace("%2F", "%2f").replace("%2B", "%2b")
        image = CachedImage(spec, name, query.encode(), time.monotonic())
        with self._lock:
            self._images[name] = image
        return image

    def find(self, name: str) -> CachedImage | None:
        """The image at a path below `/cdn/`."""
        return self._images.get(name)

    async def picture(self, spec: PictureSpec) -> bytes:
        """The file of an image, from the cache or drawn now."""
        key = self._shown(spec)
        data = self._cached(key)
        if data is not None:
            return data
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._draw, key)

    def close(self) -> None:
        """End the drawing threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _shown(self, spec: PictureSpec) -> PictureSpec:
        if not self._fast:
            return spec
        variant = (spec.seed + spec.index) % _FAST_VARIANTS
        return PictureSpec("sandbox", _FAST_PROMPT, variant, 0, spec.width, spec.height, spec.inputs)

    def _cached(self, key: PictureSpec) -> bytes | None:
        with self._lock:
            data = self._cache.get(key)
            if data is not None:
                self._cache.move_to_end(key)
            return data

    def _draw(self, key: PictureSpec) -> bytes:
        # Several requests may have waited for the same picture.
        data = self._cached(key)
        if data is not None:
            return data
        data = encode_picture(key, self._format, self._at_least)
        if self.signer is not None:
            data = self.signer.sign(data, self.content_type, key.model)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = data
                self._cached_bytes += len(data)
            while self._cached_bytes > self._cap and self._cache:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= len(dropped)
        return data
