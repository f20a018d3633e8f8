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
    UnknownPolicy,
)
from prefect_imagen.core.ledger.calls import begin, settle
from prefect_imagen.core.ledger.schema import calls, images

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
    shop: Any, outcome: Outcome, call_state: str, billed: bool | None, money: tuple[int, int], item_state: str
) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    assert shop.money() == (RESERVE, 0)
    assert (shop.state(item), shop.call(call_id).outcome) == (ItemState.SENT, "sent")
    assert shop.ledger.calls.settle(call_id, outcome)
    call = shop.call(call_id)
    assert (call.outcome, call.billed, shop.money(), shop.state(item)) == (call_state, billed, money, item_state)
    assert call.settled == (None if billed is None else money[1])
    assert call.ended_at is not None


def test_everything_a_reply_tells_is_kept(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    image = NewImage(0, "https://cdn.test/ä?x=%2F", "image/webp", "a rewritten fox")
    blank = NewImage(1, None, None, None, blocked="marked")
    shop.ledger.calls.settle(call_id, Answered([image, blank], 5, "price list", 2**70, 201, "inf", "req"))
    call = shop.call(call_id)
    assert (call.returned, call.cost_source, call.http_status) == (2, "price list", 201)
    assert (call.inference_id, call.request_id, call.seed) == ("inf", "req", "7")
    kept = shop.image(call_id)
    assert (kept.source_url, kept.content_type, kept.revised_prompt) == (
        "https://cdn.test/ä?x=%2F",
        "image/webp",
        "a rewritten fox",
    )
    assert shop.image(call_id, 1).state == ImageState.QUARANTINED


def test_a_seed_of_the_reply_is_kept_where_none_was_sent(shop: Any) -> None:
    import dataclasses

    (item,) = shop.plan(1)
    shop.ledger.items.claim([item])
    intent = dataclasses.replace(shop.intent(item), seed=None)
    shop.ledger.calls.begin(intent)
    shop.ledger.calls.settle(intent.id, Answered(answer().images, 1, "reply", seed=2**70))
    assert shop.call(intent.id).seed == str(2**70)


def test_text_that_no_database_holds_does_not_keep_a_paid_reply_out(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    image = NewImage(0, "https://cdn.test/\x00", "image/\ud800", "half \udfff a pair, a NUL \x00")
    assert shop.ledger.calls.settle(call_id, Answered([image], 1, "reply", None, 200, "\x00", "\ud800"))
    assert shop.image(call_id).revised_prompt == "half ? a pair, a NUL \ufffd"
    other = shop.send(shop.plan(1, prefix="owl")[0])
    assert shop.ledger.calls.settle(other, Refused("NUL \x00"))


def test_a_reply_is_recorded_once(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    assert shop.ledger.calls.settle(call_id, answer())
    for again in (answer(2), Unknown("late"), Refused("late", 7), Unbilled("late", ItemState.FAILED)):
        assert not shop.ledger.calls.settle(call_id, again)
    assert (shop.money(), shop.state(item)) == ((0, PRICE), ItemState.GENERATED)
    assert not shop.ledger.calls.settle("never sent", answer())


def test_a_reply_that_two_processes_record_at_once_counts_once(shop: Any, open_ledger: OpenLedger) -> None:
    ledgers = [shop.ledger, open_ledger(str(shop.ledger.url))]
    for item in shop.plan(20):
        call_id = shop.send(item)
        start = threading.Barrier(2)

        def record(ledger: Ledger, call_id: str = call_id, start: threading.Barrier = start) -> bool:
            start.wait()
            return ledger.calls.settle(call_id, answer())

        with ThreadPoolExecutor(2) as threads:
            assert sum(threads.map(record, ledgers)) == 1
    assert shop.money() == (0, 20 * PRICE)


def test_nothing_is_sent_without_a_claim(shop: Any, open_ledger: OpenLedger) -> None:
    item, other_item = shop.plan(2)
    assert shop.ledger.calls.begin(shop.intent(item)) is BeginResult.CLAIM_LOST
    open_ledger(str(shop.ledger.url)).items.claim([other_item])
    assert shop.ledger.calls.begin(shop.intent(other_item)) is BeginResult.CLAIM_LOST
    shop.send(item)
    assert shop.ledger.calls.begin(shop.intent(item)) is BeginResult.CLAIM_LOST, "sent twice at once"
    assert shop.money() == (RESERVE, 0)


def test_a_budget_covers_what_is_reserved_and_what_is_spent(shop: Any) -> None:
    shop.start("capped", budget=2 * RESERVE)
    a, b, c = shop.plan(3)
    first = shop.send(a)
    second = shop.send(b)
    shop.ledger.items.claim([c])
    assert shop.ledger.calls.begin(shop.intent(c)) is BeginResult.BUDGET_REACHED
    assert shop.state(c) is ItemState.CLAIMED
    shop.ledger.calls.settle(first, Unbilled("429", ItemState.FAILED))
    shop.ledger.calls.settle(second, Unknown("cut"))
    assert shop.money() == (RESERVE, 0), "an unknown call stays reserved"
    third = shop.send(c)
    shop.ledger.calls.settle(third, answer(1, RESERVE))
    assert shop.money() == (RESERVE, RESERVE)
    shop.ledger.items.release([a])
    assert shop.ledger.items.claim([a])
    assert shop.ledger.calls.begin(shop.intent(a)) is BeginResult.BUDGET_REACHED
    assert shop.ledger.calls.settle(second, Refused("late"))
    assert shop.ledger.calls.begin(shop.intent(a)) is BeginResult.YES


def test_threads_never_pass_a_budget_together(shop: Any) -> None:
    shop.start("capped", budget=10 * RESERVE + 1)
    wanted = shop.plan(40)
    shop.ledger.items.claim(wanted)
    with ThreadPoolExecutor(16) as threads:
        begun = list(threads.map(lambda item: shop.ledger.calls.begin(shop.intent(item)), wanted))
    assert begun.count(BeginResult.YES) == 10
    assert begun.count(BeginResult.BUDGET_REACHED) == 30
    assert shop.money() == (10 * RESERVE, 0)


def test_a_run_that_is_taken_up_again_keeps_what_it_spent(shop: Any) -> None:
    shop.start("capped", budget=2 * RESERVE)
    a, b = shop.plan(2)
    shop.buy(a, 1, RESERVE)
    shop.start("capped", budget=RESERVE)
    shop.ledger.items.claim([b])
    assert shop.ledger.calls.begin(shop.intent(b)) is BeginResult.BUDGET_REACHED


def test_a_late_reply_moves_its_call_from_unknown_to_answered(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    shop.ledger.calls.settle(call_id, Unknown("timed out"))
    shop.ledger.items.release([item])
    assert shop.ledger.calls.settle(call_id, answer(2))
    assert (shop.call(call_id).outcome, shop.state(item)) == (CallOutcome.ANSWERED, ItemState.GENERATED)
    assert shop.call(call_id).reason is None
    assert shop.money() == (0, PRICE)
    assert len(shop.ledger.images.to_deliver([item], destination="file:///a")) == 2


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
def test_a_late_reply_while_a_newer_call_is_in_flight(shop: Any, outcome: Outcome, money: tuple[int, int]) -> None:
    (item,) = shop.plan(1)
    first = shop.send(item)
    shop.ledger.calls.settle(first, Unknown("timed out"))
    shop.ledger.items.release([item])
    second = shop.send(item, unknown=UnknownPolicy.RETRY)
    assert shop.ledger.calls.settle(first, answer())
    assert shop.state(item) is ItemState.SENT, "the newer call is still in flight"
    assert shop.ledger.calls.settle(second, outcome)
    assert (shop.state(item), shop.money()) == (ItemState.GENERATED, money)
    assert shop.ledger.calls.begin(shop.intent(item)) is BeginResult.CLAIM_LOST, "bought a third time"
    shop.ledger.items.release([item])
    tasks = shop.ledger.images.to_deliver([item], destination=None)
    assert first in {task.call_id for task in tasks}
    assert (
        shop.ledger.items.claim([item], unknown=UnknownPolicy.RETRY, retry_refused=True)[0].state is ItemState.GENERATED
    )


def test_a_late_reply_stops_a_purchase_that_is_about_to_be_sent(shop: Any) -> None:
    (item,) = shop.plan(1)
    first = shop.send(item)
    shop.ledger.calls.settle(first, Unknown("timed out"))
    shop.ledger.items.release([item])
    assert shop.ledger.items.claim([item], unknown=UnknownPolicy.RETRY)
    assert shop.ledger.calls.settle(first, answer())
    assert shop.ledger.calls.begin(shop.intent(item)) is BeginResult.CLAIM_LOST
    assert (shop.state(item), shop.money()) == (ItemState.GENERATED, (0, PRICE))


def test_a_late_reply_after_the_newer_call_was_delivered(shop: Any) -> None:
    """Both are paid, so both are delivered, and the item counts once."""
    (item,) = shop.plan(1)
    first = shop.send(item)
    shop.ledger.calls.settle(first, Unknown("timed out"))
    shop.ledger.items.release([item])
    second = shop.send(item, unknown=UnknownPolicy.RETRY)
    shop.ledger.calls.settle(second, answer())
    shop.ledger.items.release([item])
    shop.finish(second)
    assert shop.state(item) is ItemState.DELIVERED
    shop.ledger.calls.settle(first, answer())
    assert shop.state(item) is ItemState.GENERATED
    shop.finish(first)
    account = shop.ledger.costs.of()
    assert (account.delivered.calls, account.delivered.credits, account.unknown.calls) == (2, 2 * PRICE, 0)


def test_a_log_that_says_failed_frees_an_unknown_item(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    shop.ledger.calls.settle(call_id, Unknown("cut"))
    shop.ledger.items.release([item])
    assert shop.ledger.calls.settle(call_id, Unbilled("the API's log says failed", ItemState.PLANNED))
    assert (shop.state(item), shop.money()) == (ItemState.PLANNED, (0, 0))


def test_a_log_that_says_succeeded_makes_a_lost_item(shop: Any) -> None:
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    shop.ledger.calls.settle(call_id, Unknown("cut"))
    shop.ledger.items.release([item])
    assert shop.ledger.calls.settle(call_id, Answered([], PRICE, "log"))
    assert (shop.state(item), shop.money()) == (ItemState.LOST, (0, PRICE))
    assert shop.ledger.costs.of().lost.credits == PRICE
    assert shop.ledger.images.catalog() == []


def test_calls_of_an_item_are_numbered(shop: Any) -> None:
    (item,) = shop.plan(1)
    numbers = []
    for _ in range(3):
        call_id = shop.send(item)
        numbers.append(shop.call(call_id).number)
        shop.ledger.calls.settle(call_id, Unbilled("429", ItemState.CLAIMED))
    assert numbers == [1, 2, 3]


def test_no_image_is_recorded_without_its_money(shop: Any) -> None:
    """A reply that the database refuses changes nothing at all."""
    (item,) = shop.plan(1)
    call_id = shop.send(item)
    twice = Answered([NewImage(0, "a", None, None), NewImage(0, "b", None, None)], PRICE, "reply")
    with pytest.raises(sa.exc.IntegrityError):
        shop.ledger.calls.settle(call_id, twice)
    assert (shop.call(call_id).outcome, shop.money(), shop.state(item)) == ("sent", (RESERVE, 0), ItemState.SENT)
    with shop.ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(images)) == 0


def test_an_intent_that_is_written_twice_is_begun_once(shop: Any) -> None:
    """A commit that broke off may have been one; the writer runs its operation again."""
    (item,) = shop.plan(1)
    shop.ledger.items.claim([item])
    intent = shop.intent(item)
    assert [shop.ledger.calls.begin(intent), shop.ledger.calls.begin(intent)] == [BeginResult.YES, BeginResult.YES]
    assert len(shop.rows(calls)) == 1
    assert shop.money() == (RESERVE, 0)
    assert shop.ledger.calls.begin(shop.intent(item)) is BeginResult.CLAIM_LOST
    shop.ledger.calls.settle(intent.id, answer())
    assert shop.ledger.calls.begin(intent) is BeginResult.CLAIM_LOST


def test_a_group_near_the_cap_is_covered_as_far_as_it_goes(shop: Any) -> None:
    shop.start("capped", budget=3 * RESERVE + 1)
    ids = shop.plan(5)
    shop.ledger.items.claim(ids)
    intents = [shop.intent(item_id, reserve=RESERVE if n else 2 * RESERVE) for n, item_id in enumerate(ids)]
    lost = shop.intent("somebody else's")
    begun = shop.ledger.write(lambda connection: begin(connection, [intents[0], lost, *intents[1:]]))
    assert begun == [BeginResult.YES, BeginResult.CLAIM_LOST, BeginResult.YES, *[BeginResult.BUDGET_REACHED] * 3]
    assert shop.money() == (3 * RESERVE, 0)
    assert [shop.state(item_id) for item_id in ids] == [ItemState.SENT] * 2 + [ItemState.CLAIMED] * 3
    again = shop.ledger.write(lambda connection: begin(connection, intents[:2]))
    assert again == [BeginResult.YES] * 2
    assert shop.money() == (3 * RESERVE, 0)
    assert len(shop.rows(calls)) == 2


def test_one_item_is_begun_once_in_a_group(shop: Any) -> None:
    (item_id,) = shop.plan(1)
    shop.ledger.items.claim([item_id])
    begun = shop.ledger.write(lambda connection: begin(connection, [shop.intent(item_id), shop.intent(item_id)]))
    assert begun == [BeginResult.YES, BeginResult.CLAIM_LOST]
    assert len(shop.rows(calls)) == 1


def test_outcomes_of_every_kind_in_one_group(shop: Any) -> None:
    """What is settled together ends as what is settled one by one."""
    outcomes = [
        answer(2),
        Answered([NewImage(0, None, None, None, "adult")], PRICE, "reply"),
        Refused("safety", 52_000),
        Unbilled("429", ItemState.CLAIMED),
        Unbilled("401", ItemState.PLANNED),
        Unknown("cut"),
    ]
    together, singly = shop.plan(6, prefix="together"), shop.plan(6, prefix="singly")
    shop.start("together")
    sent = [shop.send(item_id) for item_id in together]
    group = [*zip(sent, outcomes, strict=True), (sent[0], answer(5)), ("pi-nobody", answer())]
    settled = shop.ledger.write(lambda connection: settle(connection, group))
    assert [one.recorded for one in settled] == [True] * 6 + [False] * 2
    shop.start("singly")
    alone = [shop.send(item_id) for item_id in singly]
    assert all(shop.ledger.calls.settle(call_id, outcome) for call_id, outcome in zip(alone, outcomes, strict=True))
    assert shop.money("together") == shop.money("singly") == (RESERVE, 2 * PRICE + 52_000)
    ignored = {"id", "item_id", "run_id", "sent_at", "ended_at", "call_id"}

    def facts(call_id: str) -> list[dict[str, Any]]:
        rows = [shop.call(call_id), *(row for row in shop.rows(images) if row.call_id == call_id)]
        return [{name: value for name, value in row._mapping.items() if name not in ignored} for row in rows]

    assert [facts(call_id) for call_id in sent] == [facts(call_id) for call_id in alone]
    assert [shop.state(item_id) for item_id in together] == [shop.state(item_id) for item_id in singly]
    assert shop.state(together[1]) is ItemState.LOST


def test_two_calls_of_one_item_in_one_group(shop: Any) -> None:
    """A late reply and the end of the call that was to replace it: the images stay, nothing is bought again."""
    (item_id,) = shop.plan(1)
    late = shop.send(item_id)
    shop.ledger.calls.settle(late, Unknown("cut"))
    shop.ledger.items.release([item_id])
    newer = shop.send(item_id, unknown=UnknownPolicy.RETRY)
    group = [(newer, Unbilled("429", ItemState.PLANNED)), (late, answer()), (late, answer())]
    settled = shop.ledger.write(lambda connection: settle(connection, group))
    assert [one.recorded for one in settled] == [True, True, False]
    assert shop.state(item_id) is ItemState.GENERATED
    assert shop.money() == (0, PRICE)
