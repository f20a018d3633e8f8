# ruff: noqa: F811 - a fixture that is imported
"""A run that marks its images puts a sidecar beside each, and never stores one without it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.delivery import record
from prefect_imagen.core.erase import erase
from prefect_imagen.core.ledger import ItemState, Selection
from prefect_imagen.core.provenance import Audit, audit
from prefect_imagen.core.provenance.xmp import read
from prefect_imagen.core.repair.objects import image_objects
from prefect_imagen.core.storage import LocalStore, Stored, StoreUnavailable
from prefect_imagen.sandbox import SandboxServer

from .test_delivery import Post, post  # noqa: F401

MARK = {"mode": "sidecar", "prompt": True, "credit": "Studio Nord"}


def delivered(post: Post, call_id: str, *, mark: Any = MARK, store: Any = None) -> Sequence[Any]:
    uploader = post.uploader(store, patience=0.0)
    uploader._marking, uploader._origin = lambda: mark, "https://api.example.com"
    files = [post.downloader().download(task) for task in post.tasks(call_id)]
    results = [uploader.upload(file) for file in files]
    record(post.ledger, post.spool, results)
    return results


def audited(post: Post) -> Audit:
    return audit([str(post.store.root)])


def test_each_image_has_its_sidecar(post: Post) -> None:
    call_id = post.buy("a fox & a hare", num_images=2)
    delivered(post, call_id)
    for row in post.ledger.catalog.rows():
        assert (row["marked"], row["c2pa"], row["digital_source_type"]) == ("sidecar", "none", None)
        path = Path(row["uri"].removeprefix("file://"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"], "the original was changed"
        said = read(path.with_name(path.name + ".xmp").read_bytes())
        assert said["Iptc4xmpExt:DigImageGUID"] == row["image_id"]
        assert said["dc:identifier"] == row["item_id"]
        assert said["Iptc4xmpExt:AISystemUsed"] == "google/imagen4/preview at https://api.example.com"
        assert said["Iptc4xmpExt:AISystemVersionUsed"] == row["wire_model"]
        assert said["Iptc4xmpExt:AIPromptInformation"] == row["prompt"] == "a fox & a hare 0"
        assert said["photoshop:Credit"] == "Studio Nord"
        assert said["xmp:CreateDate"] == post.harness.call(call_id).sent_at.isoformat(timespec="seconds")
    done = audited(post)
    assert (done.sound, done.ways, [picture.missing for picture in done.pictures]) == (True, {"sidecar": 2}, [(), ()])
    assert len(list(image_objects(post.store))) == 2, "a sidecar is no image"


def test_without_the_option_nothing_is_added(post: Post) -> None:
    delivered(post, post.buy(), mark=None)
    (row,) = post.ledger.catalog.rows()
    assert (row["marked"], row["c2pa"]) == (None, "none")
    assert list(post.store.root.rglob("*.xmp")) == []
    assert audited(post).counts == {"marked": 0, "unmarked": 1, "broken": 0}


class NoRoomForSidecars(LocalStore):
    """A store that takes images and no sidecars."""

    def put(self, key: str, source: Path | bytes, **options: Any) -> Stored:
        if key.endswith(".xmp"):
            raise StoreUnavailable("no room")
        return super().put(key, source, **options)


def test_without_room_for_a_sidecar_no_image_is_stored(post: Post) -> None:
    call_id = post.buy()
    (result,) = delivered(post, call_id, store=NoRoomForSidecars(post.store.root))
    assert result.reason == "no room"
    assert post.objects() == []
    (later,) = delivered(post, call_id)
    assert (later.reason, len(post.objects()), audited(post).sound) == (None, 1, True)


@pytest.mark.parametrize("whose", ["ours", "somebody's"])
def test_a_sidecar_that_is_there_is_left(post: Post, whose: str) -> None:
    call_id = post.buy()
    delivered(post, call_id)
    (sidecar,) = post.store.root.rglob("*.xmp")
    edited = sidecar.read_bytes().replace(b"Studio Nord", b"Edited") if whose == "ours" else b"<x/>"
    sidecar.write_bytes(edited)
    (image,) = post.objects()
    image.unlink()
    post.ledger.deliveries.remove(post.ledger.deliveries.at(post.store.destination), post.store.destination)
    (again,) = delivered(post, call_id)
    assert sidecar.read_bytes() == edited
    if whose == "ours":
        assert again.reason is None
    else:
        assert again.reason == f"{sidecar.as_uri()} exists with other content and was left as it is"
        assert post.objects() == []


def test_an_erased_image_takes_its_sidecar_with_it(post: Post) -> None:
    call_id = post.buy()
    delivered(post, call_id)
    done = erase(post.ledger, Selection(run_id=post.harness.run))
    assert (done.items, done.objects, done.failed) == (1, 1, {})
    assert [path for path in post.store.root.rglob("*") if path.is_file() and not path.name.startswith(".")] == []
    assert post.harness.state(post.harness.call(call_id).item_id) is ItemState.ERASED


@pytest.fixture
def signing() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", signed=True, image_format="jpeg") as server:
        yield server


def test_what_the_provider_signed_is_in_the_catalog(signing: SandboxServer, post: Post, tmp_path: Path) -> None:
    signed = Post(signing, post.ledger, post.harness, tmp_path)
    try:
        delivered(signed, signed.buy(num_images=2))
    finally:
        signed.close()
    for row in post.ledger.catalog.rows():
        assert (row["c2pa"], row["c2pa_issuer"], row["marked"]) == ("untrusted", "prefect-imagen sandbox", "sidecar")
        assert row["digital_source_type"] == "trainedAlgorithmicMedia"
    done = audited(signed)
    assert (done.ways, done.sound) == ({"c2pa+sidecar": 2}, True)
