"""Two runs that want the same items: each is bought once, and who has to wait says for whom."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prefect_imagen.core.ledger import Item, Ledger, RunItem, RunSpec

from ..bill import check_bill
from .conftest import FlowHarness

MODEL = "google/imagen4/preview"


@pytest.fixture
def wait(alone: FlowHarness) -> Callable[[float], None]:
    """Sets how long a run waits for others."""

    def set_to(seconds: float) -> None:
        alone.defaults["wait_for_others"] = seconds

    return set_to


@pytest.fixture
def other(alone: FlowHarness) -> Iterator[Ledger]:
    """Another process, as the ledger sees it, that has taken up the first three of six prompts."""
    ledger = Ledger(str(alone.database))
    ledger.runs.start(RunSpec("elsewhere", MODEL, flow_run_name="swift-fox", destination="s3://x/y"))
    rows = [RunItem(n, Item(MODEL, f"shared {n}", {}), "x", n) for n in range(3)]
    ledger.runs.add_items("elsewhere", rows)
    assert len(ledger.items.claim([row.item.id for row in rows])) == 3
    yield ledger
    ledger.close()


def prompts(count: int) -> list[str]:
    return [f"shared {n}" for n in range(count)]


def test_what_stays_held_is_reported_with_its_holder(either: FlowHarness, other: Ledger, wait: Any) -> None:
    wait(1.5)
    report = either.run(prompts(6))
    assert (report.outcome, report.held, report.delivered) == ("Incomplete", 3, 3)
    assert "3 items are held: 3 by run swift-fox (process " in report.message
    assert {item.reason for item in report.open if item.state == "claimed"} == {
        report.message.partition("3 by ")[2].join(["held by ", ""])
    }
    assert report.as_dict()["held"] == 3
    assert len(either.billed()) == 3
    either.assert_sum_closes()


def test_what_comes_free_in_time_is_taken_up(either: FlowHarness, other: Ledger, wait: Any) -> None:
    wait(60)
    timer = threading.Timer(4, other.close)
    timer.start()
    report = either.run(prompts(6))
    timer.join()
    assert (report.outcome, report.held, report.delivered) == ("Completed", 0, 6)
    assert len(either.billed()) == 6
    either.assert_sum_closes()


def test_two_runs_at_once_in_one_process_buy_everything_once(harness: FlowHarness, wait: Any) -> None:
    wait(60)
    with ThreadPoolExecutor(2) as threads:
        # Prefect's settings are the context's, which threads do not inherit.
        run = functools.partial(harness.run, prompts(40), chunk_size=5)
        futures = [threads.submit(contextvars.copy_context().run, run) for _ in range(2)]
        reports = [future.result() for future in futures]
    assert [report.outcome for report in reports] == ["Completed"] * 2
    assert len(harness.billed()) == 40
    assert sum(report.account.delivered.calls for report in reports) == 40
    check_bill(harness.ledger, harness.sandbox, settled=True)
    assert len(harness.objects()) == 40
