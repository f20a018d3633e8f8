"""Stored pictures, read from wherever they were delivered to."""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ImagenError
from ..storage import ChecksumMismatch, ObjectMissing, ObjectStore, open_store


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
    destination: str
    key: str
    content_type: str


class Pictures:
    """Reads pictures from buckets and folders. Thread-safe.

    Args:
        options: How to reach buckets, as `open_store` takes them; folders need none.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})
        self._stores: dict[str, ObjectStore] = {}
        self._lock = threading.Lock()
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
        try:
            found = self._store(picture.destination).get(picture.key, path)
            if found.sha256 != picture.sha256:
                raise CannotBeShown("the object has been replaced: it is not the picture that was bought")
            return path.read_bytes()
        except ObjectMissing:
            raise CannotBeShown("the object is gone from its store") from None
        except ChecksumMismatch:
            raise CannotBeShown("the object is damaged: its bytes are not those that were stored") from None
        finally:
            path.unlink(missing_ok=True)

    def _store(self, destination: str) -> ObjectStore:
        with self._lock:
            if destination not in self._stores:
                options = self._options if destination.startswith("s3://") else {}
                self._stores[destination] = open_store(destination, **options)
            return self._stores[destination]
