"""Images on their way: an image sets off for the store the moment its reply is recorded, not when its chunk is done.

The steps of a chunk follow each other, and each would wait for the slowest item of the one before: the network to the
store would idle while a chunk buys, and the API while it uploads. So what a chunk buys is put on a conveyor, which
takes it from its source to the store at once, in memory; the later steps collect what has arrived.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import BadInput
from ..ledger import ImageResult, ImageTask
from ..threads import results
from .download import Downloader
from .files import ImageFile
from .upload import Uploader


@dataclass(frozen=True, slots=True)
class _InFlight:
    """An image on its way: first its file is known, then what became of it."""

    item_id: str
    file: Future[ImageFile] = field(default_factory=Future)
    result: Future[ImageResult] = field(default_factory=Future)


class DeliveryQueue:
    """Moves images from their sources to the store. Thread-safe; never calls the paid endpoint.

    Args:
        downloader: Gets.
        uploader: Puts; None where images are only got.
        pool: Its threads are the images in motion at once.
    """

    def __init__(self, downloader: Downloader, uploader: Uploader | None, pool: ThreadPoolExecutor) -> None:
        self._downloader = downloader
        self._uploader = uploader
        self._pool = pool
        self._lock = threading.Lock()
        self._tracked: set[str] = set()
        self._in_flight: dict[str, _InFlight] = {}

    @contextmanager
    def tracking(self, item_ids: Iterable[str]) -> Iterator[None]:
        """Within, the images of these items set off as soon as they are bought.

        What nobody has collected in the end gets where it is going all the same; a later run finds it there.
        """
        mine = set(item_ids)
        with self._lock:
            self._tracked |= mine
        try:
            yield
        finally:
            with self._lock:
                self._tracked -= mine
                done = [image_id for image_id, image in self._in_flight.items() if image.item_id in mine]
                for image_id in done:
                    del self._in_flight[image_id]

    def submit(self, tasks: Iterable[ImageTask]) -> None:
        """Put images on the conveyor, if it carries their items."""
        if self._uploader is None:
            return
        for task in tasks:
            with self._lock:
                if task.item_id not in self._tracked:
                    continue
                image = self._in_flight[task.image_id] = _InFlight(task.item_id)
            self._pool.submit(self._move, self._uploader, task, image)

    def _move(self, uploader: Uploader, task: ImageTask, image: _InFlight) -> None:
        try:
            file, data = self._downloader.load(task)
            image.file.set_result(file)
            image.result.set_result(uploader.upload(file, data))
        except BaseException as error:  # noqa: BLE001 - it belongs to those who collect
            for future in (image.file, image.result):
                if not future.done():
                    future.set_exception(error)

    def download(self, tasks: Iterable[ImageTask]) -> list[ImageFile]:
        """Get images into the spool, or hear of those that are on their way; in the order given.

        Raises:
            SpoolUnavailable: The disk is full or read-only.
        """
        return results(
            self._in_flight[task.image_id].file
            if task.image_id in self._in_flight
            else self._pool.submit(self._downloader.download, task)
            for task in tasks
        )

    def upload(self, files: Sequence[ImageFile]) -> list[ImageResult]:
        """Store images, or wait for those that are on their way; in the order given."""
        uploader = self._uploader
        if uploader is None:
            raise BadInput("there is no store to upload to")
        with self._lock:
            found = {file.task.image_id: self._in_flight.pop(file.task.image_id, None) for file in files}
        return results(
            self._pool.submit(uploader.upload, file) if (image := found[file.task.image_id]) is None else image.result
            for file in files
        )
