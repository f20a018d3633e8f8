"""Of all who want an item exactly one gets it, and what comes to nothing is what it was before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import BeginResult, ImageState, ItemState, Ledger, Refused, Unbilled, Unknown
from prefect_imagen.core.ledger.schema import items
from prefect_imagen.core.request import UnknownPolicy

OpenLedger = Callable[..., Ledger]


def ids(claimed: list[Any]) -> list[str]:
    return [item.id for item in claimed]


def test_eight_threads_win_each_of_300_items_once(harness: Any) -> None:
    wanted = harness.plan(300)
    start = threading.Barrier(8)

    def take(_: int) -> list[str]:
        start.wait()
        won = []
        for place in range(0, 300, 10):
            won += ids(harness.ledger.items.claim(wanted[place : place + 10]))
        return won

    with ThreadPoolExecutor(8) as threads:
        won = [item for part in threads.map(take, range(8)) for item in part]
    assert sorted(won) == sorted(wanted)


def test_holders_in_different_ledger_objects_win_each_item_once(harness: Any, open_ledger: OpenLedger) -> None:
    wanted = harness.plan(120)
    others = [harness.ledger, *(open_ledger(str(harness.ledger.url)) for _ in range(3))]
    start = threading.Barrier(4)

    def take(ledger: Ledger) -> list[str]:
        start.wait()
        return [item for place in range(0, 120, 3) for item in ids(ledger.items.claim(wanted[place : place + 3]))]

    with ThreadPoolExecutor(4) as threads:
        won = [item for part in threads.map(take, others) for item in part]
    assert sorted(won) == sorted(wanted)


def test_a_claim_tells_all_that_is_needed_to_buy(harness: Any) -> None:
    a, b = harness.plan(2, edition="e")
    claimed = harness.ledger.items.claim([b, "not there", a])
    assert ids(claimed) == [b, a]
    assert (claimed[0].prompt, claimed[0].parameters, claimed[0].edition) == ("fox 1", {}, "e")
    assert claimed[0].state is ItemState.CLAIMED is harness.state(a)
    assert harness.ledger.items.claim([a, b]) == []


def test_what_is_released_is_free_again(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    harness.ledger.items.claim([item])
    other = open_ledger(str(harness.ledger.url))
    other.items.release([item])
    assert other.items.claim([item]) == [], "somebody else's claim was released"
    harness.ledger.items.release([item])
    assert harness.state(item) is ItemState.PLANNED
    assert ids(other.items.claim([item])) == [item]


def test_an_item_in_flight_is_not_released(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    call = harness.send(item)
    harness.ledger.items.release([item])
    assert harness.state(item) is ItemState.SENT
    assert open_ledger(str(harness.ledger.url)).items.claim([item], unknown=UnknownPolicy.RETRY) == []
    assert harness.ledger.calls.settle(call, Unbilled("429", ItemState.CLAIMED))
    assert harness.state(item) is ItemState.CLAIMED


@pytest.mark.parametrize("policy", [UnknownPolicy.HOLD, UnknownPolicy.FAIL])
def test_unknown_items_are_left_to_the_policy(harness: Any, policy: UnknownPolicy) -> None:
    (item,) = harness.plan(1)
    harness.ledger.calls.settle(harness.send(item), Unknown("cut"))
    harness.ledger.items.release([item])
    assert list(harness.ledger.items.pending("run", destination="file:///a", unknown=policy)) == []
    assert harness.ledger.items.claim([item], unknown=policy) == []
    assert list(harness.ledger.items.pending("run", destination="file:///a", unknown=UnknownPolicy.RETRY)) == [item]
    assert ids(harness.ledger.items.claim([item], unknown=UnknownPolicy.RETRY)) == [item]


def test_refused_items_are_asked_for_again_only_when_told_so(harness: Any) -> None:
    (item,) = harness.plan(1)
    harness.ledger.calls.settle(harness.send(item), Refused("safety"))
    harness.ledger.items.release([item])
    assert harness.ledger.items.claim([item]) == []
    assert list(harness.ledger.items.pending("run", destination=None, retry_refused=True)) == [item]
    assert ids(harness.ledger.items.claim([item], retry_refused=True)) == [item]


@pytest.mark.parametrize("how", ["release", "release_dead_workers", "unauthorized", "retries spent"])
@pytest.mark.parametrize("before", [ItemState.UNKNOWN, ItemState.REFUSED, ItemState.PLANNED])
def test_an_item_taken_up_again_in_vain_is_what_it_was(harness: Any, how: str, before: ItemState) -> None:
    """Or else an unknown item would be planned, and bought by the next run without its policy being asked."""
    (item,) = harness.plan(1)
    if before is not ItemState.PLANNED:
        outcome = Unknown("cut") if before is ItemState.UNKNOWN else Refused("safety")
        harness.ledger.calls.settle(harness.send(item), outcome)
        harness.ledger.items.release([item])
    harness.ledger.items.claim([item], unknown=UnknownPolicy.RETRY, retry_refused=True)
    if how == "release_dead_workers":
        harness.ledger.close()
        harness.ledger = Ledger(str(harness.ledger.url))
    elif how == "unauthorized":
        harness.ledger.calls.settle(harness.send(item), Unbilled("401", ItemState.PLANNED))
    elif how == "retries spent":
        harness.ledger.calls.settle(harness.send(item), Unbilled("429", ItemState.FAILED))
    harness.ledger.items.release([item])
    failed = ItemState.FAILED if how == "retries spent" and before is ItemState.PLANNED else before
    assert harness.state(item) is failed
    harness.ledger.close()


def test_what_is_paid_for_is_held_and_keeps_its_state(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    harness.buy(item)
    (claimed,) = harness.ledger.items.claim([item])
    assert claimed.state is ItemState.GENERATED
    assert open_ledger(str(harness.ledger.url)).items.claim([item]) == []
    assert harness.ledger.calls.begin(harness.intent(item)) is BeginResult.CLAIM_LOST, (
        "an item that is paid for was bought again"
    )


def test_pending_goes_page_by_page_each_item_once(harness: Any) -> None:
    wanted = harness.plan(25)
    assert harness.plan(25) == wanted, "the second half are duplicates"
    more = harness.plan(3, prefix="owl")
    assert list(harness.ledger.items.pending("run", destination=None, page=7)) == [*wanted, *more]


def test_a_shard_answers_for_what_it_is_given(harness: Any) -> None:
    """An item that occurs in two shards is the first one's: the second is done without it."""
    foxes = harness.plan(5)
    owls = harness.plan(4, prefix="owl")
    assert harness.plan(1) == foxes[:1], "a fox once more, in the second shard"
    first, second = range(5), range(5, 10)
    given = {
        rows: list(harness.ledger.items.pending("run", destination="file:///a", rows=rows)) for rows in (first, second)
    }
    assert given == {first: foxes, second: owls}
    for owl in owls:
        harness.finish(harness.buy(owl))
    assert harness.ledger.runs.row_progress("run", second).items == {ItemState.DELIVERED: 4}
    assert harness.ledger.runs.row_progress("run", first).items == {ItemState.PLANNED: 5}


