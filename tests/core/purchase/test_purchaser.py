"""Budget, stopping, the gate, the spool: what lies around a paid call."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.delivery import Spool
from prefect_imagen.core.errors import Unavailable
from prefect_imagen.core.files import SpoolUnavailable
from prefect_imagen.core.ledger import BeginResult, CallIntent, LedgerUnavailable, Period
from prefect_imagen.core.ledger.calls import Calls
from prefect_imagen.core.ledger.schema import calls
from prefect_imagen.core.ledger.states import CallOutcome
from prefect_imagen.core.limits import BalanceGuard, CallLimiter, HealthGate, StopReason
from prefect_imagen.core.providers import RawReply
from prefect_imagen.core.purchase import ReplySpool, recover_replies
from prefect_imagen.core.storage import StoreNotUsable
from prefect_imagen.sandbox.process import SandboxServer

from ...waiting import until, until_steady

PRICE, RESERVE = 104_000, 106_000
MakeHarness = Callable[..., Any]


@pytest.mark.parametrize("affordable", [0, 1, 7])
def test_a_budget_is_never_passed(make_harness: MakeHarness, affordable: int) -> None:
    harness = make_harness(30, budget=affordable * RESERVE + RESERVE - 1)
    harness.buy_all()
    account = harness.reconcile()
    assert harness.halt.reason is StopReason.BUDGET
    assert account.billed_at_most <= affordable * RESERVE + RESERVE - 1
    # Prices settle below what was reserved, so that at times one more is affordable.
    assert affordable <= harness.states().get("generated", 0) <= affordable + 1
    assert sum(harness.states().values()) == 30


def test_unknown_calls_count_against_the_budget(make_harness: MakeHarness) -> None:
    harness = make_harness(10, budget=5 * RESERVE)
    harness.sandbox.set_faults([{"fault": "cut_after_billing"}])
    harness.buy_all()
    assert harness.states() == {"unknown": 5, "planned": 5}
    assert harness.reconcile().billed_at_most == 5 * RESERVE


def test_what_is_halted_before_is_not_sent(make_harness: MakeHarness) -> None:
    harness = make_harness(5)
    harness.halt.set(StopReason.STOPPED, "SIGTERM")
    harness.buy_all()
    assert harness.states() == {"planned": 5}
    assert harness.sandbox.calls() == []


def test_no_paid_call_while_the_store_is_away(make_harness: MakeHarness) -> None:
    def probe() -> None:
        raise Unavailable("the store is away")

    harness = make_harness(5, gate=HealthGate(probe, patience=0))
    harness.buy_all()
    assert (harness.halt.reason, harness.halt.message) == (StopReason.STORE, "the store is away")
    assert harness.sandbox.calls() == []
    assert harness.states() == {"planned": 5}


def test_no_paid_call_when_the_store_became_unusable(make_harness: MakeHarness) -> None:
    def probe() -> None:
        raise StoreNotUsable("the bucket is gone")

    harness = make_harness(5, gate=HealthGate(probe, patience=60))
    harness.buy_all()
    assert harness.halt.reason is StopReason.STORE
    assert harness.sandbox.calls() == []


def test_no_paid_call_while_the_ledger_is_away(make_harness: MakeHarness) -> None:
    harness = make_harness(1)
    (claimed,) = harness.ledger.items.claim(harness.items)
    harness.ledger.close()
    with pytest.raises(LedgerUnavailable):
        harness.purchaser().buy(claimed)
    assert harness.sandbox.calls() == []


def test_a_database_that_goes_away_in_the_middle_is_waited_for(make_harness: MakeHarness, own_postgres: Any) -> None:
    """Nothing is sent while it is away; every reply that came meanwhile is recorded when it is back."""
    harness = make_harness(60, database=own_postgres.url())
    harness.ledger.be_patient(60)
    harness.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.5, "after": 15}])
    away, turns, begin = threading.Event(), itertools.count(1), harness.ledger.calls.begin

    def begin_before_or_while_away(intent: CallIntent) -> BeginResult:
        assert next(turns) <= 20 or away.wait(60)
        return begin(intent)  # type: ignore[no-any-return]

    harness.ledger.calls.begin = begin_before_or_while_away

    def billed() -> int:
        return len(harness.sandbox.bill()["entries"])

    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(harness.buy_all)
        until(lambda: billed() >= 15, "15 billed calls", pause=0.01)
        own_postgres.stop()
        away.set()
        assert until_steady(billed, "the bill while the database is away") <= 20, "bought without an account"
        own_postgres.start()
        buying.result(60)
    assert harness.states() == {"generated": 60}
    assert harness.reconcile().billed == 60 * PRICE
    assert len(harness.sandbox.calls()) == 60


def test_a_403_with_money_left_is_about_one_request(make_harness: MakeHarness) -> None:
    harness = make_harness(20)
    harness.sandbox.set_faults([{"fault": "out_of_credit", "match": {"prompt_contains": "number 7"}}])
    harness.buy_all()
    harness.reconcile()
    assert harness.halt.reason is None
    assert harness.states() == {"generated": 19, "refused": 1}


def test_a_403_below_the_price_ends_the_run_at_once(make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = make_harness(20)
    monkeypatch.setattr(type(harness.client), "balance", lambda _client: RESERVE - 1)
    harness.balance = BalanceGuard(harness.client.balance)
    harness.limiter = CallLimiter(1, None, harness.halt)
    harness.sandbox.set_faults([{"fault": "out_of_credit", "after": 5}])
    harness.buy_all()
    harness.reconcile()
    assert harness.halt.reason is StopReason.CREDIT
    assert harness.states() == {"generated": 5, "planned": 15}
    assert len(harness.sandbox.calls()) == 6


@pytest.mark.parametrize("left", [None, 10**9], ids=["balance unknown", "balance fine"])
def test_three_403s_in_a_row_end_the_run_and_refuse_nothing(make_harness: MakeHarness, left: int | None) -> None:
    """The cap of a key, say: what was taken for two items' own matter is taken back."""
    harness = make_harness(20)
    harness.balance = BalanceGuard(lambda: left)
    harness.limiter = CallLimiter(1, None, harness.halt)
    harness.sandbox.set_faults([{"fault": "out_of_credit", "after": 5}])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.halt.reason is StopReason.CREDIT
    assert harness.states() == {"generated": 5, "planned": 15}
    assert len(harness.sandbox.calls()) == 8
    assert account.unbilled.calls == 3


