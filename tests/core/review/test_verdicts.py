"""Verdicts on the ledger: each is kept, the last one counts, whoever gives it and however often it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Ledger, Recorded, Verdict, VerdictValue
from prefect_imagen.core.ledger.schema import verdicts

OpenLedger = Callable[..., Ledger]
YES, NO, NONE = VerdictValue.APPROVED, VerdictValue.REJECTED, VerdictValue.NONE


def bought(harness: Any, count: int, images: int = 1) -> list[str]:
    """Ids of images that are stored."""
    made = []
    for item in harness.plan(count):
        call_id = harness.buy(item, images)
        for index in range(images):
            harness.finish(call_id, index=index)
            made.append(f"{call_id}-{index}")
    return made


def row(harness: Any, image_id: str) -> dict[str, Any]:
    columns = ("verdict", "stars", "reviewer", "review_reason", "review_note")
    (found,) = harness.ledger.review.rows([image_id], columns=columns)
    return dict(found)


def test_verdict_and_stars_are_independent_and_the_last_of_each_counts(harness: Any) -> None:
    one, other = bought(harness, 2)
    record = harness.ledger.verdicts.record
    assert row(harness, one) == {
        "verdict": "none",
        "stars": 0,
        "reviewer": None,
        "review_reason": None,
        "review_note": None,
    }
    record([Verdict(one, "ann", NO, reason="six fingers"), Verdict(one, "ben", stars=4)])
    record([Verdict(one, "cem", note="the client likes it")])
    found = row(harness, one)
    assert (found["verdict"], found["stars"], found["review_reason"]) == ("rejected", 4, "six fingers")
    assert (found["reviewer"], found["review_note"]) == ("cem", "the client likes it")
    record([Verdict(one, "ann", YES)])
    found = row(harness, one)
    assert (found["verdict"], found["stars"], found["review_reason"]) == ("approved", 4, None)
    record([Verdict(one, "ann", NONE, stars=0)])
    assert (row(harness, one)["verdict"], row(harness, one)["stars"]) == ("none", 0)
    assert row(harness, other)["reviewer"] is None
    said = harness.ledger.verdicts.of(one)
    assert [(v.reviewer, v.verdict, v.stars) for v in said] == [
        ("ann", NO, None),
        ("ben", None, 4),
        ("cem", None, None),
        ("ann", YES, None),
        ("ann", NONE, 0),
    ]
    assert {v.sha256 for v in said} == {harness.image(one.rpartition("-")[0]).sha256}


def test_what_was_said_last_counts_whenever_it_arrives(harness: Any) -> None:
    (image,) = bought(harness, 1)
    now = datetime.now(UTC)
    harness.ledger.verdicts.record([Verdict(image, "ann", YES, at=now - timedelta(minutes=1))])
    harness.ledger.verdicts.record([Verdict(image, "file", NO, stars=2, note="dark", at=now - timedelta(hours=1))])
    found = row(harness, image)
    kinds = ("verdict", "stars", "review_note", "reviewer")
    assert tuple(found[kind] for kind in kinds) == ("approved", 2, "dark", "ann")
    harness.ledger.verdicts.record([Verdict(image, "file", note="darker", at=now - timedelta(hours=2))])
    assert row(harness, image)["review_note"] == "dark"
    # A clock that is ahead does not win over what is said later.
    harness.ledger.verdicts.record([Verdict(image, "ahead", NO, at=now + timedelta(days=1))])
    harness.ledger.verdicts.record([Verdict(image, "ann", YES)])
    assert row(harness, image)["verdict"] == "approved"
    assert len(harness.ledger.verdicts.of(image)) == 5


def test_a_group_that_is_sent_again_is_not_doubled(harness: Any) -> None:
    one, other = bought(harness, 2)
    group = [Verdict(one, "ann", YES, id="a"), Verdict(other, "ann", NO, id="b"), Verdict(one, "ann", stars=3, id="c")]
    assert harness.ledger.verdicts.record(group) == Recorded(added=3)
    harness.ledger.verdicts.record([Verdict(one, "ben", NO)])
    assert harness.ledger.verdicts.record([*group, Verdict(other, "ann", YES, id="d")]) == Recorded(added=1, known=3)
    assert (row(harness, one)["verdict"], row(harness, other)["verdict"]) == ("rejected", "approved")
    assert len(harness.rows(verdicts)) == 5


def test_what_was_said_since_is_told_in_parts(harness: Any) -> None:
    one, other, third = bought(harness, 3)
    harness.ledger.verdicts.record([Verdict(one, "ann", YES)])
    since = harness.ledger.verdicts.since
    begun, nothing = since(None, limit=10)
    assert (since(begun, limit=10), nothing) == ((begun, []), [])
    harness.ledger.verdicts.record([Verdict(image, "ben", NO) for image in (other, third, other)])
    harness.ledger.verdicts.record([Verdict(other, "ben", stars=2)])
    middle, images = since(begun, limit=2)
    assert images == [other, third]
    end, images = since(middle, limit=2)
    assert images == [other]
    assert since(end, limit=2) == (end, [])
    assert since(None, limit=2)[0] == end


def test_unknown_and_changed_images_are_named_and_the_others_recorded(harness: Any) -> None:
    one, other = bought(harness, 2)
    seen = harness.image(one.rpartition("-")[0]).sha256
    given = [
        Verdict(one, "ann", YES, sha256=seen),
        Verdict(other, "ann", YES, sha256="0" * 64),
        Verdict("pi-nothing-0", "ann", YES),
    ]
    assert harness.ledger.verdicts.record(given) == Recorded(1, 0, ("pi-nothing-0",), (other,))
    assert (row(harness, one)["verdict"], row(harness, other)["verdict"]) == ("approved", "none")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"reviewer": " ", "verdict": YES}, "name of its reviewer"),
        ({"reviewer": "ann"}, "nothing is said"),
        ({"reviewer": "ann", "stars": 6}, r"6 is not allowed \(0 to 5\)"),
        ({"reviewer": "ann", "stars": True}, "True is not allowed"),
        ({"reviewer": "ann", "stars": 3, "reason": "why"}, "belongs to a verdict"),
        ({"reviewer": "ann", "verdict": YES, "note": "x" * 10_001}, "at most 10,000 characters"),
        ({"reviewer": "ann", "verdict": YES, "id": ""}, "needs an id"),
        ({"reviewer": "ann", "verdict": YES, "image_id": "fox"}, "'fox' is no id of an image"),
    ],
)
def test_a_verdict_that_says_nothing_is_refused(said: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Verdict(**{"image_id": "pi-1-0", **said})


def test_what_two_reviewers_say_at_once_is_all_kept(postgres: str, open_ledger: OpenLedger, shop_of: Any) -> None:
    harness = shop_of(open_ledger(postgres))
    harness.start()
    images = bought(harness, 20)
    ledgers = [harness.ledger, open_ledger(postgres)]
    together = threading.Barrier(4)

    def say(ledger: Ledger, name: str, order: int, **said: Any) -> None:
        together.wait()
        for image in images[::order]:
            ledger.verdicts.record([Verdict(image, name, **said)])

    said: list[tuple[Any, ...]] = [
        (ledgers[0], "ann", 1, {"verdict": YES}),
        (ledgers[1], "ben", -1, {"stars": 5}),
        (ledgers[0], "cem", -1, {"note": "seen"}),
        (ledgers[1], "dan", 1, {"verdict": YES, "reason": "sharp"}),
    ]
    threads = [threading.Thread(target=say, args=who[:3], kwargs=who[3]) for who in said]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with harness.ledger.read() as connection:
        count = sa.select(verdicts.c.reviewer, sa.func.count()).group_by(verdicts.c.reviewer)
        assert dict(map(tuple, connection.execute(count))) == {"ann": 20, "ben": 20, "cem": 20, "dan": 20}
    for image in images:
        found = row(harness, image)
        assert (found["verdict"], found["stars"], found["review_note"]) == ("approved", 5, "seen")
