"""Thumbnails made ahead of a review, for all images that match."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from ..ledger import ImageFilter, Ledger
from ..storage.sources import Sources
from .desk import PLACE, stored_picture
from .pictures import CannotBeShown, Pictures
from .thumbnails import Thumbnails


@dataclass(slots=True)
class ThumbnailsMade:
    """What became of thumbnails.

    Attributes:
        made: Number of new ones.
        there: Number of those that had been made before, and of images with the same bytes as another.
        failed: Why not, by the id of an image that cannot be shown.
    """

    made: int = 0
    there: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def make_thumbnails(
    ledger: Ledger, images: ImageFilter, sources: Sources | None = None, *, at_once: int = 4
) -> ThumbnailsMade:
    """Make the missing thumbnails of images.

    Args:
        ledger: Knows the images.
        images: Which ones.
        sources: How buckets are reached.
        at_once: Images in work at the same time.

    Raises:
        StoreUnavailable: A store does not answer. What is made is kept.
    """
    done = ThumbnailsMade()
    pictures = Pictures(sources)
    thumbnails = Thumbnails(pictures, at_once=at_once)
    waiting: deque[tuple[str, Future[Path]]] = deque()

    def finish() -> None:
        image_id, future = waiting.popleft()
        try:
            future.result()
            done.made += 1
        except CannotBeShown as error:
            done.failed[image_id] = str(error)

    seen: set[str] = set()
    try:
        for row in ledger.review.all(images, columns=PLACE):
            picture = stored_picture(row)
            if picture.sha256 in seen or thumbnails.ready(picture.sha256) is not None:
                done.there += 1
                continue
            seen.add(picture.sha256)
            waiting.append((picture.image_id, thumbnails.make(picture)))
            if len(waiting) > 2 * at_once:
                finish()
        while waiting:
            finish()
    finally:
        thumbnails.close()
        pictures.close()
    return done
