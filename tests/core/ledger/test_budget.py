"""Budgets of runs, days and months: never passed, whoever spends at once, and free again at midnight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import BeginResult, CallOutcome, ItemState, Ledger, Period, Unbilled, Unknown
from prefect_imagen.core.ledger.schema import budget_windows, calls

from ..conftest import PRICE, RESERVE, LedgerHarness, answer


class Clock:
    """Stands in for the moment a call is sent at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment = datetime(2026, 3, 30, 12, tzinfo=UTC)
        for module in ("calls", "budgets"):
            monkeypatch.setattr(f"prefect_imagen.core.ledger.{module}.datetime", self._class())

    def _class(self) -> Any:
        clock = self

        class Now(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return clock.moment.astimezone(tz)

        return Now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def begin(harness: LedgerHarness, item: str) -> BeginResult:
    if harness.state(item) is not ItemState.CLAIMED:
        harness.ledger.items.claim([item])
    return harness.ledger.calls.begin(harness.intent(item))


def test_a_day_is_one_budget_for_every_run(harness: LedgerHarness, clock: Clock) -> None:
    harness.ledger.budgets.set(Period.DAY, 3 * RESERVE)
    first = harness.plan(2)
    assert [begin(harness, item) for item in first] == [BeginResult.YES, BeginResult.YES]
    harness.start("other")
    second = harness.plan(2, prefix="owl")
    assert [begin(harness, item) for item in second] == [BeginResult.YES, BeginResult.DAY_BUDGET_REACHED]
    assert harness.state(second[1]) is ItemState.CLAIMED
    assert harness.money() == (RESERVE, 0), "what the day does not cover is not reserved in the run, either"
    (day,) = harness.ledger.budgets.states("other")
    assert (day.reserved, day.spent, day.left, day.window) == (3 * RESERVE, 0, 0, "2026-03-30")
    assert day.frees_at == datetime(2026, 3, 31, tzinfo=UTC)
    clock.moment += timedelta(days=1)
    assert begin(harness, second[1]) is BeginResult.YES


def test_a_budget_for_a_provider_counts_what_is_bought_there(harness: LedgerHarness, clock: Clock) -> None:
    def send(item: str, provider: str) -> BeginResult:
        if harness.state(item) is not ItemState.CLAIMED:
            harness.ledger.items.claim([item])
        intent = replace(harness.intent(item), provider=provider)
        begun = harness.ledger.calls.begin(intent)
        sent[item] = intent.id
        return begun

    sent: dict[str, str] = {}
    items = harness.plan(6)
    assert send(items[0], "fal") is BeginResult.YES
    budgets = harness.ledger.budgets
    budgets.set(Period.DAY, 2 * RESERVE, provider="fal")
    assert not budgets.bound_everything()
    budgets.set(Period.DAY, 4 * RESERVE)
    assert budgets.bound_everything()
    assert [send(item, "openai") for item in items[1:3]] == [BeginResult.YES] * 2, "they do not count there"
    assert send(items[3], "fal") is BeginResult.YES
    assert send(items[4], "openai") is BeginResult.DAY_BUDGET_REACHED, "but all count together"
    budgets.set(Period.DAY, 9 * RESERVE)
    assert send(items[5], "fal") is BeginResult.DAY_BUDGET_REACHED
    assert send(items[4], "openai") is BeginResult.YES
    harness.ledger.calls.settle(sent[items[0]], answer(1, PRICE))
    harness.ledger.calls.settle(sent[items[1]], answer(1, PRICE))
    every, fal = budgets.states()
    assert (every.provider, every.spent, every.reserved) == (None, 2 * PRICE, 3 * RESERVE)
    assert (fal.provider, fal.spent, fal.reserved) == ("fal", PRICE, RESERVE)
    assert "budget for fal" in str(fal)
    budgets.clear(Period.DAY, provider="fal")
    assert [state.provider for state in budgets.states()] == [None]


def test_what_is_settled_is_counted_where_it_was_sent(harness: LedgerHarness, clock: Clock) -> None:
    harness.ledger.budgets.set(Period.DAY, 10 * RESERVE)
    harness.ledger.budgets.set(Period.MONTH, 20 * RESERVE)
    items = harness.plan(4)
    late, lost, free = (harness.send(item) for item in items[:3])
    clock.moment += timedelta(days=2)  # April
    harness.send(items[3])
    harness.ledger.calls.settle(late, answer(1, PRICE))
    harness.ledger.calls.settle(lost, Unknown("cut"))
    harness.ledger.calls.settle(free, Unbilled("429", ItemState.PLANNED))
    day, month = harness.ledger.budgets.states()
    assert (day.reserved, day.spent, month.reserved, month.spent) == (RESERVE, 0, RESERVE, 0)
    before = {(row.period, row.window): (row.reserved, row.spent) for row in harness.rows(budget_windows)}
    assert before["day", "2026-03-30"] == before["month", "2026-03"] == (RESERVE, PRICE)
    harness.ledger.calls.settle(lost, answer(1, PRICE))
    after = {(row.period, row.window): (row.reserved, row.spent) for row in harness.rows(budget_windows)}
    assert after["day", "2026-03-30"] == (0, 2 * PRICE)


def test_a_budget_that_is_set_late_counts_from_midnight(harness: LedgerHarness, clock: Clock) -> None:
    bought, unknown, flying, other = harness.plan(4)
    harness.buy(bought)
    harness.ledger.calls.settle(harness.send(unknown), Unknown("cut"))
    harness.send(flying)
    harness.ledger.budgets.set(Period.DAY, PRICE + 2 * RESERVE)
    (day,) = harness.ledger.budgets.states()
    assert (day.spent, day.reserved) == (PRICE, 2 * RESERVE)
    assert begin(harness, other) is BeginResult.DAY_BUDGET_REACHED
    harness.ledger.budgets.set(Period.DAY, PRICE + 3 * RESERVE)
    assert begin(harness, other) is BeginResult.YES
    harness.ledger.budgets.clear(Period.DAY)
    assert harness.ledger.budgets.states() == []


def test_a_day_begins_at_midnight_in_its_time_zone(harness: LedgerHarness, clock: Clock) -> None:
    harness.ledger.budgets.set(Period.DAY, RESERVE, "Pacific/Auckland")
    one, two, three = harness.plan(3)
    assert begin(harness, one) is BeginResult.YES  # 01:00 of the 31st there
    (day,) = harness.ledger.budgets.states()
    assert (day.window, day.frees_at) == ("2026-03-31", datetime(2026, 3, 31, 11, tzinfo=UTC))
    assert "it frees at 2026-04-01 00:00 NZDT" in str(day)
    clock.moment += timedelta(hours=22)
    assert begin(harness, two) is BeginResult.DAY_BUDGET_REACHED
    clock.moment += timedelta(hours=2)
    assert begin(harness, two) is BeginResult.YES
    # Summer time ends on April 5: that day has 25 hours.
    clock.moment = datetime(2026, 4, 4, 12, tzinfo=UTC)
    (day,) = harness.ledger.budgets.states()
    assert day.frees_at is not None
    assert day.frees_at - datetime(2026, 4, 4, 11, tzinfo=UTC) == timedelta(hours=25)
    assert begin(harness, three) is BeginResult.YES


def test_the_tightest_budget_decides_and_the_others_are_given_back(harness: LedgerHarness, clock: Clock) -> None:
    harness.ledger.budgets.set(Period.DAY, 2 * RESERVE)
    harness.ledger.budgets.set(Period.MONTH, RESERVE)
    one, two = harness.plan(2)
    assert [begin(harness, item) for item in (one, two)] == [BeginResult.YES, BeginResult.MONTH_BUDGET_REACHED]
    assert [state.reserved for state in harness.ledger.budgets.states()] == [RESERVE, RESERVE]
    assert harness.money() == (RESERVE, 0)


def test_of_all_that_reserve_at_once_only_as_many_pass_as_fit(
    database: str, open_ledger: Callable[..., Ledger]
) -> None:
    harnesses = []
    for n in range(4):
        harness = LedgerHarness(open_ledger(database), run=f"run {n}")
        harness.start()
        harness.todo = harness.plan(10, prefix=f"fox {n}")
        harnesses.append(harness)
    harnesses[0].ledger.budgets.set(Period.DAY, 15 * RESERVE + RESERVE - 1)
    start = threading.Barrier(4)

    def spend(harness: LedgerHarness) -> int:
        start.wait()
        passed = 0
        for number, item in enumerate(harness.todo):
            harness.ledger.items.claim([item])
            intent = harness.intent(item)
            if harness.ledger.calls.begin(intent) is BeginResult.YES:
                passed += 1
                if number % 2:
                    harness.ledger.calls.settle(intent.id, answer(1, RESERVE))
        return passed

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(spend, harnesses)) == 15
    (day,) = harnesses[0].ledger.budgets.states()
    with harnesses[0].ledger.read() as connection:
        flying = connection.scalar(sa.select(sa.func.count()).where(calls.c.outcome == CallOutcome.SENT))
    assert (day.used, day.reserved) == (15 * RESERVE, flying * RESERVE)


