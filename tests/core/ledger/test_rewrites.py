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
    UnknownPolicy,
)
from prefect_imagen.core.ledger.schema import calls, items, rewrites
from prefect_imagen.core.ledger.workers import release_dead_workers
from prefect_imagen.core.run.report import make_report

from ..conftest import answer, result

MODEL = "google/imagen4/preview"


def plan(shop: Any, count: int = 2, variations: int = 1, limit: int = 400) -> tuple[list[str], list[str]]:
    """Images and texts of a run."""
    wanted = [Rewrite("chat/model", f"fox {n}", "calm", limit, k + 1) for n in range(count) for k in range(variations)]
    rows = [RunItem(n, Item(MODEL, w.source, {}, rewrite=w), "p.txt", n + 1) for n, w in enumerate(wanted)]
    shop.ledger.runs.add_items(shop.run, rows)
    return [row.item.id for row in rows], [rewrite.id for rewrite in wanted]


def send(shop: Any, item_id: str, prompt: str | None = None, **policy: Any) -> str:
    assert [item.id for item in shop.ledger.items.claim([item_id], **policy)] == [item_id]
    number = len(shop.rows(calls))
    intent = CallIntent(
        f"pi-{number}", item_id, shop.run, shop.ledger.worker.id, 1000, 1, None, "chat/model", "chat", prompt
    )
    assert shop.ledger.calls.begin(intent) is BeginResult.YES
    return intent.id


def write(shop: Any, text_id: str, text: str | None = "a better fox", **policy: Any) -> str:
    call_id = send(shop, text_id, **policy)
    shop.ledger.calls.settle(call_id, Rewritten(text, 70, "reply", None if text else "too long"))
    shop.ledger.items.release([text_id])
    return call_id


def test_a_text_is_kept_and_found_by_its_image(shop: Any) -> None:
    (image, other), (text, _) = plan(shop)
    assert shop.ledger.rewrites.missing([image, image]) == [text]
    call_id = write(shop, text)
    assert shop.state(text) is ItemState.DELIVERED
    row = shop.row(rewrites)
    assert (row.item_id, row.call_id, row.text) == (text, call_id, "a better fox")
    call = shop.call(call_id)
    assert (call.outcome, call.billed, call.settled, call.returned, call.cost_source) == (
        "answered",
        True,
        70,
        1,
        "reply",
    )
    assert shop.ledger.rewrites.missing([image]) == []
    first, second = shop.ledger.items.claim([image, other])
    assert (first.prompt, first.rewrite.text, first.rewrite.state) == ("fox 0", "a better fox", ItemState.DELIVERED)
    assert (second.rewrite.text, second.rewrite.state) == (None, ItemState.PLANNED)
    assert shop.money() == (0, 70)
    account = shop.ledger.costs.of(shop.run)
    assert (account.rewrites.calls, account.rewrites.credits, account.billed) == (1, 70, 70)


def test_what_came_to_nothing_is_asked_for_again_only_when_told(shop: Any) -> None:
    (image, _), (text, _) = plan(shop)
    write(shop, text, None)
    assert shop.state(text) is ItemState.REFUSED
    assert shop.rows(rewrites) == []
    assert shop.ledger.rewrites.missing([image]) == []
    assert shop.ledger.rewrites.missing([image], retry_refused=True) == [text]
    (claimed,) = shop.ledger.items.claim([image])
    assert (claimed.rewrite.state, claimed.rewrite.reason) == (ItemState.REFUSED, "too long")
    shop.ledger.items.claim([text], retry_refused=True)
    shop.ledger.items.release([text])
    assert shop.state(text) is ItemState.REFUSED, "taken up in vain, and planned without being asked"
    shop.ledger.items.fail(image, "no text")
    assert (shop.state(image), shop.row(items, items.c.id == image).reason) == (ItemState.FAILED, "no text")
    write(shop, text, retry_refused=True)
    assert shop.state(text) is ItemState.DELIVERED
    assert shop.ledger.costs.of().rewrites.calls == 2


def test_giving_up_what_is_not_held_does_nothing(shop: Any) -> None:
    (image, _), _ = plan(shop)
    shop.ledger.items.fail(image, "no text")
    assert shop.state(image) is ItemState.PLANNED


def test_an_unknown_text_is_left_to_the_policy(shop: Any) -> None:
    (image, _), (text, _) = plan(shop)
    shop.ledger.calls.settle(send(shop, text), Unknown("cut"))
    shop.ledger.items.release([text])
    assert shop.ledger.rewrites.missing([image]) == []
    assert shop.ledger.rewrites.missing([image], unknown=UnknownPolicy.RETRY) == [text]
    assert shop.ledger.items.fail_unknown(shop.run) == 1
    assert shop.state(text) is ItemState.FAILED
    assert shop.ledger.rewrites.missing([image]) == [text]
    assert shop.money() == (1000, 0), "what may have been billed stays reserved"


