"""Files: where they are kept, and the one way in which a file is written, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from .errors import BadInput, Unavailable


class SpoolUnavailable(Unavailable):
    """A file of the local spool cannot be written or read; the message names the path and the system's reason."""


def home() -> Path:
    """Folder for what is kept between runs: `$PREFECT_IMAGEN_HOME`, else `~/.prefect-imagen`."""
    return Path(os.environ.get("PREFECT_IMAGEN_HOME") or Path.home() / ".prefect-imagen").expanduser().absolute()


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it, for their owner alone, whatever the umask. What is there is left as it is.

    Raises:
        OSError: The file system refuses.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def check_stays_inside(path: Path, folder: Path | None = None) -> None:
    """Refuse a file that links take out of where it seems to be.

    Whoever clones a repository of prompts clones its links, too. One that leads to a file of this machine would put the
    content of that file into prompts.

    Args:
        path: A file that is read as prompts, wildcards, a template or the like.
        folder: Where it belongs; by default the folder that is named before it. Within a git repository, links may lead
            to all its files.

    Raises:
        BadInput: It leads elsewhere, or to what git keeps for itself.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     Path(name, "prompts.csv").symlink_to("/etc/passwd")
        ...     check_stays_inside(Path(name, "prompts.csv"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        prefect_imagen.core.errors.BadInput: .../prompts.csv is a link to /etc/passwd, outside of ...
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links
    repository = next((above for above in absolute.parents if (above / ".git").exists()), None)
    inside = repository or folder or absolute.parent
    real, bounds = Path(os.path.realpath(path)), Path(os.path.realpath(inside))
    if not real.is_relative_to(bounds) or (repository and ".git" in real.relative_to(bounds).parts):
        raise BadInput(
            f"{path} is a link to {real}, outside of {inside}: links are followed within the folder or repository that "
            "they are in only. If this is meant, give the path of the file itself"
        )


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class AtomicFile:
    """Writes a temporary file and gives it its name on `commit()`; left without a commit, nothing remains.

    Args:
        dest: The final path; its folder must exist.
        sync: Flush the content to the disk before it gets its name, and then the name, so that both survive a power
            cut. Not needed for what can be made again.
        temporary_folder: Where the temporary file lives until then, on the same file system; by default the
            folder of `dest`.
        private: Let nobody but the owner read it, whatever the umask.

    Raises:
        OSError: From every method, where the file system refuses; a subclass may translate it (`failure`).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, AtomicFile(Path(folder) / "a.txt") as out:
        ...     out.write(b"text")
        ...     out.commit()
        ...     out.dest.read_bytes()
        b'text'
    """

    def __init__(
        self, dest: Path, *, sync: bool = False, temporary_folder: Path | None = None, private: bool = True
    ) -> None:
        self.dest = dest
        self._sync = sync
        self._opener = _owner_only if private else None
        self._temporary = (temporary_folder or dest.parent) / f".{uuid.uuid4().hex}.part"
        self._file: IO[bytes] | None = None

    def failure(self, error: OSError) -> Exception:
        """The exception to raise for what the file system says."""
        return error

    def __enter__(self) -> Self:
        with self._translated():
            self._file = open(self._temporary, "xb", opener=self._opener)
        # It says that somebody is writing: see `remove_left_over`. Not every network file system has locks.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    @property
    def file(self) -> IO[bytes]:
        """The temporary file, for writers that need a file object; its errors are not translated."""
        if self._file is None:
            raise RuntimeError("an AtomicFile is written and committed once, inside its `with` block")
        return self._file

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        with self._translated():
            self.file.write(data)

    def commit(self, *, create_only: bool = False) -> None:
        """Give the file its final name.

        Args:
            create_only: Leave an existing file alone instead of replacing it.

        Raises:
            FileExistsError: With `create_only`, where `dest` exists.
        """
        with self._translated(*([FileExistsError] if create_only else [])):
            self.file.flush()
            if self._sync:
                os.fsync(self.file.fileno())
            self.file.close()
            if create_only:
                # link() is the one atomic "only if absent" that every POSIX file system agrees on.
                os.link(self._temporary, self.dest)
                self._temporary.unlink()
            else:
                self._temporary.replace(self.dest)
            self._file = None
            if self._sync:
                sync_folder(self.dest.parent)

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

    @contextlib.contextmanager
    def _translated(self, *passing: type[OSError]) -> Iterator[None]:
        try:
            yield
        except passing:
            raise
        except OSError as error:
            failure = self.failure(error)
            if failure is error:
                raise
            raise failure from error


_DAY = 86_400.0


def is_left(file: IO[bytes]) -> bool:
    """Whether nobody writes to an open file, which is locked from now on: whoever writes has locked it.

    Where files cannot be locked, whether it is older than a day.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(file.fileno()).st_mtime >= _DAY
    return True


def remove_left_over(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder: those that nobody has locked.

    Where files cannot be locked, those that are older than a day.
    """
    for path in (*folder.glob(".*.part"), *folder.glob(".writable-*")):
        with contextlib.suppress(OSError):
            with path.open("rb") as file:
                left = is_left(file)
            if left:
                path.unlink()


def bytes_in(folder: Path, suffix: str = "") -> int:
    """Bytes of the files in a folder whose names end so; 0 if there is no folder."""
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix):
                with contextlib.suppress(OSError):  # removed meanwhile
                    size += entry.stat().st_size
    return size


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder's files to the disk.

    Raises:
        OSError: The file system refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes that now lie in a file, or small ones in memory.

    Attributes:
        path: Where they are.
        size: Their number.
        sha256: Their SHA-256, 64 lower-case hex digits.
        content_type: What the sender claimed, without parameters; a hint, never evidence. None if nothing was claimed.
        data: The bytes themselves, where they were only wanted in memory; then there is no file.
        cut: How the sender announced more than came; None where all of it came.
    """

    path: Path
    size: int
    sha256: str
    content_type: str | None
    data: bytes | None = field(default=None, repr=False)
    cut: str | None = None

    @property
    def source(self) -> Path | bytes:
        """Where to read the bytes from."""
        return self.path if self.data is None else self.data


class HashedFile(AtomicFile):
    """An `AtomicFile` of the spool or a store, hashed in the pass that writes it.

    It is not synced unless asked: what is downloaded can be downloaded again, and a file of the spool is compared with
    its recorded size and hash before it is used.

    Raises:
        SpoolUnavailable: From every method, where the file system refuses.
    """

    def __init__(
        self, dest: Path, *, sync: bool = False, temporary_folder: Path | None = None, private: bool = True
    ) -> None:
        super().__init__(dest, sync=sync, temporary_folder=temporary_folder, private=private)
        self.size = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of what has been written so far, as hex digits."""
        return self._hash.hexdigest()

    def failure(self, error: OSError) -> Exception:
        return SpoolUnavailable(f"cannot write {self.dest}: {error.strerror or error}")

    def write(self, data: bytes | memoryview) -> None:
        super().write(data)
        self._hash.update(data)
        self.size += len(data) if isinstance(data, bytes) else data.nbytes

    def fetched(self, content_type: str | None = None) -> Fetched:
        """Commit, and say what the file holds.

        Args:
            content_type: Passed on into the result.
        """
        self.commit()
        return Fetched(self.dest, self.size, self.sha256, content_type)
