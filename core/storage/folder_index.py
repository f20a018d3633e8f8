"""Which image each file of a folder is: what an object in S3 says in its metadata, and a file cannot."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

INDEX = ".prefect-imagen-images.jsonl"
_KEPT = ("item-id", "call-id", "image-index", "model")


class FolderIndex:
    """A file beside the images with a line for each: a hash of its key, and the ids of its purchase. Thread-safe.

    A folder belongs to the ledger that its marker names, so the lines need not say which. They have neither prompts nor
    names, so nothing is left in them of what is erased. Each is appended in one write, by any number of processes; a
    line that cannot be read is left out.

    Args:
        folder: Where the images are.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX
        self._lock = threading.Lock()
        self._lines: dict[str, bytes] = {}
        self._read = 0

    def add(self, key: str, metadata: Mapping[str, str]) -> None:
        """Note which image is about to be a file. What is no image of a ledger is not noted.

        Raises:
            OSError: The file cannot be written.
        """
        if "item-id" not in metadata:
            return
        line = {"key": _hash(key), **{name: metadata[name] for name in _KEPT if name in metadata}}
        # A line break first: what a crash cut off stays a line of its own.
        data = b"\n" + json.dumps(line).encode() + b"\n"
        # Neither a link to another file is written, nor a pipe that nobody reads waited for.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o666)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def get(self, key: str) -> dict[str, str]:
        """What is noted of a file; nothing where nothing is."""
        with self._lock:
            self._read_on()
            line = self._lines.get(_hash(key))
        if line is None:
            return {}
        found = json.loads(line)
        return {name: str(value) for name, value in found.items() if name in _KEPT}

    def _read_on(self) -> None:
        """Read what was added since the last time."""
        try:
            if self._path.is_symlink() or self._path.stat().st_size <= self._read:
                return
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                found = json.loads(line)
                self._lines[found["key"]] = line
            except (ValueError, KeyError, TypeError):
                continue


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
