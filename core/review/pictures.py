"""Stored pictures, read from wherever they were delivered to."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImagenError
from ..storage import ChecksumMismatch, ObjectMissing
from ..storage.sources import Sources


@dataclass(eq=False, repr=False)
class CannotBeShown(ImagenError):
    """A picture is not where the catalog says, or what is there is no such picture. `reason` says which."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """Where a picture is, and what it is, as the catalog has it."""

    image_id: str
    sha256: str
    uri: str
    content_type: str


class Pictures:
    """Reads pictures from buckets and folders. Thread-safe.

    Args:
        sources: How buckets are reached.
    """

    def __init__(self, sources: Sources | None = None) -> None:
        self._sources = sources or Sources()
        self._folder = tempfile.TemporaryDirectory(prefix="imagen-")

    def close(self) -> None:
        """Remove the temporary files."""
        self._folder.cleanup()

    def read(self, picture: StoredPicture) -> bytes:
        """The bytes of a picture, which are those that were bought.

        Raises:
            CannotBeShown: It is gone, or something else is in its place.
            StoreUnavailable: The store does not answer.
            StoreNotUsable: The store refuses.
        """
        path = Path(self._folder.name) / uuid.uuid4().hex
        store, key = self._sources.open(picture.uri)
        try:
            found = store.get(key, path)
            if found.sha256 != picture.sha256:
                raise CannotBeShown("the object has been replaced: it is not the picture that was bought")
            return path.read_bytes()
        except ObjectMissing:
            raise CannotBeShown("the object is gone from its store") from None
        except ChecksumMismatch:
            raise CannotBeShown("the object is damaged: its bytes are not those that were stored") from None
        finally:
            path.unlink(missing_ok=True)
