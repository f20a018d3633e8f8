"""Replies on disk: what was paid for is safe before anything is done with it.

A reply is written here as soon as it came, and flushed to the disk before it is committed to the ledger. It stays
until its images are dealt with (a base64 reply *is* its images). A process that starts records what a killed one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..files import AtomicFile, bytes_in, make_private_folder, sync_folder
from ..providers import RawReply
from .reply_log import ReplyLog

_SUFFIX = ".reply"
_SMALL = 2**14
"""Bytes of the largest body that shares a file with others."""


class ReplySpool:
    """A folder of replies: each a line of JSON (status, headers, cut, URL, bytes), then the body as received.

    A small one lies in a log with others, a larger one in a file of its own. Thread-safe.

    Args:
        folder: Made if it is not there. Readable by this user only: replies hold links to paid images.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_private_folder(folder)
        self._log = ReplyLog(folder)
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._named = self._synced = 0

    def _path(self, call_id: str) -> Path:
        return self.folder / f"{call_id}{_SUFFIX}"

    def save(self, call_id: str, reply: RawReply) -> None:
        """Write a reply so that it survives a crash of the process and, once `flush` was called, of the machine.

        Raises:
            OSError: The disk is full or read-only; the reply is then only in memory.
        """
        fields = {"status": reply.status, "headers": dict(reply.headers), "cut": reply.cut, "url": reply.url}
        head = json.dumps({**fields, "bytes": len(reply.body)}).encode() + b"\n"
        if len(reply.body) <= _SMALL:
            self._log.append(call_id, head + reply.body)
            return
        path, parts = self._path(call_id), (head, reply.body)
        try:
            self._create(path, parts)
        except FileExistsError:  # the answer was asked for once more
            with AtomicFile(path, sync=True) as out:
                out.file.writelines(parts)
                out.commit()

    def flush(self) -> None:
        """Flush to the disk what was saved: once for all replies that came meanwhile.

        Raises:
            OSError: They may not survive a crash of the machine.
        """
        self._log.flush()

    def _create(self, path: Path, parts: Iterable[bytes]) -> None:
        """Write a new file under its own name: whether it is whole, its first line tells.

        A file that is renamed takes one more flush of the disk's journal.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.writelines(parts)
                out.flush()
                os.fsync(descriptor)
            self._sync_names()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise

    def _sync_names(self) -> None:
        """Flush the names of files to the disk: once for all threads that have made one meanwhile."""
        with self._lock:
            self._named += 1
            mine = self._named
        with self._syncing:
            if self._synced >= mine:
                return
            named = self._named
            sync_folder(self.folder)
            self._synced = named

    def load(self, call_id: str) -> RawReply | None:
        """Read a reply back; None if it is not here (or was cut by a crash before it was complete)."""
        content = self._log.read(call_id)
        if content is not None:
            head, _, body = content.partition(b"\n")
        else:
            try:
                with self._path(call_id).open("rb") as file:  # read apart: a body may take a quarter of a gigabyte
                    head, body = file.readline(), file.read()
            except FileNotFoundError:
                return None
        try:
            fields = json.loads(head)
            if len(body) != fields.get("bytes", len(body)):
                return None
            return RawReply(
                int(fields["status"]), dict(fields["headers"]), body, fields["cut"], str(fields.get("url", ""))
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def size(self, call_id: str) -> int:
        """Bytes of a reply; 0 if it is not here."""
        try:
            return self._path(call_id).stat().st_size
        except FileNotFoundError:
            return self._log.size(call_id)

    def used(self) -> int:
        """Bytes of all replies."""
        return self._log.used() + bytes_in(self.folder, _SUFFIX)

    def delete(self, call_id: str) -> None:
        """Forget a reply whose images are dealt with."""
        if not self._log.delete(call_id):
            self._path(call_id).unlink(missing_ok=True)

    def call_ids(self) -> Iterator[str]:
        """Calls whose replies are here, the earliest first."""
        files = (path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))
        yield from sorted({*files, *self._log.names()})

    def close(self) -> None:
        """Leave what is here to the next process."""
        self._log.close()
