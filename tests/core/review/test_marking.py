"""Delivered copies are marked as asked, the originals stay, and what cannot be marked is not delivered."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Verdict
from prefect_imagen.core.provenance import (
    C2pa,
    Marking,
    MarkMode,
    PictureSigner,
    audit,
    look,
    unsplice,
)
from prefect_imagen.core.review.deliver import deliver
from prefect_imagen.sandbox.signing import make_identity, sign

from .conftest import Place, Shelf, picture
from .test_deliver import APPROVED, handed, manifest, names
from .test_verdicts import NO, YES

PLAIN = picture(1)
SIGNED = sign(picture(2), "image/png", "a model", make_identity("Provider"))
AUTO = Marking(MarkMode.AUTO, prompt=True, credit="Studio Nord")


@pytest.fixture
def approved(shelf: Shelf) -> tuple[str, str]:
    plain, signed = shelf.add(PLAIN, SIGNED)
    shelf.say(YES, plain, signed)
    return plain, signed


def test_copies_are_marked_and_originals_stay(
    shelf: Shelf, place: Place, approved: tuple[str, str], tmp_path: Path
) -> None:
    report = handed(shelf, place, marking=AUTO)
    assert (report.copied, report.complete) == (2, True)
    keys = {line["image_id"]: line["key"] for line in manifest(place)}
    plain, signed = (keys[image_id] for image_id in approved)
    assert names(place) == {"manifest.jsonl", "summary.json", plain, signed, f"{signed}.xmp"}
    copy = place.store.get(plain, tmp_path / "copy").path.read_bytes()
    assert (look(copy).xmp is not None, unsplice(copy)) == (True, PLAIN)
    assert place.store.get(signed, tmp_path / "copy").path.read_bytes() == SIGNED
    done = audit([place.target], **place.options)
    assert (done.sound, done.ways) == (True, {"c2pa+sidecar": 1, "xmp": 1})
    assert [one.missing for one in done.pictures] == [(), ()]
    for image_id, original in zip(approved, (PLAIN, SIGNED), strict=True):
        key = shelf.row(image_id, "object_key")["object_key"]
        assert shelf.store.get(key, tmp_path / "original").path.read_bytes() == original

    again = handed(shelf, place, marking=AUTO)
    assert (again.copied, again.kept) == (0, 2)
    beside = handed(shelf, place, marking=Marking(MarkMode.SIDECAR))
    assert (beside.copied, beside.complete) == (2, True)
    assert names(place) == {"manifest.jsonl", "summary.json", plain, signed, f"{plain}.xmp", f"{signed}.xmp"}
    assert place.store.get(plain, tmp_path / "copy").path.read_bytes() == PLAIN
    shelf.say(NO, *approved)
    assert handed(shelf, place, marking=Marking(MarkMode.SIDECAR)).taken_back == 2
    assert names(place) == {"manifest.jsonl", "summary.json"}


def test_what_cannot_be_marked_is_not_delivered(shelf: Shelf, place: Place, approved: tuple[str, str]) -> None:
    report = handed(shelf, place, marking=Marking(MarkMode.XMP))
    assert (report.copied, report.complete) == (1, False)
    (problem,) = report.problems
    assert (problem.image_id, "it is signed" in problem.reason) == (approved[1], True)
    assert [line["image_id"] for line in manifest(place)] == [approved[0]]


def test_signed_copies_have_the_provider_as_their_parent(
    shelf: Shelf, place: Place, approved: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    studio = make_identity("Studio")
    (tmp_path / "chain.pem").write_bytes(studio.chain)
    (tmp_path / "key.pem").write_bytes(studio.key)
    signer = PictureSigner.from_files(str(tmp_path / "chain.pem"), str(tmp_path / "key.pem"))
    marking = Marking(MarkMode.C2PA, signer=signer)
    assert handed(shelf, place, marking=marking).complete
    done = audit([place.target], trust=studio.root.decode(), **place.options)
    assert (done.sound, done.ways) == (True, {"c2pa": 1, "c2pa+xmp": 1})
    assert {(one.c2pa, one.by) for one in done.pictures} == {(C2pa.VALID, "Studio")}
    assert {one.parent for one in done.pictures} == {None, "Provider"}
    # The bucket's own copy keeps every byte, and so every mark.
    if place.options:
        client, number = request.getfixturevalue("s3_server").client(), place.target.rpartition("/")[2]
        for info in place.store.list():
            source = {"Bucket": "shop", "Key": f"{number}/{info.key}"}
            client.copy_object(Bucket="pictures", Key=f"{number}-copy/{info.key}", CopySource=source)
        copy = audit([f"s3://pictures/{number}-copy"], trust=studio.root.decode(), **place.options)
        assert [(one.sha256, one.state) for one in copy.pictures] == [(one.sha256, one.state) for one in done.pictures]
    # As a delivery that broke off before it was recorded leaves it.
    shelf.ledger.handovers.remove(place.store.destination, approved)
    again = handed(shelf, place, marking=marking)
    assert (again.copied, again.complete, again.images) == (0, True, 2)


def test_a_zip_file_has_the_marks(shelf: Shelf, place: Place, approved: tuple[str, str], tmp_path: Path) -> None:
    report = deliver(shelf.ledger, str(tmp_path / "a.zip"), APPROVED, marking=AUTO, store_options=place.options)
    assert report.complete
    with zipfile.ZipFile(io.BytesIO((tmp_path / "a.zip").read_bytes())) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(name.rpartition(".")[2] for name in found) == ["jsonl", "png", "png", "xmp"]
    assert {unsplice(data) or data for name, data in found.items() if name.endswith(".png")} == {PLAIN, SIGNED}


def test_an_audit_tells_the_verdict_of_today(shelf: Shelf, place: Place, approved: tuple[str, str]) -> None:
    plain, signed = approved
    handed(shelf, place, marking=AUTO)
    shelf.say(NO, plain)
    shelf.ledger.verdicts.record([Verdict(signed, "ann", stars=4)])

    def told(**given: Any) -> dict[str, str | None]:
        return {one.image_id or "": one.verdict for one in audit([place.target], **given, **place.options).pictures}

    assert told() == {plain: None, signed: None}
    assert told(ledger=shelf.ledger) == {plain: "rejected", signed: "approved, rated 4"}
    # A copy that the ledger does not know by its place: the id in the mark, together with the hash, says which it is.
    shelf.ledger.handovers.remove(place.store.destination, approved)
    assert told(ledger=shelf.ledger) == {plain: "rejected", signed: "approved, rated 4"}