def test_a_budget_may_be_set_while_others_spend(postgres: str, open_ledger: Callable[..., Ledger]) -> None:
    spender, setter = LedgerHarness(open_ledger(postgres)), LedgerHarness(open_ledger(postgres))
    spender.start()
    items = spender.plan(40)
    begun: list[BeginResult] = []

    def spend() -> None:
        begun.extend(begin(spender, item) for item in items)

    thread = threading.Thread(target=spend)
    thread.start()
    while len(begun) < 5:
        assert thread.is_alive()
    setter.ledger.budgets.set(Period.DAY, 20 * RESERVE)
    thread.join()
    assert begun.count(BeginResult.YES) == max(20, begun.index(BeginResult.DAY_BUDGET_REACHED))
    (day,) = setter.ledger.budgets.states()
    assert day.reserved == begun.count(BeginResult.YES) * RESERVE


def test_four_fifths_of_a_budget_are_told_once(harness: LedgerHarness, clock: Clock) -> None:
    harness.start(budget=10 * RESERVE)
    harness.ledger.budgets.set(Period.MONTH, 10 * RESERVE)
    items = harness.plan(10)
    for item in items[:7]:
        harness.send(item)
    assert harness.ledger.budgets.pop_warnings("run") == []
    harness.send(items[7])
    told = harness.ledger.budgets.pop_warnings("run")
    assert [warning.state.period for warning in told] == [Period.RUN, Period.MONTH]
    assert told[0].state.used == 8 * RESERVE
    harness.send(items[8])
    assert harness.ledger.budgets.pop_warnings("run") == []
    clock.moment += timedelta(days=31)
    assert harness.ledger.budgets.pop_warnings("run") == []


def test_what_cannot_be_a_budget_is_refused(harness: LedgerHarness) -> None:
    with pytest.raises(BadInput, match="not a time zone"):
        harness.ledger.budgets.set(Period.DAY, 1, "Mars/Olympus")
    with pytest.raises(BadInput, match="--budget-usd"):
        harness.ledger.budgets.set(Period.RUN, 1)
