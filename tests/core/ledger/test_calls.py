"""The life of a call and its money."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import (
    Answered,
    BeginResult,
    CallOutcome,
    ImageState,
    ItemState,
    Ledger,
    NewImage,
    Outcome,
    Refused,
    Unbilled,
    Unknown,
)
from prefect_imagen.core.ledger.calls import begin, record, settle
from prefect_imagen.core.ledger.schema import calls, images
from prefect_imagen.core.request import UnknownPolicy

OpenLedger = Callable[..., Ledger]
RESERVE, PRICE = 106_000, 104_000


def answer(count: int = 1, credits_: int = PRICE) -> Answered:
    return Answered([NewImage(n, f"https://cdn.test/{n}", "image/png", None) for n in range(count)], credits_, "reply")


@pytest.mark.parametrize(
    ("outcome", "call_state", "billed", "money", "item_state"),
    [
        (answer(2), "answered", True, (0, PRICE), "generated"),
        (answer(1, 0), "answered", True, (0, 0), "generated"),
        (Refused("safety"), "refused", False, (0, 0), "refused"),
        (Refused("safety", 52_000), "refused", True, (0, 52_000), "refused"),
        (Unbilled("429", ItemState.CLAIMED), "unbilled", False, (0, 0), "claimed"),
        (Unbilled("401", ItemState.PLANNED), "unbilled", False, (0, 0), "planned"),
        (Unbilled("429", ItemState.FAILED), "unbilled", False, (0, 0), "failed"),
        (Unknown("cut"), "unknown", None, (RESERVE, 0), "unknown"),
    ],
)
def test_what_an_outcome_makes_of_call_money_and_item(
    harness: Any, outcome: Outcome, call_state: str, billed: bool | None, money: tuple[int, int], item_state: str
) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    assert harness.money() == (RESERVE, 0)
    assert (harness.state(item), harness.call(call_id).outcome) == (ItemState.SENT, "sent")
    assert harness.ledger.calls.settle(call_id, outcome)
    call = harness.call(call_id)
    assert (call.outcome, call.billed, harness.money(), harness.state(item)) == (call_state, billed, money, item_state)
    assert call.settled == (None if billed is None else money[1])
    assert call.ended_at is not None


def test_everything_a_reply_tells_is_kept(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    image = NewImage(0, "https://cdn.test/ä?x=%2F", "image/webp", "a rewritten fox")
    blank = NewImage(1, None, None, None, blocked="marked")
    harness.ledger.calls.settle(call_id, Answered([image, blank], 5, "price list", 2**70, 201, "inf", "req"))
    call = harness.call(call_id)
    assert (call.returned, call.cost_source, call.http_status) == (2, "price list", 201)
    assert (call.inference_id, call.request_id, call.seed) == ("inf", "req", "7")
    kept = harness.image(call_id)
    assert (kept.source_url, kept.content_type, kept.revised_prompt) == (
        "https://cdn.test/ä?x=%2F",
        "image/webp",
        "a rewritten fox",
    )
    assert harness.image(call_id, 1).state == ImageState.QUARANTINED


def test_a_seed_of_the_reply_is_kept_where_none_was_sent(harness: Any) -> None:
    import dataclasses

    (item,) = harness.plan(1)
    harness.ledger.items.claim([item])
    intent = dataclasses.replace(harness.intent(item), seed=None)
    harness.ledger.calls.begin(intent)
    harness.ledger.calls.settle(intent.id, Answered(answer().images, 1, "reply", seed=2**70))
    assert harness.call(intent.id).seed == str(2**70)


def test_text_that_no_database_holds_does_not_keep_a_paid_reply_out(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    image = NewImage(0, "https://cdn.test/\x00", "image/\ud800", "half \udfff a pair, a NUL \x00")
    assert harness.ledger.calls.settle(call_id, Answered([image], 1, "reply", None, 200, "\x00", "\ud800"))
    assert harness.image(call_id).revised_prompt == "half ? a pair, a NUL \ufffd"
    other = harness.send(harness.plan(1, prefix="owl")[0])
    assert harness.ledger.calls.settle(other, Refused("NUL \x00"))


def test_a_reply_is_recorded_once(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    assert harness.ledger.calls.settle(call_id, answer())
    for again in (answer(2), Unknown("late"), Refused("late", 7), Unbilled("late", ItemState.FAILED)):
        assert not harness.ledger.calls.settle(call_id, again)
    assert (harness.money(), harness.state(item)) == ((0, PRICE), ItemState.GENERATED)
    assert not harness.ledger.calls.settle("never sent", answer())


def test_a_reply_that_two_processes_record_at_once_counts_once(harness: Any, open_ledger: OpenLedger) -> None:
    ledgers = [harness.ledger, open_ledger(str(harness.ledger.url))]
    for item in harness.plan(20):
        call_id = harness.send(item)
        start = threading.Barrier(2)

        def record(ledger: Ledger, call_id: str = call_id, start: threading.Barrier = start) -> bool:
            start.wait()
            return ledger.calls.settle(call_id, answer()).recorded

        with ThreadPoolExecutor(2) as threads:
            assert sum(threads.map(record, ledgers)) == 1
    assert harness.money() == (0, 20 * PRICE)


def test_nothing_is_sent_without_a_claim(harness: Any, open_ledger: OpenLedger) -> None:
    item, other_item = harness.plan(2)
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST
    open_ledger(str(harness.ledger.url)).items.claim([other_item])
    assert harness.ledger.calls.begin(harness.intent(other_item)) is BeginResult.CLAIM_LOST
    harness.send(item)
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST, "sent twice at once"
    assert harness.money() == (RESERVE, 0)


def test_a_budget_covers_what_is_reserved_and_what_is_spent(harness: Any) -> None:
    harness.start("capped", budget=2 * RESERVE)
    a, b, c = harness.plan(3)
    first = harness.send(a)
    second = harness.send(b)
    harness.ledger.items.claim([c])
    assert harness.ledger.calls.begin(harness.intent(c)) is BeginResult.BUDGET_REACHED
    assert harness.state(c) is ItemState.CLAIMED
    harness.ledger.calls.settle(first, Unbilled("429", ItemState.FAILED))
    harness.ledger.calls.settle(second, Unknown("cut"))
    assert harness.money() == (RESERVE, 0), "an unknown call stays reserved"
    third = harness.send(c)
    harness.ledger.calls.settle(third, answer(1, RESERVE))
    assert harness.money() == (RESERVE, RESERVE)
    harness.ledger.items.release([a])
    assert harness.ledger.items.claim([a])
    assert harness.ledger.calls.begin(harness.intent(a)) is BeginResult.BUDGET_REACHED
    assert harness.ledger.calls.settle(second, Refused("late"))
    assert harness.ledger.calls.begin(harness.intent(a)) is BeginResult.YES


def test_threads_never_pass_a_budget_together(harness: Any) -> None:
    harness.start("capped", budget=10 * RESERVE + 1)
    wanted = harness.plan(40)
    harness.ledger.items.claim(wanted)
    with ThreadPoolExecutor(16) as threads:
        begun = list(threads.map(lambda item: harness.ledger.calls.begin(harness.intent(item)), wanted))
    assert begun.count(BeginResult.YES) == 10
    assert begun.count(BeginResult.BUDGET_REACHED) == 30
    assert harness.money() == (10 * RESERVE, 0)


def test_a_run_that_is_taken_up_again_keeps_what_it_spent(harness: Any) -> None:
    harness.start("capped", budget=2 * RESERVE)
    a, b = harness.plan(2)
    harness.buy(a, 1, RESERVE)
    harness.start("capped", budget=RESERVE)
    harness.ledger.items.claim([b])
    assert harness.ledger.calls.begin(harness.intent(b)) is BeginResult.BUDGET_REACHED


def test_a_late_reply_moves_its_call_from_unknown_to_answered(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    harness.ledger.calls.settle(call_id, Unknown("timed out"))
    harness.ledger.items.release([item])
    assert harness.ledger.calls.settle(call_id, answer(2))
    assert (harness.call(call_id).outcome, harness.state(item)) == (CallOutcome.ANSWERED, ItemState.GENERATED)
    assert harness.call(call_id).reason is None
    assert harness.money() == (0, PRICE)
    assert len(harness.ledger.images.to_deliver([item], destination="file:///a")) == 2


@pytest.mark.parametrize(
    ("outcome", "money"),
    [
        (answer(), (0, 2 * PRICE)),
        (Unknown("cut, too"), (RESERVE, PRICE)),
        (Unbilled("429", ItemState.CLAIMED), (0, PRICE)),
        (Unbilled("429", ItemState.FAILED), (0, PRICE)),
        (Refused("safety", 9), (0, PRICE + 9)),
    ],
)
def test_a_late_reply_while_a_newer_call_is_in_flight(harness: Any, outcome: Outcome, money: tuple[int, int]) -> None:
    (item,) = harness.plan(1)
    first = harness.send(item)
    harness.ledger.calls.settle(first, Unknown("timed out"))
    harness.ledger.items.release([item])
    second = harness.send(item, unknown=UnknownPolicy.RETRY)
    assert harness.ledger.calls.settle(first, answer())
    assert harness.state(item) is ItemState.SENT, "the newer call is still in flight"
    assert harness.ledger.calls.settle(second, outcome)
    assert (harness.state(item), harness.money()) == (ItemState.GENERATED, money)
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST, "bought a third time"
    harness.ledger.items.release([item])
    tasks = harness.ledger.images.to_deliver([item], destination=None)
    assert first in {task.call_id for task in tasks}
    assert (
        harness.ledger.items.claim([item], unknown=UnknownPolicy.RETRY, retry_refused=True)[0].state
        is ItemState.GENERATED
    )


def test_a_late_reply_stops_a_purchase_that_is_about_to_be_sent(harness: Any) -> None:
    (item,) = harness.plan(1)
    first = harness.send(item)
    harness.ledger.calls.settle(first, Unknown("timed out"))
    harness.ledger.items.release([item])
    assert harness.ledger.items.claim([item], unknown=UnknownPolicy.RETRY)
    assert harness.ledger.calls.settle(first, answer())
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST
    assert (harness.state(item), harness.money()) == (ItemState.GENERATED, (0, PRICE))


def test_a_late_reply_after_the_newer_call_was_delivered(harness: Any) -> None:
    """Both are paid, so both are delivered, and the item counts once."""
    (item,) = harness.plan(1)
    first = harness.send(item)
    harness.ledger.calls.settle(first, Unknown("timed out"))
    harness.ledger.items.release([item])
    second = harness.send(item, unknown=UnknownPolicy.RETRY)
    harness.ledger.calls.settle(second, answer())
    harness.ledger.items.release([item])
    harness.finish(second)
    assert harness.state(item) is ItemState.DELIVERED
    harness.ledger.calls.settle(first, answer())
    assert harness.state(item) is ItemState.GENERATED
    harness.finish(first)
    account = harness.ledger.costs.of()
    assert (account.delivered.calls, account.delivered.credits, account.unknown.calls) == (2, 2 * PRICE, 0)


def test_a_log_that_says_failed_frees_an_unknown_item(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    harness.ledger.calls.settle(call_id, Unknown("cut"))
    harness.ledger.items.release([item])
    assert harness.ledger.calls.settle(call_id, Unbilled("the API's log says failed", ItemState.PLANNED))
    assert (harness.state(item), harness.money()) == (ItemState.PLANNED, (0, 0))


def test_a_log_that_says_succeeded_makes_a_lost_item(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    harness.ledger.calls.settle(call_id, Unknown("cut"))
    harness.ledger.items.release([item])
    assert harness.ledger.calls.settle(call_id, Answered([], PRICE, "log"))
    assert (harness.state(item), harness.money()) == (ItemState.LOST, (0, PRICE))
    assert harness.ledger.costs.of().lost.credits == PRICE
    assert harness.ledger.catalog.rows() == []


def test_calls_of_an_item_are_numbered(harness: Any) -> None:
    (item,) = harness.plan(1)
    numbers = []
    for _ in range(3):
        call_id = harness.send(item)
        numbers.append(harness.call(call_id).number)
        harness.ledger.calls.settle(call_id, Unbilled("429", ItemState.CLAIMED))
    assert numbers == [1, 2, 3]


def test_no_image_is_recorded_without_its_money(harness: Any) -> None:
    """A reply that the database refuses changes nothing at all."""
    (item,) = harness.plan(1)
    call_id = harness.send(item)
    twice = Answered([NewImage(0, "a", None, None), NewImage(0, "b", None, None)], PRICE, "reply")
    with pytest.raises(sa.exc.IntegrityError):
        harness.ledger.calls.settle(call_id, twice)
    assert (harness.call(call_id).outcome, harness.money(), harness.state(item)) == (
        "sent",
        (RESERVE, 0),
        ItemState.SENT,
    )
    with harness.ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(images)) == 0


def test_an_intent_that_is_written_twice_is_begun_once(harness: Any) -> None:
    """A commit that broke off may have been one; the writer runs its operation again."""
    (item,) = harness.plan(1)
    harness.ledger.items.claim([item])
    intent = harness.intent(item)
    assert [harness.ledger.calls.begin(intent), harness.ledger.calls.begin(intent)] == [
        BeginResult.YES,
        BeginResult.YES,
    ]
    assert len(harness.rows(calls)) == 1
    assert harness.money() == (RESERVE, 0)
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST
    harness.ledger.calls.settle(intent.id, answer())
    assert harness.ledger.calls.begin(intent) is BeginResult.CLAIM_LOST


def test_a_group_near_the_cap_is_covered_as_far_as_it_goes(harness: Any) -> None:
    harness.start("capped", budget=3 * RESERVE + 1)
    ids = harness.plan(5)
    harness.ledger.items.claim(ids)
    intents = [harness.intent(item_id, reserve=RESERVE if n else 2 * RESERVE) for n, item_id in enumerate(ids)]
    lost = harness.intent("somebody else's")
    begun = harness.ledger.write(lambda connection: begin(connection, [intents[0], lost, *intents[1:]]))
    assert begun == [BeginResult.YES, BeginResult.CLAIM_LOST, BeginResult.YES, *[BeginResult.BUDGET_REACHED] * 3]
    assert harness.money() == (3 * RESERVE, 0)
    assert [harness.state(item_id) for item_id in ids] == [ItemState.SENT] * 2 + [ItemState.CLAIMED] * 3
    again = harness.ledger.write(lambda connection: begin(connection, intents[:2]))
    assert again == [BeginResult.YES] * 2
    assert harness.money() == (3 * RESERVE, 0)
    assert len(harness.rows(calls)) == 2


def test_one_item_is_begun_once_in_a_group(harness: Any) -> None:
    (item_id,) = harness.plan(1)
    harness.ledger.items.claim([item_id])
    begun = harness.ledger.write(
        lambda connection: begin(connection, [harness.intent(item_id), harness.intent(item_id)])
    )
    assert begun == [BeginResult.YES, BeginResult.CLAIM_LOST]
    assert len(harness.rows(calls)) == 1


def test_outcomes_of_every_kind_in_one_group(harness: Any) -> None:
    """What is settled together ends as what is settled one by one."""
    outcomes = [
        answer(2),
        Answered([NewImage(0, None, None, None, "adult")], PRICE, "reply"),
        Refused("safety", 52_000),
        Unbilled("429", ItemState.CLAIMED),
        Unbilled("401", ItemState.PLANNED),
        Unknown("cut"),
    ]
    together, singly = harness.plan(6, prefix="together"), harness.plan(6, prefix="singly")
    harness.start("together")
    sent = [harness.send(item_id) for item_id in together]
    group = [*zip(sent, outcomes, strict=True), (sent[0], answer(5)), ("pi-nobody", answer())]
    settled = harness.ledger.write(lambda connection: settle(connection, group))
    assert [one.recorded for one in settled] == [True] * 6 + [False] * 2
    harness.start("singly")
    alone = [harness.send(item_id) for item_id in singly]
    assert all(harness.ledger.calls.settle(call_id, outcome) for call_id, outcome in zip(alone, outcomes, strict=True))
    assert harness.money("together") == harness.money("singly") == (RESERVE, 2 * PRICE + 52_000)
    ignored = {"id", "item_id", "run_id", "sent_at", "ended_at", "requested_at", "call_id"}

    def facts(call_id: str) -> list[dict[str, Any]]:
        rows = [harness.call(call_id), *(row for row in harness.rows(images) if row.call_id == call_id)]
        return [{name: value for name, value in row._mapping.items() if name not in ignored} for row in rows]

    assert [facts(call_id) for call_id in sent] == [facts(call_id) for call_id in alone]
    assert [harness.state(item_id) for item_id in together] == [harness.state(item_id) for item_id in singly]
    assert harness.state(together[1]) is ItemState.LOST


def test_two_calls_of_one_item_in_one_group(harness: Any) -> None:
    """A late reply and the end of the call that was to replace it: the images stay, nothing is bought again."""
    (item_id,) = harness.plan(1)
    late = harness.send(item_id)
    harness.ledger.calls.settle(late, Unknown("cut"))
    harness.ledger.items.release([item_id])
    newer = harness.send(item_id, unknown=UnknownPolicy.RETRY)
    group = [(newer, Unbilled("429", ItemState.PLANNED)), (late, answer()), (late, answer())]
    settled = harness.ledger.write(lambda connection: settle(connection, group))
    assert [one.recorded for one in settled] == [True, True, False]
    assert harness.state(item_id) is ItemState.GENERATED
    assert harness.money() == (0, PRICE)


def test_few_statements_follow_the_one_that_locks_the_money(harness: Any) -> None:
    """All processes of a run wait for that row until the commit, and each statement is a round trip."""
    ended, next_ = harness.plan(2)
    call_id = harness.send(ended)
    harness.ledger.items.claim([next_])
    intent = harness.intent(next_)
    told: list[str] = []
    sa.event.listen(harness.ledger.engine, "before_cursor_execute", lambda *call: told.append(call[2]))
    begun, settled = harness.ledger.write(lambda connection: record(connection, [intent, (call_id, answer())]))
    assert begun is BeginResult.YES
    assert settled.recorded
    first = next(place for place, statement in enumerate(told) if statement.startswith("UPDATE imagen_runs"))
    assert [statement.split()[:3] for statement in told[first + 1 :]] == [
        ["UPDATE", "imagen_items", "SET"],
        ["UPDATE", "imagen_runs", "SET"],
        ["INSERT", "INTO", "imagen_calls"],
    ]
    assert harness.money() == (RESERVE, PRICE)
