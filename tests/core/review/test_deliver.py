"""Delivery: what is approved is there, nothing else is, and a repeat copies nothing."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.erase import erase
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ImageFilter, LedgerMismatch, Selection
from prefect_imagen.core.ledger.schema import checks, images
from prefect_imagen.core.review.deliver import DeliveryReport, deliver

from .conftest import Place, Shelf, picture
from .test_verdicts import NO, NONE, YES

APPROVED = ImageFilter(verdicts=(YES,))
ANY = ImageFilter()


def names(place: Place) -> set[str]:
    """What lies at the target, without files of our own."""
    return {info.key for info in place.store.list() if not info.key.startswith(".prefect-imagen")}


def manifest(place: Place) -> list[dict[str, Any]]:
    text = place.store.read_text("manifest.jsonl", 10**6)
    return [json.loads(line) for line in (text or "").splitlines()]


def handed(shelf: Shelf, place: Place, wanted: ImageFilter = APPROVED, **how: Any) -> DeliveryReport:
    return deliver(shelf.ledger, place.target, wanted, store_options=place.options, **how)


def test_what_is_approved_is_copied_once_with_a_manifest(shelf: Shelf, place: Place, tmp_path: Path) -> None:
    contents = [picture(n) for n in range(4)]
    yes, no, other, unseen = shelf.add(*contents)
    shelf.say(YES, yes, other)
    shelf.say(NO, no)
    report = handed(shelf, place)
    assert (report.images, report.copied, report.kept, report.complete) == (2, 2, 0, True)
    assert report.cost == 208_000
    lines = manifest(place)
    assert {line["image_id"] for line in lines} == {yes, other}
    assert names(place) == {"manifest.jsonl", "summary.json", *(line["key"] for line in lines)}
    for line in lines:
        assert line["key"].startswith(f"fox_{ {yes: 0, other: 2}[line['image_id']] }-")
        fetched = place.store.get(line["key"], tmp_path / "copy")
        assert fetched.path.read_bytes() == contents[{yes: 0, other: 2}[line["image_id"]]]
        assert fetched.sha256 == line["sha256"]
        assert (line["verdict"], line["reviewer"], line["cost_credits"]) == ("approved", "ann", 104_000)
        assert (line["source_file"], line["source_row"]) == ("prompts.txt", {"n": line["source_line"] - 1})
    summary = json.loads(place.store.read_text("summary.json") or "")
    assert (summary["images"], summary["cost_usd"], summary["verdicts"]) == (2, 0.104, {"approved": 2})
    assert summary["ledger_id"] == shelf.ledger.id
    again = handed(shelf, place)
    assert (again.images, again.copied, again.kept) == (2, 0, 2)
    shelf.say(YES, unseen)
    assert (handed(shelf, place).copied, len(names(place))) == (1, 5)


def test_a_withdrawn_verdict_is_taken_back_or_named(shelf: Shelf, place: Place) -> None:
    one, other = shelf.add(picture(1), picture(2))
    shelf.say(YES, one, other)
    handed(shelf, place)
    shelf.say(NONE, one)
    kept = handed(shelf, place, keep=True)
    assert (kept.withdrawn, kept.taken_back, kept.images) == ((one,), 0, 2)
    assert {line["image_id"]: line.get("withdrawn", False) for line in manifest(place)} == {one: True, other: False}
    back = handed(shelf, place)
    assert (back.withdrawn, back.taken_back, back.images) == ((one,), 1, 1)
    assert [line["image_id"] for line in manifest(place)] == [other]
    assert len(names(place)) == 3
    assert handed(shelf, place).withdrawn == ()
    # The original is where it was.
    assert shelf.store.head(str(shelf.row(one, "object_key")["object_key"])) is not None


def test_another_filter_takes_nothing_back(shelf: Shelf, place: Place) -> None:
    (may,) = shelf.add(picture(1), edition="may")
    (june,) = shelf.add(picture(2), edition="june")
    shelf.say(YES, may, june)
    handed(shelf, place, ImageFilter(verdicts=(YES,), edition="may"))
    report = handed(shelf, place, ImageFilter(verdicts=(YES,), edition="june"))
    assert (report.images, report.copied, report.withdrawn) == (2, 1, ())
    assert {line["image_id"] for line in manifest(place)} == {may, june}


def test_flagged_images_are_held(shelf: Shelf, place: Place) -> None:
    fine, blurred = shelf.add(picture(1), picture(2))
    shelf.say(YES, fine, blurred)
    handed(shelf, place)
    row = {"call_id": blurred[:-2], "idx": 0, "flags": ["blur"], "flagged": 1, "details": {}, "settings": ""}
    at = shelf.harness.call(fine[:-2]).sent_at
    shelf.ledger.write(lambda connection: connection.execute(sa.insert(checks), [{**row, "checked_at": at}]))
    assert handed(shelf, place).images == 2
    report = handed(shelf, place, hold_flagged=True)
    assert (report.images, report.withdrawn, report.taken_back) == (1, (blurred,), 1)


def test_names_follow_the_template_and_its_changes(shelf: Shelf, place: Place) -> None:
    one, other = shelf.add(picture(1), picture(2), edition="may/1")
    shelf.say(YES, one, other)
    handed(shelf, place, names="{edition}/{row[n]}-{line:03d}.{ext}")
    assert names(place) == {"manifest.jsonl", "summary.json", "may_1/0-001.png", "may_1/1-002.png"}
    report = handed(shelf, place, names="{sha256}.{ext}")
    assert (report.copied, report.images) == (2, 2)
    shas = {str(shelf.row(image, "sha256")["sha256"]) for image in (one, other)}
    assert names(place) == {"manifest.jsonl", "summary.json", *(f"{sha}.png" for sha in shas)}


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{edition}.{ext}", "the same name, default.png"),
        ("{colour}.png", r"unknown field \{colour\}; known are .*\{row\[COLUMN\]\}"),
        ("{row[price]}-{id}.png", r"no value for \{row\[price\]\}"),
        ("../{id}.png", "segment"),
        ("manifest.jsonl", "a name of our own"),
        ("{id", "template"),
    ],
)
def test_a_template_that_does_not_fit_is_refused_before_anything_is_copied(
    shelf: Shelf, place: Place, template: str, named: str
) -> None:
    shelf.say(YES, *shelf.add(picture(1), picture(2)))
    with pytest.raises(BadInput, match=named):
        handed(shelf, place, names=template)
    assert not place.store.destination.startswith("s3") or names(place) == set()


def test_a_place_of_another_ledger_or_of_a_run_is_refused(
    shelf: Shelf, place: Place, open_ledger: Any, tmp_path: Path, shelf_of: Any
) -> None:
    shelf.say(YES, *shelf.add(picture(1)))
    handed(shelf, place)
    other = shelf_of(open_ledger(str(tmp_path / "other.db")))
    other.say(YES, *other.add(picture(2)))
    with pytest.raises(LedgerMismatch, match="another ledger"):
        handed(other, place)
    with pytest.raises(BadInput, match="where runs store their images"):
        deliver(shelf.ledger, shelf.store, APPROVED)


def test_what_is_gone_is_named_and_the_others_are_delivered(shelf: Shelf, place: Place) -> None:
    gone, there = shelf.add(picture(1), picture(2))
    shelf.say(YES, gone, there)
    shelf.store.delete([str(shelf.row(gone, "object_key")["object_key"])])
    report = handed(shelf, place)
    assert (report.images, report.complete) == (1, False)
    ((image_id, reason),) = [(problem.image_id, problem.reason) for problem in report.problems]
    assert image_id == gone
    assert "does not exist" in reason


def test_an_image_that_changed_since_it_was_approved_is_not_delivered(shelf: Shelf, place: Place) -> None:
    one, other = shelf.add(picture(1), picture(2))
    shelf.say(YES, one, other)
    handed(shelf, place)
    change = sa.update(images).where(images.c.call_id == one[:-2]).values(sha256="0" * 64)
    shelf.ledger.write(lambda connection: connection.execute(change))
    report = handed(shelf, place)
    assert (report.changed, report.withdrawn, report.images, report.complete) == ((one,), (one,), 1, False)


def test_a_name_that_a_stranger_has_is_left_to_him(shelf: Shelf, place: Place) -> None:
    (one,) = shelf.add(picture(1))
    shelf.say(YES, one)
    place.store.preflight()
    place.store.write_text("mine.png", "a text of somebody else")
    report = handed(shelf, place, names="mine.{ext}")
    assert report.images == 0
    assert "was left as it is" in report.problems[0].reason
    assert place.store.read_text("mine.png") == "a text of somebody else"


def test_a_copy_that_somebody_deleted_is_made_again(shelf: Shelf, place: Place) -> None:
    shelf.say(YES, *shelf.add(picture(1), picture(2)))
    handed(shelf, place)
    place.store.delete([manifest(place)[0]["key"]])
    report = handed(shelf, place)
    assert (report.copied, report.kept) == (1, 1)
    assert len(names(place)) == 4


def test_any_verdict_delivers_what_is_stored(shelf: Shelf, place: Place) -> None:
    one, other = shelf.add(picture(1), picture(2))
    shelf.say(NO, other)
    assert handed(shelf, place, ANY).images == 2
    assert {line["verdict"] for line in manifest(place)} == {"none", "rejected"}
    assert one in {line["image_id"] for line in manifest(place)}


def test_a_delivery_that_breaks_off_goes_on(shelf: Shelf, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.say(YES, *shelf.add(*(picture(n) for n in range(5))))
    with monkeypatch.context() as broken:
        broken.setattr(type(shelf.ledger.handovers), "add", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            handed(shelf, place)
    report = handed(shelf, place)
    assert (report.images, report.copied, report.kept) == (5, 0, 0)
    assert len(names(place)) == 7


def test_a_zip_holds_the_same_and_is_the_same_again(shelf: Shelf, place: Place, tmp_path: Path) -> None:
    contents = [picture(1), picture(2)]
    made = shelf.add(*contents, picture(3))
    shelf.say(YES, *made[:2])
    target = f"{place.target}/all.zip" if place.options else str(tmp_path / "out" / "all.zip")
    report = deliver(shelf.ledger, target, APPROVED, store_options=place.options)
    assert (report.images, report.complete) == (2, True)

    def read() -> bytes:
        if not place.options:
            return Path(target).read_bytes()
        return place.store.get("all.zip", tmp_path / "fetched.zip").path.read_bytes()

    first = read()
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        lines = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
        assert {archive.read(line["key"]) for line in lines} == set(contents)
        assert set(archive.namelist()) == {"manifest.jsonl", *(line["key"] for line in lines)}
    deliver(shelf.ledger, target, APPROVED, store_options=place.options)
    assert read() == first


def test_erasing_reaches_the_copies(shelf: Shelf, place: Place) -> None:
    (one,) = shelf.add(picture(1), edition="may")
    (other,) = shelf.add(picture(2), edition="june")
    shelf.say(YES, one, other)
    handed(shelf, place)
    erase(shelf.ledger, Selection(edition="may"), store_options=place.options)
    left = {line["image_id"] for line in manifest(place)}
    report = handed(shelf, place)
    assert left == {one, other}
    assert (report.images, [line["image_id"] for line in manifest(place)]) == (1, [other])
    assert len(names(place)) == 3