def test_a_balance_that_runs_out_is_the_end_of_the_run(make_harness: MakeHarness, tmp_path: Path) -> None:
    with SandboxServer(pictures="fast", balance_usd=0.53) as poor:
        harness = make_harness(20, base_url=poor.base_url)
        harness.sandbox = poor
        harness.buy_all()
        assert harness.halt.reason is StopReason.CREDIT
        assert harness.states() == {"generated": 10, "planned": 10}
        assert harness.reconcile().billed == 10 * PRICE


def test_a_spool_over_its_cap_pauses_the_buying(make_harness: MakeHarness, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "ledger", max_bytes=50_000)
    (spool.images / "paid and not stored").write_bytes(b"x" * 60_000)
    probes = 0

    def probe() -> None:
        nonlocal probes
        probes += 1
        spool.check()

    harness = make_harness(10, spool_gate=HealthGate(probe, patience=60))
    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(harness.buy_all)
        until(lambda: probes >= 2, "a second look for room in the spool")
        assert harness.sandbox.calls() == []
        spool.discard("paid and not stored")
        buying.result(60)
    assert harness.states() == {"generated": 10}


def test_a_spool_that_stays_over_its_cap_ends_the_run(make_harness: MakeHarness, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "ledger", max_bytes=50_000)
    (spool.images / "paid and not stored").write_bytes(b"x" * 60_000)
    harness = make_harness(10, spool_gate=HealthGate(spool.check, patience=0))
    harness.buy_all()
    assert harness.halt.reason is StopReason.SPOOL
    assert "60,000 bytes" in harness.halt.message
    assert harness.sandbox.calls() == []
    assert harness.states() == {"planned": 10}


