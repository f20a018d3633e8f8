"""From a paid reply to a verified file in the spool. "A 200 is not an image": every file is decoded whole."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import ImagenError
from ..files import Fetched, SpoolUnavailable
from ..http.errors import FetchGone, FetchRefused, FetchTransient
from ..http.memory import reading_needs, working_budget
from ..images import DecoderUnavailable, Fetcher, NotAnImage, save_bytes
from ..ledger import ImageTask, this_host
from ..limits import Backoff, CircuitBreaker, StopReason, StopSignal
from ..providers.reply import decode_base64
from ..storage import ObjectMissing, ObjectStore
from .files import FileState, ImageFile
from .spool import Spool

IN_MEMORY = 8 * 2**20
"""Bytes of the largest body that goes from its source to the store without touching the disk."""

_CHUNK = 2**20


_PAGES = frozenset({"text/html", "text/plain", "application/json", "application/xml", "text/xml"})
"""What a CDN sends in place of a picture."""


class Downloader:
    """Gets images into the spool. Thread-safe; never calls the paid endpoint.

    Args:
        open_copy: Opens the store that holds a given URI, with the key there: for images that are only to be copied.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        spool: Spool,
        open_copy: Callable[[str], tuple[ObjectStore, str]],
        halt: StopSignal,
        tries: int = 4,
        backoff: Backoff | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._spool = spool
        self._open_copy = open_copy
        self._halt = halt
        self._tries = tries
        self._backoff = backoff or Backoff(first=0.5, maximum=10.0)

    def download(self, task: ImageTask) -> ImageFile:
        """Get one image into the spool, verify it, and say what came of it. Failures are data, not exceptions.

        Raises:
            SpoolUnavailable: The disk is full or read-only: nothing can be got at all.
        """
        return self.load(task, in_memory=0)[0]

    def load(
        self, task: ImageTask, *, in_memory: int = IN_MEMORY, pictures: CircuitBreaker | None = None
    ) -> tuple[ImageFile, bytes | None]:
        """Get one image as `download` does, but a small one only into memory: it can be had again.

        Args:
            in_memory: Most bytes of a body that is not written to the spool.
            pictures: Told of each attempt. While several images in a row fail, none is given up: it may not be theirs.
        """
        try:
            return self._load(task, in_memory, pictures)
        except DecoderUnavailable as error:
            return ImageFile(task, FileState.LATER, reason=str(error)), None
        except (FileNotFoundError, SpoolUnavailable) as error:
            missing = isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
            if missing and self._spool.images.is_dir():
                # Runs of one process hold the same items: another one has stored it, and removed the file.
                return ImageFile(task, FileState.LATER, reason="the file left the spool"), None
            raise

    def _load(self, task: ImageTask, in_memory: int, pictures: CircuitBreaker | None) -> tuple[ImageFile, bytes | None]:
        path = self._spool.image(task.image_id)
        if path.exists():
            # A run that was cut short left it here: a file has its name only when it is whole.
            try:
                return self._verified(task, _rehash(path)), None
            except NotAnImage:
                self._spool.discard(task.image_id)
        if task.source_url is not None:
            return self._from_url(task, task.source_url, path, in_memory, pictures)
        began = time.monotonic()
        file, data = self._from_elsewhere(task, path, in_memory)
        _report(pictures, file, began)
        return file, data

    def _from_url(
        self, task: ImageTask, url: str, path: Path, in_memory: int, pictures: CircuitBreaker | None
    ) -> tuple[ImageFile, bytes | None]:
        broken = 0
        damaged = page = False
        cut: set[str] = set()
        for number in range(1, self._tries + 1):
            retry_after = None
            began = time.monotonic()
            try:
                fetched = self._fetcher.fetch(url, path, in_memory=in_memory, cut_too=True)
                if fetched.cut is None:
                    file = self._verified(task, fetched)
                else:
                    again = fetched.sha256 in cut
                    cut.add(fetched.sha256)
                    file = self._cut(task, fetched, again=again, last=number == self._tries)
            except NotAnImage as error:
                page = fetched.content_type in _PAGES
                broken += not page
                file = ImageFile(task, FileState.LATER, reason=error.reason)
            except FetchRefused as error:
                page, file = False, ImageFile(task, FileState.BAD, reason=error.reason)
            except FetchGone as error:
                page, file = False, ImageFile(task, FileState.GONE, reason=error.reason)
            except FetchTransient as error:
                page, file = False, ImageFile(task, FileState.LATER, reason=error.reason)
                retry_after = error.retry_after
            else:
                _report(pictures, file, began)
                if not (file.damage and file.checked) or damaged or fetched.cut or number == self._tries:
                    return file, fetched.data
                # Perhaps it was damaged on its way: what comes a second time is what there is.
                damaged, page, file = True, False, ImageFile(task, FileState.LATER, reason=file.damage)
            if pictures is not None and not damaged:
                pictures.troubled(task.call_id, file.reason)
            hopeless = self._halt.reason is StopReason.PICTURES
            doubtful = hopeless or (pictures is not None and pictures.is_doubtful)
            if broken == 2 or hopeless or (file.state is FileState.BAD and not doubtful):
                break
            # A CDN also says "gone", or shows a page, for a file that it does not serve yet: asked again like all else.
            if number < self._tries and self._halt.pause(self._backoff.delay(number, retry_after)):
                return ImageFile(task, FileState.LATER, reason=file.reason), None
        _report(pictures, file, began)
        if broken == 2 or (page and not doubtful):
            return self._bad(task, file.reason), None
        return (ImageFile(task, FileState.LATER, reason=file.reason) if doubtful else file), None

    def _from_elsewhere(self, task: ImageTask, path: Path, in_memory: int) -> tuple[ImageFile, bytes | None]:
        """The bytes are in the spooled reply, or in another store."""
        try:
            if task.copy_from is not None:
                store, key = self._open_copy(task.copy_from)
                return self._verified(task, store.get(key, path)), None
            return self._from_reply(task, path, in_memory)
        except NotAnImage as error:
            return self._bad(task, error.reason), None
        except SpoolUnavailable:
            raise
        except ObjectMissing as error:
            return ImageFile(task, FileState.GONE, reason=str(error)), None
        except ImagenError as error:
            return ImageFile(task, FileState.LATER, reason=str(error)), None

    def _from_reply(self, task: ImageTask, path: Path, in_memory: int) -> tuple[ImageFile, bytes | None]:
        with working_budget().holding(reading_needs(self._spool.replies.size(task.call_id))):
            return self._from_loaded_reply(task, path, in_memory)

    def _from_loaded_reply(self, task: ImageTask, path: Path, in_memory: int) -> tuple[ImageFile, bytes | None]:
        raw = self._spool.replies.load(task.call_id)
        if raw is None:
            if task.sent_from not in (None, this_host()):
                return ImageFile(task, FileState.LATER, reason=f"the reply is in the spool of {task.sent_from}"), None
            gone = "the reply that carried the image is gone from the spool"
            return ImageFile(task, FileState.GONE, reason=gone), None
        image = next((image for image in raw.read().images if image.index == task.index), None)
        if image is None or image.base64 is None:
            return ImageFile(task, FileState.GONE, reason="the spooled reply has no such image"), None
        try:
            data = decode_base64(image.base64)
        except ValueError:
            raise NotAnImage("the reply's base64 cannot be decoded") from None
        fetched = save_bytes(data, path, in_memory=in_memory)
        return self._verified(task, fetched), fetched.data

    def _verified(self, task: ImageTask, fetched: Fetched) -> ImageFile:
        if task.sha256 is not None and fetched.sha256 != task.sha256:
            raise NotAnImage("the copy's checksum is not the catalog's")
        try:
            return ImageFile.ready(task, fetched)
        except NotAnImage:
            if fetched.data is not None:
                save_bytes(fetched.data, fetched.path)  # to be looked at
            raise

    def _cut(self, task: ImageTask, fetched: Fetched, *, again: bool, last: bool) -> ImageFile:
        """A body shorter than its server announced: it is what there is if it comes so twice, or is a whole picture.

        Raises:
            FetchTransient: More of it may come another time.
        """
        with contextlib.suppress(NotAnImage):
            file = self._verified(task, fetched) if again or last else None
            if file is not None and (again or file.damage is None):
                return replace(file, damage="; ".join(filter(None, [fetched.cut, file.damage])))
        self._spool.discard(task.image_id)
        raise FetchTransient(fetched.cut or "")

    def _bad(self, task: ImageTask, reason: str) -> ImageFile:
        kept = self._spool.move_to_quarantine(task.image_id)
        return ImageFile(task, FileState.BAD, reason=f"{reason}; kept as {kept}" if kept else reason)


def _report(pictures: CircuitBreaker | None, file: ImageFile, began: float) -> None:
    if pictures is None:
        return
    if file.state is FileState.READY:
        pictures.succeeded(file.task.call_id, began)
    else:
        pictures.failed(file.task.call_id, file.reason)


def _rehash(path: Path) -> Fetched:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Fetched(path, path.stat().st_size, digest.hexdigest(), None)
