"""Files that appear whole or not at all, hashed in the pass that writes them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from .errors import SpoolUnavailable


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes that now lie in a file, or small ones in memory.

    Attributes:
        path: Where they are.
        size: Their number.
        sha256: Their SHA-256, 64 lower-case hex digits.
        content_type: What the sender claimed, without parameters; a hint, never evidence. None if nothing was claimed.
        data: The bytes themselves, where they were only wanted in memory; then there is no file.
    """

    path: Path
    size: int
    sha256: str
    content_type: str | None
    data: bytes | None = field(default=None, repr=False)

    @property
    def source(self) -> Path | bytes:
        """Where to read the bytes from."""
        return self.path if self.data is None else self.data


class AtomicFile:
    """Writes a temporary file and gives it its name on `commit()`; left without a commit, nothing remains.

    It is not fsynced unless asked: what is downloaded can be downloaded again, and whoever reads a file of the spool
    compares its size and hash with the recorded ones.

    Args:
        dest: The final path; its folder must exist.
        sync: Flush the content to the disk before it gets its name.
        temporary_folder: Where the temporary file lives until then, on the same file system; by default the
            folder of `dest`.

    Raises:
        SpoolUnavailable: From every method, where the file system refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, AtomicFile(Path(folder) / "a.png") as out:
        ...     out.write(b"pixels")
        ...     out.commit(content_type=None).size
        6
    """

    def __init__(self, dest: Path, *, sync: bool = False, temporary_folder: Path | None = None) -> None:
        self.dest = dest
        self.size = 0
        self._sync = sync
        self._hash = hashlib.sha256()
        self._temporary = (temporary_folder or dest.parent) / f".{uuid.uuid4().hex}.part"
        self._file: IO[bytes] | None = None

    @property
    def sha256(self) -> str:
        """The hash of what has been written so far, as hex digits."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        try:
            self._file = self._temporary.open("xb")
        except OSError as error:
            raise self._unavailable(error) from error
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        try:
            self._open_file().write(data)
        except OSError as error:
            raise self._unavailable(error) from error
        self._hash.update(data)
        self.size += len(data) if isinstance(data, bytes) else data.nbytes

    def commit(self, *, content_type: str | None, create_only: bool = False) -> Fetched:
        """Give the file its final name and say what it holds.

        Args:
            content_type: Passed on into the result.
            create_only: Leave an existing file alone instead of replacing it.

        Raises:
            FileExistsError: With `create_only`, where `dest` exists.
        """
        file = self._open_file()
        try:
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
            file.close()
            if create_only:
                # link() is the one atomic "only if absent" that every POSIX file system agrees on.
                os.link(self._temporary, self.dest)
                self._temporary.unlink()
            else:
                self._temporary.replace(self.dest)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._unavailable(error) from error
        self._file = None
        return Fetched(self.dest, self.size, self.sha256, content_type)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        # On a full disk the flush inside close() fails once more; the first error is already on its way.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        self._file = None

    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError("an AtomicFile is written and committed once, inside its `with` block")
        return self._file

    def _unavailable(self, error: OSError) -> SpoolUnavailable:
        return SpoolUnavailable(f"cannot write {self.dest}: {error.strerror or error}")
