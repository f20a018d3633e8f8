"""A file whose bytes come from elsewhere, piece by piece."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class SeekableFile(io.RawIOBase):
    """A binary file to read and seek in.

    Args:
        size: Bytes that there are.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._position = 0

    @abstractmethod
    def bytes_at(self, position: int, count: int) -> bytes:
        """Up to `count` bytes from `position` on; none only at the end."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.bytes_at(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
