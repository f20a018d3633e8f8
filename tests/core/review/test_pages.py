"""Lists of images: every filter, every order, page by page."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ImageFilter, ImageOrder, ImageState, Ledger, Verdict, VerdictValue
from prefect_imagen.core.ledger.schema import checks

from .test_verdicts import NO, YES, bought

OpenLedger = Callable[..., Ledger]


def listed(harness: Any, images: ImageFilter | None = None, **how: Any) -> list[str]:
    return [row["image_id"] for row in harness.ledger.review.all(images or ImageFilter(), columns=[], **how)]


@pytest.fixture
def shelf(harness: Any) -> Any:
    """Nine stored images of two runs and two editions, some with verdicts and flags; and one that is not stored."""
    harness.shelf = bought(harness, 4)
    harness.start("second", tags={"campaign": "may", "team": "a"}, edition="e")
    harness.count = 0
    for item in harness.plan(2, prefix="Лиса", edition="e"):
        call_id = harness.buy(item, 2, 300_001)
        for index in range(2):
            harness.finish(call_id, index=index)
            harness.shelf.append(f"{call_id}-{index}")
    (lost, owned) = harness.plan(1, prefix="lost")[0], harness.plan(1, prefix="fox")[0]
    harness.finish(harness.buy(lost), ImageState.LOST)
    assert harness.state(owned) == "delivered"
    record = harness.ledger.verdicts.record
    record([Verdict(harness.shelf[0], "ann", YES, stars=5), Verdict(harness.shelf[1], "ann", NO)])
    record([Verdict(harness.shelf[2], "ann", stars=3), Verdict(harness.shelf[5], "ann", YES)])
    flagged = {2: ["blur"], 3: ["blank", "blur"], 4: []}
    rows = [
        {
            **dict(
                zip(("call_id", "idx"), (harness.shelf[n].rpartition("-")[0], int(harness.shelf[n][-1])), strict=True)
            ),
            "flags": flags,
            "flagged": len(flags),
            "details": {},
            "duplicate_group": harness.shelf[2] if n < 4 else None,
            "settings": "",
            "checked_at": datetime.now(UTC),
        }
        for n, flags in flagged.items()
    ]
    harness.ledger.write(lambda connection: connection.execute(sa.insert(checks), rows))
    return harness


def test_every_criterion(shelf: Any) -> None:
    images = shelf.shelf
    now = datetime.now(UTC)
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"run_id": "run"}, [0, 1, 2, 3]),
        ({"run_id": "second"}, [0, 4, 5, 6, 7]),
        ({"run_id": "third"}, []),
        ({"edition": "e"}, [4, 5, 6, 7]),
        ({"edition": ""}, [0, 1, 2, 3]),
        ({"tags": {"campaign": "may"}}, [0, 4, 5, 6, 7]),
        ({"tags": {"campaign": "june"}}, []),
        ({"verdicts": (YES,)}, [0, 5]),
        ({"verdicts": (YES, NO)}, [0, 1, 5]),
        ({"verdicts": (VerdictValue.NONE,)}, [2, 3, 4, 6, 7]),
        ({"stars_from": 3}, [0, 2]),
        ({"stars_from": 1, "stars_to": 4}, [2]),
        ({"flags": ("blank",)}, [3]),
        ({"flags": ("blank", "blur")}, [2, 3]),
        ({"flags": ("blan",)}, []),
        ({"flagged": True}, [2, 3]),
        ({"flagged": False}, [0, 1, 4, 5, 6, 7]),
        ({"duplicate_group": images[2]}, [2, 3]),
        ({"duplicates": True}, [2, 3]),
        ({"duplicates": False}, [0, 1, 4, 5, 6, 7]),
        ({"model": "google/imagen4/preview"}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"model": "another"}, []),
        ({"text": "FOX 1"}, [1]),
        ({"text": "лиса"}, [4, 5, 6, 7]),
        ({"text": "%"}, []),
        ({"cost_from": 110_000}, [4, 5, 6, 7]),
        ({"cost_to": 104_000}, [0, 1, 2, 3]),
        ({"cost_from": 150_001}, [4, 6]),
        ({"since": now - timedelta(hours=1)}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"until": now - timedelta(hours=1)}, []),
        ({"before": now + timedelta(hours=1), "edition": "e"}, [4, 5, 6, 7]),
        ({"image_ids": (images[6], images[0], "pi-gone-0")}, [0, 6]),
        ({"states": (ImageState.LOST,)}, [-1]),
        ({"run_id": "second", "verdicts": (YES,), "text": "fox", "stars_from": 5}, [0]),
    ]
    for criteria, places in expected:
        wanted = ImageFilter(**criteria)
        found = listed(shelf, wanted)
        assert shelf.ledger.review.overview(wanted).verdicts == shelf.ledger.review.counts(wanted).verdicts, criteria
        if places == [-1]:
            assert len(found) == 1
            assert found[0] not in images
            continue
        assert found == [images[place] for place in places], criteria
        assert shelf.ledger.review.counts(wanted).images == len(places), criteria
        unreviewed = [at for at, place in enumerate(places) if place not in (0, 1, 5)]
        overview = shelf.ledger.review.overview(wanted)
        assert (overview.images, overview.first_unreviewed) == (len(places), min(unreviewed, default=None)), criteria
        with shelf.ledger.catalog.batches(["image_id"], wanted) as batches:
            assert sorted(row.image_id for batch in batches for row in batch) == sorted(found), criteria


def test_all_images_are_counted_by_verdict_as_some_of_them_are(shelf: Any) -> None:
    [lost] = listed(shelf, ImageFilter(states=(ImageState.LOST,)))
    shelf.ledger.verdicts.record([Verdict(lost, "ann", NO)])
    for states, rejected in (((ImageState.STORED,), 1), ((ImageState.LOST,), 1), ((*ImageState,), 2), ((), 2)):
        wanted = ImageFilter(states=states)
        found = shelf.ledger.review.overview(wanted).verdicts
        assert found == shelf.ledger.review.counts(wanted).verdicts, states
        assert found[NO] == rejected


def test_a_large_run_is_listed_like_a_small_one(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ImageFilter(run_id="second", verdicts=(VerdictValue.NONE, YES))
    few = listed(shelf, wanted)
    monkeypatch.setattr("prefect_imagen.core.ledger.selection._FEW", 2)
    assert listed(shelf, wanted) == few == [shelf.shelf[n] for n in (0, 4, 5, 6, 7)]


def test_every_order_is_whole_however_it_is_cut(shelf: Any) -> None:
    first = {
        ImageOrder.TIME: [0, 1, 2, 3, 4, 5, 6, 7],
        ImageOrder.FLAGS: [3, 2, 0, 1, 4, 5, 6, 7],
        ImageOrder.STARS: [0, 2, 1, 3, 4, 5, 6, 7],
        ImageOrder.COST: [4, 6, 5, 7, 0, 1, 2, 3],
        ImageOrder.PROMPT: [0, 1, 2, 3, 4, 5, 6, 7],
        ImageOrder.DUPLICATES: [2, 3, 0, 1, 4, 5, 6, 7],
    }
    for order in ImageOrder:
        whole = [row["image_id"] for row in shelf.ledger.review.page(ImageFilter(), columns=["image_id"], order=order)]
        assert sorted(whole) == sorted(shelf.shelf)
        if order in first:
            assert whole == [shelf.shelf[place] for place in first[order]], order
        for size in (1, 3, 8):
            pages: list[str] = []
            while page := shelf.ledger.review.page(
                ImageFilter(), columns=["image_id"], after=pages[-1] if pages else None, order=order, limit=size
            ):
                pages += [row["image_id"] for row in page]
            assert pages == whole
        reviewed = [shelf.shelf[place] for place in (0, 1, 5)]
        first_left = next(place for place, image_id in enumerate(whole) if image_id not in reviewed)
        assert shelf.ledger.review.overview(ImageFilter(), order=order).first_unreviewed == first_left, order
        assert shelf.ledger.review.overview(ImageFilter(verdicts=(YES, NO)), order=order).first_unreviewed is None


def test_a_page_goes_on_where_it_was_although_the_list_changed(shelf: Any) -> None:
    unreviewed = ImageFilter(verdicts=(VerdictValue.NONE,))
    page = shelf.ledger.review.page
    first = [row["image_id"] for row in page(unreviewed, columns=["image_id"], limit=2)]
    assert first == [shelf.shelf[2], shelf.shelf[3]]
    assert shelf.ledger.review.overview(ImageFilter()).first_unreviewed == 2
    shelf.ledger.verdicts.record([Verdict(image, "ann", YES) for image in first])
    second = [row["image_id"] for row in page(unreviewed, columns=["image_id"], after=first[-1], limit=2)]
    assert second == [shelf.shelf[4], shelf.shelf[6]]


def test_counts(shelf: Any) -> None:
    counts = shelf.ledger.review.counts(ImageFilter())
    assert counts.verdicts == {YES: 2, NO: 1, VerdictValue.NONE: 5}
    assert (counts.images, counts.reviewed) == (8, 3)
    assert counts.stars == {0: 6, 3: 1, 5: 1}
    assert counts.flags == {"blur": 2, "blank": 1}
    assert shelf.ledger.review.counts(ImageFilter(run_id="third")).images == 0


def test_rows_have_the_columns_that_were_asked_for(shelf: Any) -> None:
    image = shelf.shelf[3]
    (row,) = shelf.ledger.review.rows([image, "pi-gone-0"], columns=["flags", "cost_credits", "source_row"])
    assert (json.loads(row["flags"]), row["cost_credits"], json.loads(row["source_row"])) == (
        ["blank", "blur"],
        104_000,
        {"n": 3},
    )


@pytest.mark.parametrize(
    ("criteria", "named"),
    [
        ({"stars_from": 6}, "6 is not allowed"),
        ({"stars_from": 4, "stars_to": 2}, "exchange the two"),
        ({"image_ids": ("fox",)}, "no id of an image"),
    ],
)
def test_what_nothing_can_match_is_refused(criteria: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        ImageFilter(**criteria)


def test_a_page_after_an_unknown_image_is_refused(harness: Any) -> None:
    with pytest.raises(BadInput, match="there is no image pi-1-0"):
        harness.ledger.review.page(ImageFilter(), columns=["image_id"], after="pi-1-0")


def test_images_of_an_older_process_get_their_time(harness: Any, open_ledger: OpenLedger) -> None:
    from prefect_imagen.core.ledger.schema import images

    (image,) = bought(harness, 1)
    harness.ledger.write(lambda connection: connection.execute(sa.update(images).values(requested_at=None)))
    call = harness.call(image.rpartition("-")[0])
    again = open_ledger(harness.ledger.url.render_as_string(hide_password=False))
    (row,) = again.review.rows([image], columns=["requested_at"])
    assert row["requested_at"] is not None
    with again.read() as connection:
        assert connection.scalar(sa.select(images.c.requested_at)) == call.sent_at
