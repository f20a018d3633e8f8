"""Eager delivery: an image is delivered as soon as its reply is recorded, not when its chunk has been bought.

The steps of a chunk run one after the other, and each would wait for the slowest item of the one before: the network to
the store would idle during purchases, and the API during uploads. So bought images enter a queue, which moves them from
their source to the store at once, in memory; the later steps collect the results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import BadInput
from ..ledger import ImageResult, ImageTask
from ..limits import CircuitBreaker
from ..threads import results
from .download import Downloader
from .files import ImageFile
from .upload import Uploader


@dataclass(frozen=True, slots=True)
class _InFlight:
    """An image in delivery: its file is known first, then its result."""

    item_id: str
    file: Future[ImageFile] = field(default_factory=Future)
    result: Future[ImageResult] = field(default_factory=Future)


class DeliveryQueue:
    """Moves images from their sources to the store. Thread-safe; never calls the paid endpoint.

    Args:
        uploader: Stores them; None where images are only downloaded.
        pool: Runs the deliveries; its size is the number of images in delivery at once.
        pictures: Told of each attempt to get an image that was just bought: whom to tell of the images of a model.
    """

    def __init__(
        self,
        downloader: Downloader,
        uploader: Uploader | None,
        pool: ThreadPoolExecutor,
        pictures: Callable[[str], CircuitBreaker] | None = None,
    ) -> None:
        self._downloader = downloader
        self._uploader = uploader
        self._pool = pool
        self._pictures = pictures
        self._lock = threading.Lock()
        self._tracked: set[str] = set()
        self._in_flight: dict[str, _InFlight] = {}

    @contextmanager
    def tracking(self, item_ids: Iterable[str]) -> Iterator[None]:
        """While this is open, deliver the images of these items as soon as they are bought.

        Images that were not collected by the end are still delivered; a later run finds them in the store.
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
        """Start delivering images whose items are tracked."""
        for task in tasks:
            with self._lock:
                if self._uploader is None or task.item_id not in self._tracked:
                    self._forget(task)
                    continue
                image = self._in_flight[task.image_id] = _InFlight(task.item_id)
            self._pool.submit(self._move, self._uploader, task, image)

    def _forget(self, task: ImageTask) -> None:
        """Nothing is told of this image any more."""
        if self._pictures is not None:
            self._pictures(task.model).ended(task.call_id)

    def _move(self, uploader: Uploader, task: ImageTask, image: _InFlight) -> None:
        try:
            circuit = self._pictures(task.model) if self._pictures is not None else None
            file, data = self._downloader.load(task, pictures=circuit)
            self._forget(task)
            image.file.set_result(file)
            image.result.set_result(uploader.upload(file, data))
        except BaseException as error:  # noqa: BLE001 - raised where the result is collected
            for future in (image.file, image.result):
                if not future.done():
                    future.set_exception(error)
            self._forget(task)

    def download(self, tasks: Iterable[ImageTask]) -> list[ImageFile]:
        """Download images, or wait for downloads already in progress; in the order given."""
        return results(
            self._in_flight[task.image_id].file
            if task.image_id in self._in_flight
            else self._pool.submit(self._downloader.download, task)
            for task in tasks
        )

    def upload(self, files: Sequence[ImageFile]) -> list[ImageResult]:
        """Store images, or wait for uploads already in progress; in the order given."""
        uploader = self._uploader
        if uploader is None:
            raise BadInput("there is no store to upload to")
        with self._lock:
            found = {file.task.image_id: self._in_flight.pop(file.task.image_id, None) for file in files}
        return results(
            self._pool.submit(uploader.upload, file) if (image := found[file.task.image_id]) is None else image.result
            for file in files
        )