@pytest.mark.slow
def test_the_work_of_pending_grows_with_the_run_and_no_faster(
    tmp_path: Path, open_ledger: OpenLedger, shop_of: Callable[[Ledger], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps of SQLite's machine, which are the same on every computer: four times the items, not sixteen."""
    steps: dict[int, int] = {}
    for count in (500, 2000):
        ledger = open_ledger(str(tmp_path / f"{count}.db"))
        harness = shop_of(ledger)
        harness.start()
        wanted = harness.plan(count)
        steps[count] = 0

        def step(count: int = count) -> int:
            steps[count] += 1
            return 0

        with ledger.read() as connection:
            sqlite = connection.connection.driver_connection
            assert sqlite is not None
            monkeypatch.setattr(ledger, "ask", lambda question, connection=connection: question(connection))
            pending = ledger.items.pending("run", destination="file:///a", page=count)
            sqlite.set_progress_handler(step, 100)
            found = [next(pending) for _ in range(count)]
            sqlite.set_progress_handler(None, 0)
        assert found == wanted
    assert 100 < steps[2000] < 6 * steps[500], steps


def test_pending_is_what_there_is_something_to_do_for(harness: Any, open_ledger: OpenLedger) -> None:
    planned, generated, delivered, lost, held, failed = harness.plan(6)
    harness.buy(generated)
    harness.finish(harness.buy(delivered))
    harness.finish(harness.buy(lost), ImageState.LOST)
    harness.ledger.calls.settle(harness.send(failed), Unbilled("429", ItemState.FAILED))
    harness.ledger.items.release([failed])
    open_ledger(str(harness.ledger.url)).items.claim([held])
    assert harness.state(lost) is ItemState.LOST
    assert list(harness.ledger.items.pending("run", destination="file:///a")) == [planned, generated, failed]
    # What lies elsewhere is to be copied, for a run that wants it somewhere.
    assert list(harness.ledger.items.pending("run", destination="file:///b")) == [planned, generated, delivered, failed]
    assert list(harness.ledger.items.pending("run", destination=None)) == [planned, generated, failed]


def test_more_ids_than_a_statement_takes_parameters(harness: Any) -> None:
    wanted = harness.plan(1200)
    assert len(harness.ledger.items.claim(wanted)) == 1200
    harness.ledger.items.release(wanted)
    with harness.ledger.read() as connection:
        free = sa.select(sa.func.count()).where(items.c.holder_id.is_(None), items.c.state == ItemState.PLANNED)
        assert connection.scalar(free) == 1200
