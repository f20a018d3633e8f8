"""Limits that processes share through the ledger's database."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import Ledger, LedgerUnavailable, SharedQuota
from prefect_imagen.core.ledger import quotas as module
from prefect_imagen.core.ledger.schema import quota_shares, quotas, workers
from prefect_imagen.core.limits import CallLimiter, Demand, StopSignal, ThrottleEvent
from prefect_imagen.core.providers import open_client

OpenLedger = Callable[..., Ledger]
MODEL = "google/imagen4/preview"


def quota(ledger: Ledger, per_minute: float | None = None, in_flight: int | None = None, key: str = "k") -> SharedQuota:
    return SharedQuota(ledger, key, MODEL, [MODEL], per_minute, in_flight)


def demand(calls: int = 8, in_flight: int = 8, busy: int = 0) -> Demand:
    return Demand(calls, in_flight, busy)


def event(**fields: Any) -> ThrottleEvent:
    return ThrottleEvent(
        **{"sent": 0.1, "streak": 0.0, "consecutive_429s": 4, "limit": True, "accepted": 60, "cooldown": 0.0, **fields}
    )


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the database and of this process stands still."""
    monkeypatch.setattr(module, "database_now", lambda _connection: 1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1000.0))


@pytest.mark.usefixtures("frozen")
def test_turns_of_two_runs_are_on_one_schedule(database: str, open_ledger: OpenLedger) -> None:
    one, two = open_ledger(database), open_ledger(database)
    first, second = quota(one, 600), quota(two, 600)
    permits = []
    for run in (first, second, first, second):
        grant = run.lease(demand(4))
        assert grant.permits is not None
        assert len(grant.permits) == 4
        permits += grant.permits
    assert max(permits) - min(permits) >= 15 * 0.1, "two runs send in the same moments"


def test_the_lowest_limit_that_anyone_was_told_holds_for_all(database: str, open_ledger: OpenLedger) -> None:
    one, two = open_ledger(database), open_ledger(database)
    free, configured = quota(one), quota(two, 60)
    assert free.lease(demand()).permits is None
    configured.lease(demand())
    grant = free.lease(demand())
    assert grant.permits is not None
    configured.close()
    assert free.lease(demand()).permits is None, "the limit outlived the run that was configured of it"


