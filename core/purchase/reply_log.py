"""Small replies, one behind the other in a file of this process.

A file for each reply takes about as much processor time as the call itself: it is made, flushed, named and removed.
Here a reply is appended, which no killed process takes back, and one flush makes all that came since the last one
survive a power cut.

A record is a line (name, bytes, CRC-32), a mark, and the content. The mark is `+`, and `-` once the record is over. No
place is used twice, so any process may end any record. A file is removed when all its records are over: by the process
that appends to it, or by whoever finds it after that process was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import is_left, sync_folder

_SUFFIX = ".replies"
_KEPT, _OVER = b"+", b"-"
_LONGEST = 2**20
"""Bytes of a file after which the next one is begun."""


@dataclass(frozen=True, slots=True)
class _Record:
    start: int
    content: int  # the mark is the byte before
    end: int
    crc32: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(eq=False, slots=True)
class _OwnFile:
    """A file that this process appends to, or did before it was long enough."""

    path: Path
    descriptor: int
    records: dict[str, _Record] = field(default_factory=dict)  # those that are kept
    size: int = 0
    flushed: int = 0

    @classmethod
    def create(cls, folder: Path) -> _OwnFile:
        while True:
            path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # It says that somebody appends to it. Not every network file system has locks.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                sync_folder(folder)
                if os.fstat(descriptor).st_nlink:  # or it was found before it was locked, and taken for a left one
                    return cls(path, descriptor)
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def append(self, name: str, content: bytes) -> None:
        crc32 = zlib.crc32(content)
        line = f"{name} {len(content)} {crc32:08x}\n".encode()
        data = b"".join((line, _KEPT, content))
        written = os.pwrite(self.descriptor, data, self.size)
        if written < len(data):  # what is written of it, the next one overwrites
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        end = self.size + len(data)
        self.records[name] = _Record(self.size, end - len(content), end, crc32)
        self.size = end

    def flush(self) -> None:
        if self.flushed == (size := self.size):
            return
        if not os.fstat(self.descriptor).st_nlink:
            raise OSError(errno.ENOENT, f"{self.path} was removed")
        os.fdatasync(self.descriptor)
        self.flushed = size

    def close(self) -> None:
        """Leave what is kept to others; without any, the file is removed. Another process may have ended a record."""
        try:
            marks = (os.pread(self.descriptor, 1, record.content - 1) for record in self.records.values())
            if _KEPT not in marks:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


@dataclass(eq=False, slots=True)
class _OtherFile:
    """A file that another process appends to, or did; or another log of this process."""

    path: Path
    read: int = 0
    records: dict[str, _Record] = field(default_factory=dict)  # those that were kept when they were read

    def read_on(self) -> None:
        if self.path.stat().st_size == self.read:
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            data = file.read()
        at = 0
        while (line := data.find(b"\n", at)) >= 0:
            try:
                name, size, crc32 = data[at:line].decode().split(" ")
                content, end = line + 2, line + 2 + int(size)
                record = _Record(self.read + at, self.read + content, self.read + end, int(crc32, 16))
            except ValueError:
                break  # damaged by a crash of the machine: nothing from here on was flushed
            if end > len(data):
                break  # it is being written
            if data[line + 1 : content] == _KEPT:
                self.records[name] = record
            at = end
        self.read += at

    def content(self, record: _Record) -> bytes | None:
        with self.path.open("rb") as file:
            file.seek(record.content - 1)
            mark, content = file.read(1), file.read(record.end - record.content)
        return content if mark == _KEPT and zlib.crc32(content) == record.crc32 else None

    def end(self, name: str) -> None:
        with self.path.open("r+b") as file:
            _end(file.fileno(), self.records.pop(name))
        self.remove_if_left()

    def remove_if_left(self) -> None:
        """Remove the file if nothing is kept in it, and nobody appends to it."""
        if self.records:
            return
        with self.path.open("rb") as file:
            if not is_left(file):
                return
            self.read_on()
            if not self.records:
                self.path.unlink()


def _end(descriptor: int, record: _Record) -> None:
    """Mark a record as over and overwrite what it holds."""
    os.pwrite(descriptor, _OVER + bytes(record.end - record.content), record.content - 1)


class ReplyLog:
    """Named contents in the log files of a folder. Thread-safe; its errors are the file system's (`OSError`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._flushing = threading.Lock()  # held while a file is flushed or closed
        self._own: list[_OwnFile] = []  # the last one is appended to
        self._others: dict[Path, _OtherFile] = {}
        for other in self._read_others():
            with contextlib.suppress(OSError):
                other.remove_if_left()

    def append(self, name: str, content: bytes) -> None:
        """Keep a content, in place of an earlier one of that name. It survives a kill, and a power cut once flushed."""
        with self._lock:
            before = self._find_own(name)
            if not self._own or self._own[-1].size >= _LONGEST:
                self._own.append(_OwnFile.create(self._folder))
            self._own[-1].append(name, content)
            if before is not None:
                file, record = before
                _end(file.descriptor, record)
                if file is not self._own[-1]:
                    del file.records[name]

    def flush(self) -> None:
        """Flush to the disk what was appended before this call."""
        with self._flushing:
            for file in list(self._own):
                file.flush()

    def read(self, name: str) -> bytes | None:
        """The content of that name; None if there is none, or if a crash of the machine has damaged it."""
        with self._lock:
            if (own := self._find_own(name)) is not None:
                file, record = own
                return os.pread(file.descriptor, record.end - record.content, record.content)
            other = self._find_other(name)
            return other.content(other.records[name]) if other is not None else None

    def size(self, name: str) -> int:
        """Bytes of the content of that name; 0 if there is none."""
        with self._lock:
            if (own := self._find_own(name)) is not None:
                return own[1].size
            other = self._find_other(name)
            return other.records[name].size if other is not None else 0

    def delete(self, name: str) -> bool:
        """End the record of that name and overwrite its content. False if there is none."""
        with self._lock:
            own = self._find_own(name)
            if own is None:
                if (other := self._find_other(name)) is not None:
                    other.end(name)
                return other is not None
            file, record = own
            del file.records[name]
            _end(file.descriptor, record)
            if file.records or file is self._own[-1]:
                return True
            self._own.remove(file)
        self._close([file])
        return True

    def names(self) -> set[str]:
        """All that is kept here, by whichever process."""
        with self._lock:
            own = (name for file in self._own for name in file.records)
            others = (name for file in self._read_others() for name in file.records)
            return {*own, *others}

    def used(self) -> int:
        """Bytes that are kept. What another process has ended of its file counts until that file is removed."""
        with self._lock:
            own = sum(record.size for file in self._own for record in file.records.values())
            others = self._read_others()
        return own + sum(file.read for file in others)

    def close(self) -> None:
        """Leave what is kept to the next process; a file in which nothing is kept is removed."""
        with self._lock:
            files, self._own = self._own, []
        self._close(files)

    def _close(self, files: Sequence[_OwnFile]) -> None:
        with self._flushing:
            for file in files:
                file.close()

    def _find_own(self, name: str) -> tuple[_OwnFile, _Record] | None:
        return next(((file, file.records[name]) for file in reversed(self._own) if name in file.records), None)

    def _find_other(self, name: str) -> _OtherFile | None:
        return next((file for file in self._read_others() if name in file.records), None)

    def _read_others(self) -> list[_OtherFile]:
        own = {file.path for file in self._own}
        others = {}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path not in own:
                file = self._others.get(path) or _OtherFile(path)
                with contextlib.suppress(FileNotFoundError):
                    file.read_on()
                    others[path] = file
        self._others = others
        return list(others.values())
