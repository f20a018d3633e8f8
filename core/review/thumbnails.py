"""Small copies of stored pictures: made when they are first wanted, kept under the hash of the picture."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..files import AtomicFile, SpoolUnavailable, home, make_private_folder
from ..images import NotAnImage, thumbnail
from ..images.signature import read_header
from .pictures import CannotBeShown, Pictures, StoredPicture

SIDE = 400
"""Of a thumbnail, in pixels at most."""

_QUALITY = 78
_AT_ONCE = 4


def thumbnail_folder() -> Path:
    """Where thumbnails are kept. It may be deleted at any time."""
    return home() / "thumbnails"


def thumbnail_path(sha256: str) -> Path:
    """Where the thumbnail of a picture is, once it is made."""
    return thumbnail_folder() / sha256[:2] / f"{sha256}.webp"


def forget_thumbnails(hashes: Iterable[str]) -> None:
    """Delete the thumbnails of pictures, for instance of erased ones."""
    for sha256 in hashes:
        thumbnail_path(sha256).unlink(missing_ok=True)


class Thumbnails:
    """Makes thumbnails, a few at a time and each once. Thread-safe.

    Args:
        pictures: Where to read from.
        at_once: Pictures that are decoded at the same time. It bounds the memory, too.
    """

    def __init__(self, pictures: Pictures, *, at_once: int = _AT_ONCE) -> None:
        self._pictures = pictures
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="thumbnails")
        self._running: dict[StoredPicture, Future[Path]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Leave what has not begun, and wait for the rest."""
        self._threads.shutdown(cancel_futures=True)

    def ready(self, sha256: str) -> Path | None:
        """The thumbnail of a picture, if it has been made."""
        path = thumbnail_path(sha256)
        return path if path.exists() else None

    def make(self, picture: StoredPicture) -> Future[Path]:
        """Make the thumbnail of a picture, or join whoever is making it.

        Returns:
            Its path. The future may raise what `Pictures.read` raises, and `SpoolUnavailable`.
        """
        with self._lock:
            future = self._running.get(picture)
            if future is None:
                future = self._threads.submit(self._make, picture)
                self._running[picture] = future
                future.add_done_callback(lambda _: self._running.pop(picture, None))
            return future

    def _make(self, picture: StoredPicture) -> Path:
        made = self.ready(picture.sha256)
        if made is not None:
            return made
        small = shrink(self._pictures.read(picture))
        path = thumbnail_path(picture.sha256)
        try:
            make_private_folder(path.parent)
            with AtomicFile(path) as out:
                out.write(small)
                out.commit()
        except OSError as error:
            raise SpoolUnavailable(f"cannot write {path}: {error.strerror or error}") from error
        return path


def shrink(data: bytes, side: int = SIDE) -> bytes:
    """A picture of at most `side` pixels in each direction, as WebP.

    Raises:
        CannotBeShown: It is no picture, or one that cannot be drawn.
        DecoderUnavailable: No process can be started to draw it.
    """
    try:
        kind = read_header(data).format.name
    except NotAnImage as error:
        raise CannotBeShown(f"the object is no picture: {error.reason}") from None
    picture = thumbnail(data, side)
    if picture is None:
        raise CannotBeShown(f"no small copy can be made of this {kind}")
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()