@pytest.mark.parametrize("end", [Unknown("cut"), Refused("no"), Unbilled("429", ItemState.PLANNED)])
def test_a_text_that_turns_up_late_is_kept_however_the_next_call_ends(shop: Any, end: Any) -> None:
    _, (text, _) = plan(shop)
    first = send(shop, text)
    shop.ledger.calls.settle(first, Unknown("cut"))
    shop.ledger.items.release([text])
    second = send(shop, text, unknown=UnknownPolicy.RETRY)
    shop.ledger.calls.settle(first, Rewritten("found in the spool", 70, "reply"))
    assert shop.state(text) is ItemState.SENT
    shop.ledger.calls.settle(second, end)
    assert shop.state(text) is ItemState.DELIVERED
    assert shop.row(rewrites).text == "found in the spool"


def test_a_second_text_does_not_replace_the_first(shop: Any) -> None:
    _, (text, _) = plan(shop)
    first = send(shop, text)
    shop.ledger.calls.settle(first, Unknown("cut"))
    shop.ledger.items.release([text])
    second = send(shop, text, unknown=UnknownPolicy.RETRY)
    shop.ledger.calls.settle(first, Rewritten("one", 70, "reply"))
    shop.ledger.calls.settle(second, Rewritten("two", 70, "reply"))
    assert (shop.row(rewrites).text, shop.row(rewrites).call_id) == ("one", first)


def test_a_process_that_dies_with_a_text_at_hand(shop: Any) -> None:
    _, (text, other) = plan(shop)
    first = send(shop, text)
    shop.ledger.calls.settle(first, Unknown("cut"))
    shop.ledger.items.release([text])
    send(shop, text, unknown=UnknownPolicy.RETRY)
    send(shop, other)
    shop.ledger.calls.settle(first, Rewritten("one", 70, "reply"))
    dead = shop.ledger.worker.id
    shop.ledger.write(lambda connection: release_dead_workers(connection, None, force=(dead,)))
    assert (shop.state(text), shop.state(other)) == (ItemState.DELIVERED, ItemState.UNKNOWN)


def test_a_reply_that_only_the_log_knows(shop: Any) -> None:
    (image, _), (text, _) = plan(shop)
    call_id = send(shop, text)
    shop.ledger.calls.settle(call_id, Unknown("cut"))
    shop.ledger.items.release([text])
    shop.ledger.calls.settle(call_id, Answered([], 70, "log"))
    assert shop.state(text) is ItemState.LOST
    assert shop.ledger.costs.of().rewrites.credits == 70
    assert shop.ledger.rewrites.missing([image]) == []
    assert shop.ledger.rewrites.missing([image], retry_refused=True) == [text]
    write(shop, text, retry_refused=True)


def test_the_catalog_has_both_texts(shop: Any) -> None:
    (image, kept), (text, _) = plan(shop)
    write(shop, text)
    for item_id, prompt in ((image, "a better fox"), (kept, None)):
        call_id = send(shop, item_id, prompt)
        shop.ledger.calls.settle(call_id, answer())
        shop.ledger.images.finish([result(item_id, call_id)])
    rows = {row["item_id"]: row for row in shop.ledger.images.catalog()}
    named = ("prompt", "source_prompt", "rewritten_by", "variation")
    assert [rows[image][name] for name in named] == ["a better fox", "fox 0", "chat/model", 1]
    assert [rows[kept][name] for name in named] == ["fox 1", "fox 1", None, 1]


def test_the_report_tells_of_the_texts(shop: Any) -> None:
    (image, kept, *_), (text, failed, *_) = plan(shop, 2, 2)
    write(shop, text)
    write(shop, failed, None)
    for item_id, prompt in ((image, "a better fox"), (kept, None)):
        shop.ledger.calls.settle(send(shop, item_id, prompt), answer())
    report = make_report(shop.ledger, shop.run)
    assert report.rewrites is not None
    assert (dict(report.rewrites.states), report.rewrites.kept) == ({"planned": 2, "delivered": 1, "refused": 1}, 1)
    told = [(f.source, f.prompt, f.variation, f.state, f.reason) for f in report.rewrites.failed]
    assert told[0] == ("p.txt:2", "fox 0", 2, "refused", "too long")
    assert len(told) == 3
    assert report.as_dict()["rewrites"]["kept"] == 1
    progress = shop.ledger.runs.progress(shop.run)
    assert (progress.total, progress.texts, progress.written) == (4, 4, 1)
    assert shop.ledger.rewrites.states([image, kept, image]) == {
        text: ItemState.DELIVERED,
        failed: ItemState.REFUSED,
    }


def test_an_item_that_was_left_waits_for_the_text_of_the_latest_limit(shop: Any) -> None:
    images, short = plan(shop)
    again, long = plan(shop, limit=1500)
    assert again == images
    assert set(shop.ledger.rewrites.missing(images)) == set(long)
    write(shop, long[0])
    shop.ledger.calls.settle(send(shop, images[0], "a better fox"), Unknown("cut"))
    shop.ledger.items.release(images)
    plan(shop)
    assert shop.ledger.rewrites.missing(images) == [short[1]], "what was sent is what it was"