def test_a_disk_that_was_full_for_a_while_loses_no_reply(make_harness: MakeHarness, tmp_path: Path) -> None:
    """Base64: the reply is the image. It is held in memory until there is room; meanwhile nothing is sent."""
    spool = Spool(tmp_path / "spool", "ledger")
    harness = make_harness(30, spool_gate=HealthGate(spool.check, patience=60), convert_base64_to_url=False)
    harness.replies = spool.replies
    full, original = threading.Event(), ReplySpool.save
    turns = itertools.count(1)

    def save(replies: ReplySpool, call_id: str, raw: RawReply) -> None:
        if next(turns) == 10:
            full.set()
        if full.is_set():
            raise OSError(28, "No space left on device")
        original(replies, call_id, raw)

    def probe() -> None:
        if full.is_set():
            raise SpoolUnavailable("full")

    harness.spool_gate = HealthGate(probe, patience=60)
    harness.replies.save = save.__get__(harness.replies)  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(harness.buy_all)
        assert full.wait(60)
        assert until_steady(lambda: len(harness.sandbox.calls()), "the calls while the disk is full") < 30
        full.clear()
        buying.result(60)
    harness.reconcile()
    assert harness.states() == {"generated": 30}
    assert len(list(harness.replies.call_ids())) == 30


def test_never_more_calls_in_flight_than_allowed(make_harness: MakeHarness) -> None:
    harness = make_harness(40)
    # The first three meet in any case.
    harness.sandbox.set_faults([{"fault": "slow_reply", "seconds": 1, "times": 3}])
    harness.limiter = CallLimiter(3, None, harness.halt)
    harness.buy_all()
    assert harness.sandbox.stats()["max_in_flight"] == 3


def test_the_seed_is_derived_and_the_same_on_every_try(make_harness: MakeHarness) -> None:
    harness = make_harness(3)
    harness.sandbox.set_faults([{"fault": "rate_limited", "times": 3}])
    harness.buy_all()
    by_item: dict[str, set[str]] = {}
    for call in harness.calls():
        by_item.setdefault(call.item_id, set()).add(call.seed)
    assert all(len(seeds) == 1 for seeds in by_item.values())
    assert len(set.union(*by_item.values())) == 3


