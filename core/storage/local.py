"""Objects as files of a folder: the same promises as S3, without a server."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import BadInput
from ..files import Fetched, HashedFile, SpoolUnavailable, remove_left_over
from .errors import ChecksumMismatch, KeyTaken, ObjectMissing, StoreNotUsable, StoreUnavailable
from .folder_index import FolderIndex
from .keys import check_key
from .store import PROBE_KEY, Deleted, ObjectInfo, ObjectStore, Stored

_TEMPORARY = ".prefect-imagen-tmp"
_CHUNK = 256 * 1024
# What a person must mend, in contrast to a disk that is full or a mount that is away.
_CONFIGURATION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOTSUP, errno.ENAMETOOLONG})


class LocalStore(ObjectStore):
    """A folder. An object is a file, fsynced before it appears under its key by a hard link, which never replaces.

    Content types are told from extensions, hashes are computed when asked for; of the metadata the ids are kept, in a
    file of the folder (the catalog has the rest). Files being written live in `.prefect-imagen-tmp`; what a crash
    leaves there, `preflight` deletes.

    Args:
        root: The folder; `preflight` makes it. Later it must exist: a vanished mount is not written into silently.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - resolve() would follow symlinks
        self._index = FolderIndex(self.root)

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def destination(self) -> str:
        return self.root.as_uri()

    def uri(self, key: str) -> str:
        return self._path(key).as_uri()

    def put(
        self,
        key: str,
        source: Path | bytes,
        *,
        sha256: str,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        run_tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> Stored:
        dest, sha256 = self._path(key), sha256.lower()
        with self._writing(dest) as out:
            if isinstance(source, bytes):
                out.write(source)
            else:
                with source.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        out.write(chunk)
            if out.sha256 != sha256:
                raise ChecksumMismatch(dest.as_uri())
            self._note(key, dest, metadata or {})
            try:
                out.commit(create_only=not overwrite)
                created = True
            except FileExistsError:
                created = False
        if not created and self._hash(dest) != sha256:
            raise KeyTaken(dest.as_uri())
        return Stored(key, dest.as_uri(), out.size, sha256, "", created)

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with _told(path):
            if not path.is_file():
                return None
            size = path.stat().st_size
        kind = mimetypes.guess_type(path.name)[0] or ""
        return ObjectInfo(key, size, self._hash(path), kind, metadata=self._index.get(key))

    def list(self, below: str = "") -> Iterator[ObjectInfo]:
        with _told(self.root):
            for folder, folders, names in os.walk(self.root, onerror=_raise):
                folders[:] = [name for name in folders if name != _TEMPORARY]
                for name in names:
                    path = Path(folder, name)
                    if path.is_symlink() and not self._is_inside(path):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        key = path.relative_to(self.root).as_posix()
                        if not key.startswith(below):
                            continue
                        kind = mimetypes.guess_type(name)[0] or ""
                        yield ObjectInfo(key, path.stat().st_size, None, kind, metadata=self._index.get(key))

    def get(self, key: str, dest: Path) -> Fetched:
        path = self._path(key)
        with HashedFile(dest) as out:
            for chunk in _chunks(path):
                out.write(chunk)
            return out.fetched(mimetypes.guess_type(path.name)[0])

    def delete(self, keys: Sequence[str]) -> Deleted:
        gone: list[str] = []
        failed: dict[str, str] = {}
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failed[key] = error.strerror or type(error).__name__
            else:
                gone.append(key)
                self._remove_empty(path.parent)
        return Deleted(tuple(gone), (), failed)

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folders that a key made, as far as nothing else is in them."""
        with contextlib.suppress(OSError):
            while folder != self.root and folder.is_relative_to(self.root):
                folder.rmdir()
                folder = folder.parent

    def read_text(self, key: str, max_bytes: int = 65_536) -> str | None:
        path = self._path(key)
        try:
            with _told(path), _opened(path) as file:
                data = file.read(max_bytes + 1)
        except ObjectMissing:
            return None
        if len(data) > max_bytes:
            raise StoreNotUsable(f"{path.as_uri()} is longer than {max_bytes:,} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise StoreNotUsable(f"{path.as_uri()} is not UTF-8 text") from None

    def create_text(self, key: str, text: str) -> bool:
        with self._writing(self._path(key)) as out:
            out.write(text.encode())
            try:
                out.commit(create_only=True)
            except FileExistsError:
                return False
        return True

    def write_text(self, key: str, text: str) -> None:
        with self._writing(self._path(key)) as out:
            out.write(text.encode())
            out.commit()

    def check(self) -> None:
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnavailable(f"{self.destination}: the folder is not there or cannot be written")

    def preflight(self, run_tags: Mapping[str, str] | None = None) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.write_text(PROBE_KEY, "prefect-imagen was here\n")
            # Not every file system has hard links (FAT, some network shares): then nothing could be create-only.
            self.create_text(PROBE_KEY, "overwritten\n")
            self._path(PROBE_KEY).unlink(missing_ok=True)
            remove_left_over(self._temporary())
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _CONFIGURATION:
                raise StoreNotUsable(str(error)) from cause
            raise
        except OSError as error:
            raise StoreNotUsable(f"{self.destination}: the folder cannot be made: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        segments = check_key(key).split("/")
        if segments[0] == _TEMPORARY or any(len(os.fsencode(segment)) > 255 for segment in segments):
            raise BadInput(f"object key {key[:80]!r} has a segment that cannot be a file name here")
        return self._checked(self.root.joinpath(*segments))

    def _temporary(self) -> Path:
        return self._checked(self.root / _TEMPORARY)

    def _checked(self, path: Path) -> Path:
        if not self._is_inside(path):
            raise StoreNotUsable(
                f"{path.as_uri()}: a link leads out of the folder {self.destination}; nothing is read or written there"
            )
        return path

    def _is_inside(self, path: Path) -> bool:
        """Whether a path stays in the folder, wherever links take it."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    @contextmanager
    def _writing(self, dest: Path) -> Iterator[HashedFile]:
        """A file that is about to become `dest`; errors of the folder come out as the store's."""
        temporary = self._temporary()
        try:
            # The root itself is not made here: if it is gone, its mount is.
            temporary.mkdir(exist_ok=True)
            dest.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot write {dest.as_uri()}: {error.strerror}") from error
        try:
            with HashedFile(dest, sync=True, temporary_folder=temporary, private=False) as out:
                yield out
        except SpoolUnavailable as error:
            raise StoreUnavailable(str(error)) from error.__cause__

    def _note(self, key: str, dest: Path, metadata: Mapping[str, str]) -> None:
        """Note the ids of an image before it is there: a file without them could not be taken in again."""
        try:
            if not dest.exists():
                self._index.add(key, metadata)
        except OSError as error:
            raise StoreUnavailable(f"cannot write beside {dest.as_uri()}: {error.strerror}") from error

    @staticmethod
    def _hash(path: Path) -> str:
        digest = hashlib.sha256()
        for chunk in _chunks(path):
            digest.update(chunk)
        return digest.hexdigest()


def _raise(error: OSError) -> None:
    raise error


def _opened(path: Path) -> IO[bytes]:
    """Open a file to be read. What is a pipe is empty, and not waited for."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _chunks(path: Path) -> Iterator[bytes]:
    with _told(path):
        file = _opened(path)
    with file:
        while True:
            with _told(path):
                chunk = file.read(_CHUNK)
            if not chunk:
                return
            yield chunk


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the file system raises on reading into the store's errors."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise ObjectMissing(path.as_uri()) from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path.as_uri()}: {error.strerror}") from error