def test_keys_and_models_do_not_share(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    quota(ledger, 60, key="a").lease(demand())
    assert quota(ledger, key="b").lease(demand()).permits is None
    other = SharedQuota(ledger, "a", "another/model", ["another/model"])
    assert other.lease(demand()).permits is None


def test_without_a_limit_nothing_is_written(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    for _ in range(3):
        assert quota(ledger).lease(demand()).permits is None
    with ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(quotas)) == 0
        assert connection.scalar(sa.select(sa.func.count()).select_from(quota_shares)) == 0


@pytest.mark.usefixtures("frozen")
def test_what_was_learnt_is_remembered(database: str, open_ledger: OpenLedger) -> None:
    with ThreadPoolExecutor(1) as threads:
        ledger = open_ledger(database)
        run = quota(ledger)
        run.on_throttled(event(accepted=60))
        assert run.lease(demand()).permits is not None
        run.close()
        threads.submit(ledger.close).result()
    grant = quota(open_ledger(database)).lease(demand(3))
    assert grant.permits is not None
    assert grant.permits[-1] - grant.permits[0] == pytest.approx(0, abs=1.2)
    again = quota(open_ledger(database)).lease(demand(3))
    assert again.permits is not None
    assert again.permits[0] - grant.permits[-1] == pytest.approx(60 / 54), "nine tenths of what was let through"


def test_slots_are_never_more_than_told(database: str, open_ledger: OpenLedger) -> None:
    runs = [quota(open_ledger(database), in_flight=10) for _ in range(3)]
    slots = [0, 0, 0]
    for _ in range(4):
        for place, run in enumerate(runs):
            granted = run.lease(demand(busy=slots[place])).in_flight
            assert granted is not None
            slots[place] = granted
            assert sum(slots) <= 10
    # What is in use is given back only as calls end.
    for _ in range(4):
        for place, run in enumerate(runs):
            granted = run.lease(demand(busy=0)).in_flight
            assert granted is not None
            slots[place] = granted
            assert sum(slots) <= 10
    assert slots == [4, 3, 3] or sorted(slots) == [3, 3, 3] or sorted(slots) == [3, 3, 4]
    runs[0].close()
    assert runs[1].lease(demand()).in_flight == 5, "half for each of two"


def test_two_runs_of_one_process_share_as_well(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    one, two = quota(ledger, in_flight=4), quota(ledger, in_flight=4)
    assert one.lease(demand()).in_flight == 4
    assert two.lease(demand()).in_flight == 0
    assert one.lease(demand(busy=1)).in_flight == 2
    assert two.lease(demand()).in_flight == 2


def _hold(url: str, ready: Any) -> None:
    ledger = Ledger(url)
    assert quota(ledger, in_flight=4).lease(demand()).in_flight == 4
    ready.set()
    time.sleep(60)


@pytest.mark.slow
def test_a_killed_process_frees_its_slots(database: str, open_ledger: OpenLedger) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(database, ready))
    mine = quota(open_ledger(database), in_flight=4)
    process.start()
    assert ready.wait(60)
    assert mine.lease(demand()).in_flight == 0
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert mine.lease(demand()).in_flight == 4


def test_a_machine_that_is_silent_frees_its_slots(database: str, open_ledger: OpenLedger) -> None:
    other, ledger = open_ledger(database), open_ledger(database)
    quota(other, in_flight=4).lease(demand())
    mine = quota(ledger, in_flight=4)
    assert mine.lease(demand()).in_flight == 0
    silent = sa.update(workers).where(workers.c.id == other.worker.id)
    ledger.write(lambda c: c.execute(silent.values(host="elsewhere", heartbeat=workers.c.heartbeat - 61)))
    assert mine.lease(demand()).in_flight == 4


def test_the_key_is_not_in_the_database(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    client = open_client("a-very-secret-key", base_url="http://127.0.0.1:9")
    one, other = client.fingerprint(ledger.id), client.fingerprint("another ledger")
    assert "secret" not in one
    assert one != other
    assert one == open_client("a-very-secret-key").fingerprint(ledger.id)
    assert one != open_client("another-key").fingerprint(ledger.id)


@pytest.mark.slow
def test_a_limit_costs_a_commit_a_second_not_one_a_call(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    halt = StopSignal()
    limiter = CallLimiter(32, None, halt, quota=quota(ledger, 3000))
    leases = 0
    taken = ledger.write_apart

    def counted(operation: Any) -> Any:
        nonlocal leases
        leases += 1
        return taken(operation)

    ledger.write_apart = counted  # type: ignore[method-assign]

    def call(_: int) -> None:
        with limiter.slot() as may_send:
            assert may_send
            time.sleep(0.05)

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(call, range(150)))
    assert leases < 75


def test_a_ledger_that_is_away_is_said_so_and_no_slot_is_lost(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    limiter = CallLimiter(2, None, StopSignal(), quota=quota(ledger, 600))
    with limiter.slot() as may_send:
        assert may_send
    ledger.close()
    for _ in range(5):
        with pytest.raises(LedgerUnavailable), limiter.slot():
            pass
    limiter.on_throttled(time.monotonic())  # a courtesy: never an error
    limiter.close()


def _buy(url: str, sends: Any, seconds: float) -> None:
    ledger = Ledger(url)
    limiter = CallLimiter(4, None, StopSignal(), quota=quota(ledger, 1200))
    end = time.monotonic() + seconds

    def send(_: int) -> None:
        while time.monotonic() < end:
            with limiter.slot() as may_send:
                assert may_send
                sends.put(time.time())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, range(4)))
    ledger.close()


@pytest.mark.slow
def test_two_processes_together_keep_the_limit(database: str) -> None:
    Ledger(database).close()
    context = multiprocessing.get_context("spawn")
    sends = context.Queue()
    processes = [context.Process(target=_buy, args=(database, sends, 4.0)) for _ in range(2)]
    for process in processes:
        process.start()
    moments = list(_drain(sends, processes))
    assert [process.exitcode for process in processes] == [0, 0]
    span = max(moments) - min(moments)
    assert len(moments) > 20
    # Twenty a second, and what was leased for the last second; without sharing it would be twice as many.
    assert len(moments) <= 20 * span + 20


def _drain(sends: Any, processes: list[Any]) -> Iterator[float]:
    import queue

    while True:
        try:
            yield sends.get(timeout=0.5)
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                return
