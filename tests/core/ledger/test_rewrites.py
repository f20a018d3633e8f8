"""Texts on the ledger, on both databases: items like any other, waited for by images, kept once they are there."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_imagen.core.ledger import (
    Answered,
    BeginResult,
    CallIntent,
    Item,
    ItemState,
    Refused,
    Rewrite,
    Rewritten,
    RunItem,
    Unbilled,
    Unknown,
)
from prefect_imagen.core.ledger.schema import calls, items, rewrites
from prefect_imagen.core.ledger.workers import release_dead_workers
from prefect_imagen.core.request import UnknownPolicy
from prefect_imagen.core.run.report import make_report

from ..conftest import answer, result

MODEL = "google/imagen4/preview"


def plan(harness: Any, count: int = 2, variations: int = 1, limit: int = 400) -> tuple[list[str], list[str]]:
    """Images and texts of a run."""
    wanted = [Rewrite("chat/model", f"fox {n}", "calm", limit, k + 1) for n in range(count) for k in range(variations)]
    rows = [RunItem(n, Item(MODEL, w.source, {}, rewrite=w), "p.txt", n + 1) for n, w in enumerate(wanted)]
    harness.ledger.runs.add_items(harness.run, rows)
    return [row.item.id for row in rows], [rewrite.id for rewrite in wanted]


def send(harness: Any, item_id: str, prompt: str | None = None, **policy: Any) -> str:
    assert [item.id for item in harness.ledger.items.claim([item_id], **policy)] == [item_id]
    number = len(harness.rows(calls))
    intent = CallIntent(
        f"pi-{number}", item_id, harness.run, harness.ledger.worker.id, 1000, 1, None, "chat/model", "chat", prompt
    )
    assert harness.ledger.calls.begin(intent) is BeginResult.YES
    return intent.id


def write(harness: Any, text_id: str, text: str | None = "a better fox", **policy: Any) -> str:
    call_id = send(harness, text_id, **policy)
    harness.ledger.calls.settle(call_id, Rewritten(text, 70, "reply", None if text else "too long"))
    harness.ledger.items.release([text_id])
    return call_id


def test_a_text_is_kept_and_found_by_its_image(harness: Any) -> None:
    (image, other), (text, _) = plan(harness)
    assert harness.ledger.rewrites.missing([image, image]) == [text]
    call_id = write(harness, text)
    assert harness.state(text) is ItemState.DELIVERED
    row = harness.row(rewrites)
    assert (row.item_id, row.call_id, row.text) == (text, call_id, "a better fox")
    call = harness.call(call_id)
    assert (call.outcome, call.billed, call.settled, call.returned, call.cost_source) == (
        "answered",
        True,
        70,
        1,
        "reply",
    )
    assert harness.ledger.rewrites.missing([image]) == []
    first, second = harness.ledger.items.claim([image, other])
    assert (first.prompt, first.rewrite.text, first.rewrite.state) == ("fox 0", "a better fox", ItemState.DELIVERED)
    assert (second.rewrite.text, second.rewrite.state) == (None, ItemState.PLANNED)
    assert harness.money() == (0, 70)
    account = harness.ledger.costs.of(harness.run)
    assert (account.rewrites.calls, account.rewrites.credits, account.billed) == (1, 70, 70)


def test_what_came_to_nothing_is_asked_for_again_only_when_told(harness: Any) -> None:
    (image, _), (text, _) = plan(harness)
    write(harness, text, None)
    assert harness.state(text) is ItemState.REFUSED
    assert harness.rows(rewrites) == []
    assert harness.ledger.rewrites.missing([image]) == []
    assert harness.ledger.rewrites.missing([image], retry_refused=True) == [text]
    (claimed,) = harness.ledger.items.claim([image])
    assert (claimed.rewrite.state, claimed.rewrite.reason) == (ItemState.REFUSED, "too long")
    harness.ledger.items.claim([text], retry_refused=True)
    harness.ledger.items.release([text])
    assert harness.state(text) is ItemState.REFUSED, "taken up in vain, and planned without being asked"
    harness.ledger.items.fail(image, "no text")
    assert (harness.state(image), harness.row(items, items.c.id == image).reason) == (ItemState.FAILED, "no text")
    write(harness, text, retry_refused=True)
    assert harness.state(text) is ItemState.DELIVERED
    assert harness.ledger.costs.of().rewrites.calls == 2


def test_giving_up_what_is_not_held_does_nothing(harness: Any) -> None:
    (image, _), _ = plan(harness)
    harness.ledger.items.fail(image, "no text")
    assert harness.state(image) is ItemState.PLANNED


def test_an_unknown_text_is_left_to_the_policy(harness: Any) -> None:
    (image, _), (text, _) = plan(harness)
    harness.ledger.calls.settle(send(harness, text), Unknown("cut"))
    harness.ledger.items.release([text])
    assert harness.ledger.rewrites.missing([image]) == []
    assert harness.ledger.rewrites.missing([image], unknown=UnknownPolicy.RETRY) == [text]
    assert harness.ledger.items.fail_unknown(harness.run) == 1
    assert harness.state(text) is ItemState.FAILED
    assert harness.ledger.rewrites.missing([image]) == [text]
    assert harness.money() == (1000, 0), "what may have been billed stays reserved"


@pytest.mark.parametrize("end", [Unknown("cut"), Refused("no"), Unbilled("429", ItemState.PLANNED)])
def test_a_text_that_turns_up_late_is_kept_however_the_next_call_ends(harness: Any, end: Any) -> None:
    _, (text, _) = plan(harness)
    first = send(harness, text)
    harness.ledger.calls.settle(first, Unknown("cut"))
    harness.ledger.items.release([text])
    second = send(harness, text, unknown=UnknownPolicy.RETRY)
    harness.ledger.calls.settle(first, Rewritten("found in the spool", 70, "reply"))
    assert harness.state(text) is ItemState.SENT
    harness.ledger.calls.settle(second, end)
    assert harness.state(text) is ItemState.DELIVERED
    assert harness.row(rewrites).text == "found in the spool"


def test_a_second_text_does_not_replace_the_first(harness: Any) -> None:
    _, (text, _) = plan(harness)
    first = send(harness, text)
    harness.ledger.calls.settle(first, Unknown("cut"))
    harness.ledger.items.release([text])
    second = send(harness, text, unknown=UnknownPolicy.RETRY)
    harness.ledger.calls.settle(first, Rewritten("one", 70, "reply"))
    harness.ledger.calls.settle(second, Rewritten("two", 70, "reply"))
    assert (harness.row(rewrites).text, harness.row(rewrites).call_id) == ("one", first)


def test_a_process_that_dies_with_a_text_at_hand(harness: Any) -> None:
    _, (text, other) = plan(harness)
    first = send(harness, text)
    harness.ledger.calls.settle(first, Unknown("cut"))
    harness.ledger.items.release([text])
    send(harness, text, unknown=UnknownPolicy.RETRY)
    send(harness, other)
    harness.ledger.calls.settle(first, Rewritten("one", 70, "reply"))
    dead = harness.ledger.worker.id
    harness.ledger.write(lambda connection: release_dead_workers(connection, None, force=(dead,)))
    assert (harness.state(text), harness.state(other)) == (ItemState.DELIVERED, ItemState.UNKNOWN)


def test_a_reply_that_only_the_log_knows(harness: Any) -> None:
    (image, _), (text, _) = plan(harness)
    call_id = send(harness, text)
    harness.ledger.calls.settle(call_id, Unknown("cut"))
    harness.ledger.items.release([text])
    harness.ledger.calls.settle(call_id, Answered([], 70, "log"))
    assert harness.state(text) is ItemState.LOST
    assert harness.ledger.costs.of().rewrites.credits == 70
    assert harness.ledger.rewrites.missing([image]) == []
    assert harness.ledger.rewrites.missing([image], retry_refused=True) == [text]
    write(harness, text, retry_refused=True)


def test_the_catalog_has_both_texts(harness: Any) -> None:
    (image, kept), (text, _) = plan(harness)
    write(harness, text)
    for item_id, prompt in ((image, "a better fox"), (kept, None)):
        call_id = send(harness, item_id, prompt)
        harness.ledger.calls.settle(call_id, answer())
        harness.ledger.images.finish([result(item_id, call_id)])
    rows = {row["item_id"]: row for row in harness.ledger.catalog.rows()}
    named = ("prompt", "source_prompt", "rewritten_by", "variation")
    assert [rows[image][name] for name in named] == ["a better fox", "fox 0", "chat/model", 1]
    assert [rows[kept][name] for name in named] == ["fox 1", "fox 1", None, 1]


def test_the_report_tells_of_the_texts(harness: Any) -> None:
    (image, kept, *_), (text, failed, *_) = plan(harness, 2, 2)
    write(harness, text)
    write(harness, failed, None)
    for item_id, prompt in ((image, "a better fox"), (kept, None)):
        harness.ledger.calls.settle(send(harness, item_id, prompt), answer())
    report = make_report(harness.ledger, harness.run)
    assert report.rewrites is not None
    assert (dict(report.rewrites.states), report.rewrites.kept) == ({"planned": 2, "delivered": 1, "refused": 1}, 1)
    told = [(f.source, f.prompt, f.variation, f.state, f.reason) for f in report.rewrites.failed]
    assert told[0] == ("p.txt:2", "fox 0", 2, "refused", "too long")
    assert len(told) == 3
    assert report.as_dict()["rewrites"]["kept"] == 1
    progress = harness.ledger.runs.progress(harness.run)
    assert (progress.total, progress.texts, progress.written) == (4, 4, 1)
    assert harness.ledger.rewrites.states([image, kept, image]) == {
        text: ItemState.DELIVERED,
        failed: ItemState.REFUSED,
    }


def test_an_item_that_was_left_waits_for_the_text_of_the_latest_limit(harness: Any) -> None:
    images, short = plan(harness)
    again, long = plan(harness, limit=1500)
    assert again == images
    assert set(harness.ledger.rewrites.missing(images)) == set(long)
    write(harness, long[0])
    harness.ledger.calls.settle(send(harness, images[0], "a better fox"), Unknown("cut"))
    harness.ledger.items.release(images)
    plan(harness)
    assert harness.ledger.rewrites.missing(images) == [short[1]], "what was sent is what it was"