def crash_between_keep_and_settle(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies with its reply on disk and not in the ledger."""

    def died(*_: Any, **__: Any) -> None:
        raise LedgerUnavailable("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Calls, "settle", died)
        with pytest.raises(LedgerUnavailable, match="killed here"):
            harness.buy_all()


@pytest.mark.parametrize("reap_first", [True, False])
def test_a_spooled_reply_is_recorded_by_the_next_process(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, reap_first: bool
) -> None:
    dead = make_harness(1)
    crash_between_keep_and_settle(dead, monkeypatch)
    assert dead.states() == {"sent": 1}
    assert len(list(dead.replies.call_ids())) == 1
    alive = make_harness(1)
    assert recover_replies(alive.ledger, alive.replies) == 0, "the reply of a process that is alive was taken from it"
    assert len(list(dead.replies.call_ids())) == 1
    dead.ledger.close()
    if reap_first:
        alive.ledger.release_dead_workers()
        assert alive.states() == {"unknown": 1}
    assert recover_replies(alive.ledger, alive.replies) == 1
    assert alive.states() == {"generated": 1}
    assert alive.reconcile().billed == PRICE
    assert len(alive.ledger.images.to_deliver(alive.items, destination=None)) == 1
    assert recover_replies(alive.ledger, alive.replies) == 0
    assert len(list(dead.replies.call_ids())) == 1, "dropped before its images were dealt with"


@pytest.mark.parametrize("name", ["safety_block", "html_200"])
def test_spooled_replies_without_images_are_recorded_and_cleared_away(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    dead = make_harness(1)
    dead.sandbox.set_faults([{"fault": name}])
    crash_between_keep_and_settle(dead, monkeypatch)
    dead.ledger.close()
    alive = make_harness(1)
    alive.ledger.release_dead_workers()
    assert recover_replies(alive.ledger, alive.replies) == 1
    assert alive.states() == {"refused" if name == "safety_block" else "unknown": 1}
    assert list(alive.replies.call_ids()) == []
    alive.reconcile()


def test_replies_of_another_ledger_are_left_alone(make_harness: MakeHarness) -> None:
    harness = make_harness(1)
    harness.replies.save("pi-of-somebody-else", RawReply(200, {}, b"{}"))
    assert recover_replies(harness.ledger, harness.replies) == 0
    assert list(harness.replies.call_ids()) == ["pi-of-somebody-else"]


def test_base64_goes_through_the_spool(make_harness: MakeHarness) -> None:
    harness = make_harness(2, convert_base64_to_url=False)
    harness.buy_all()
    harness.reconcile()
    tasks = harness.ledger.images.to_deliver(harness.items, destination=None)
    assert [task.source_url for task in tasks] == [None, None]
    raw = harness.replies.load(tasks[0].call_id)
    assert raw.read().images[0].base64.startswith("iVBOR")


def test_a_spool_that_cannot_be_written_ends_the_run_and_loses_nothing(
    make_harness: MakeHarness, tmp_path: Path
) -> None:
    harness = make_harness(20)
    harness.replies.folder.rmdir()
    harness.replies.folder.write_text("not a folder")
    harness.buy_all()
    harness.reconcile()
    assert harness.halt.reason is StopReason.SPOOL
    assert "spool" in harness.halt.message
    assert 1 <= harness.states()["generated"] <= 8
    assert sum(harness.states().values()) == 20


def test_a_budget_waits_for_calls_in_flight_that_leave_some_of_it(make_harness: MakeHarness) -> None:
    harness = make_harness(12, budget=6 * RESERVE)
    harness.sandbox.set_faults([{"fault": "server_error", "times": 4}])
    harness.policy = harness.policy.model_copy(update={"trust_unbilled_5xx": True})
    harness.buy_all()
    account = harness.reconcile()
    assert harness.halt.reason is StopReason.BUDGET
    # Eight threads reserve all of it at once; four of their calls cost nothing, and leave room for as many more.
    assert account.delivered.calls + account.generated.calls == 6
    assert "run's budget of" in harness.halt.message


def test_a_day_that_is_used_up_ends_the_run_by_name(make_harness: MakeHarness) -> None:
    harness = make_harness(6)
    harness.ledger.budgets.set(Period.DAY, 3 * RESERVE, "Europe/Berlin")
    harness.buy_all()
    assert harness.halt.reason is StopReason.BUDGET
    assert "day's budget of $0.159" in harness.halt.message
    assert "Europe/Berlin" in harness.halt.message
    assert "it frees at" in harness.halt.message
    assert harness.states() == {"planned": 3, "generated": 3}
    harness.reconcile()
    harness.ledger.budgets.clear(Period.DAY)
    again = make_harness(6)
    again.buy_all()
    assert again.states() == {"generated": 6}


def test_a_reply_is_on_the_disk_before_the_ledger_is_told_of_it(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(60)
    flushed: set[str] = set()
    commits: list[int] = []
    fdatasync = os.fdatasync

    def flush(descriptor: int) -> None:
        appended = set(ReplySpool(harness.replies.folder).call_ids())
        fdatasync(descriptor)
        flushed.update(appended)

    monkeypatch.setattr(os, "fdatasync", flush)

    @sa.event.listens_for(harness.ledger.calls._database.engine, "commit")
    def look(connection: Any) -> None:
        answered = set(connection.scalars(sa.select(calls.c.id).where(calls.c.outcome == CallOutcome.ANSWERED)))
        commits.append(len(answered))
        assert answered <= flushed

    harness.buy_all()
    harness.reconcile()
    assert (harness.states(), len(flushed)) == ({"generated": 60}, 60)
    assert commits[-1] == 60
