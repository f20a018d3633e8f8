"""Images with real bytes, in a folder or in S3, and the words to judge them."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image
from prefect_imagen.core.ledger import ImageResult, ImageState, Ledger, StoredAt, Verdict, VerdictValue
from prefect_imagen.core.storage import LocalStore, ObjectStore, open_store
from prefect_imagen.sandbox.local_s3 import LocalS3

_numbers = itertools.count()


@dataclass
class Place:
    """Where images are stored, and where they may be delivered to."""

    originals: ObjectStore
    target: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> ObjectStore:
        return open_store(self.target, **self.options)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Place:
    if request.param == "folder":
        (tmp_path / "images").mkdir()
        return Place(LocalStore(tmp_path / "images"), str(tmp_path / "shop"))
    server: LocalS3 = request.getfixturevalue("s3_server")
    server.create_bucket("shop")
    number = next(_numbers)
    options = dict(server.options)
    return Place(open_store(f"s3://pictures/{number}", **options), f"s3://shop/{number}", options)


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG of its own."""
    image = Image.effect_noise(size, 40 + seed % 50).convert("RGB")
    image.putpixel((0, 0), (seed % 256, seed // 256 % 256, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@dataclass
class Shelf:
    """A ledger whose images really lie in a store."""

    harness: Any
    store: ObjectStore

    @property
    def ledger(self) -> Ledger:
        ledger: Ledger = self.harness.ledger
        return ledger

    def add(self, *contents: bytes, prefix: str = "fox", **fields: Any) -> list[str]:
        """Buy an image for each content and store it; returns their ids."""
        made = []
        for item_id, content in zip(self.harness.plan(len(contents), prefix=prefix, **fields), contents, strict=True):
            call_id = self.harness.buy(item_id)
            made.append(f"{call_id}-0")
            self.put(call_id, item_id, content)
        return made

    def put(self, call_id: str, item_id: str, content: bytes) -> None:
        digest, key = hashlib.sha256(content).hexdigest(), f"{item_id}/{call_id}-0.png"
        stored = self.store.put(key, content, sha256=digest, content_type="image/png")
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
        where = (self.store.destination, key, stored.uri, stored.etag)
        at = StoredAt(*where, "image/png", width, height, len(content), digest)
        self.ledger.images.finish([ImageResult(call_id, 0, item_id, ImageState.STORED, at)])

    def say(self, verdict: VerdictValue, *image_ids: str, reviewer: str = "ann") -> None:
        self.ledger.verdicts.record([Verdict(image_id, reviewer, verdict) for image_id in image_ids])

    def row(self, image_id: str, *columns: str) -> dict[str, Any]:
        (row,) = self.ledger.review.rows([image_id], columns=columns)
        return row


@pytest.fixture
def shelf(harness: Any, place: Place) -> Shelf:
    place.originals.preflight()
    return Shelf(harness, place.originals)


@pytest.fixture
def shelf_of(shop_of: Callable[[Ledger], Any], place: Place) -> Callable[[Ledger], Shelf]:
    def make(ledger: Ledger) -> Shelf:
        harness = shop_of(ledger)
        harness.start()
        return Shelf(harness, place.originals)

    return make
