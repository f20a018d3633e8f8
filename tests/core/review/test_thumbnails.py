"""Thumbnails: small, whole, each made once."""

from __future__ import annotations

import hashlib
import io
import threading
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from prefect_imagen.core.review.pictures import CannotBeShown, Pictures, StoredPicture
from prefect_imagen.core.review.thumbnails import Thumbnails, forget_thumbnails, shrink, thumbnail_path


def encoded(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.radial_gradient("L").resize(size).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "size", "mode"),
    [
        (encoded("PNG", (1024, 768)), (400, 300), "RGB"),
        (encoded("PNG", (64, 32)), (64, 32), "RGB"),
        (encoded("PNG", (800, 800), "RGBA"), (400, 400), "RGB"),
        (encoded("PNG", (800, 400), "P"), (400, 200), "RGB"),
        (encoded("JPEG", (4000, 2000)), (400, 200), "RGB"),
        (encoded("JPEG", (900, 900), "CMYK"), (400, 400), "RGB"),
        (encoded("WEBP", (500, 1000)), (200, 400), "RGB"),
        (encoded("GIF", (800, 400)), (400, 200), "RGB"),
    ],
)
def test_any_picture_becomes_a_small_one(data: bytes, size: tuple[int, int], mode: str) -> None:
    with Image.open(io.BytesIO(shrink(data))) as image:
        assert (image.format, image.size, image.mode) == ("WEBP", size, mode)


@pytest.mark.parametrize("data", [b"", b"<html>", encoded("PNG", (64, 64))[:60]])
def test_what_is_no_picture_is_said(data: bytes) -> None:
    with pytest.raises(CannotBeShown):
        shrink(data)


def test_a_bomb_is_not_decoded() -> None:
    header = encoded("PNG", (8, 8))
    wide = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    with pytest.raises(CannotBeShown):
        shrink(wide)


class Counting(Pictures):
    """Counts what is read, and how many at the same time: nobody goes on before `at_once` have met."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self.reads = 0
        self.most = 0
        self._now = 0
        self._met = threading.Barrier(at_once, timeout=60)
        self._guard = threading.Lock()

    def read(self, picture: StoredPicture) -> bytes:
        with self._guard:
            self.reads += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self._met.wait()
            return super().read(picture)
        finally:
            with self._guard:
                self._now -= 1


def test_each_is_made_once_and_few_at_a_time(tmp_path: Path, imagen_home: Path) -> None:
    pictures = []
    for number in range(12):
        data = encoded("PNG", (500 + number, 500))
        (tmp_path / f"{number}.png").write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        pictures.append(StoredPicture(f"pi-{number}-0", sha256, (tmp_path / f"{number}.png").as_uri(), "image/png"))
    with closing(Counting(3)) as source, closing(Thumbnails(source, at_once=3)) as thumbnails:
        futures = [thumbnails.make(picture) for _ in range(3) for picture in pictures]
        made = {future.result(90) for future in futures}
    assert made == {thumbnail_path(picture.sha256) for picture in pictures}
    assert (source.reads, source.most) == (12, 3)
    assert sorted(path.name for path in (imagen_home / "thumbnails").rglob("*") if path.is_file()) == sorted(
        path.name for path in made
    )
    # The next process finds them, though the pictures are gone by then.
    for number in range(12):
        (tmp_path / f"{number}.png").unlink()
    with closing(Pictures()) as empty, closing(Thumbnails(empty)) as later:
        assert later.make(pictures[0]).result(90) in made
        forget_thumbnails([pictures[0].sha256])
        with pytest.raises(CannotBeShown, match="gone"):
            later.make(pictures[0]).result(90)
