"""Who is dead loses what it holds; who is alive loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import Answered, BeginResult, ItemState, Ledger, NewImage, Unbilled
from prefect_imagen.core.ledger import workers as module
from prefect_imagen.core.ledger.schema import workers
from prefect_imagen.core.ledger.workers import LEASE_SECONDS, Worker, release_dead_workers, this_host
from prefect_imagen.core.request import UnknownPolicy

OpenLedger = Callable[..., Ledger]


def age(ledger: Ledger, holder: Worker, seconds: float = LEASE_SECONDS + 1) -> None:
    """Set a heartbeat back."""
    older = sa.update(workers).where(workers.c.id == holder.id).values(heartbeat=workers.c.heartbeat - seconds)
    ledger.write(lambda connection: connection.execute(older))


WORK = """
    import sys
    from prefect_imagen.core.ledger import CallIntent, Ledger
    ledger = Ledger(sys.argv[1])
    claimed, sent = sys.argv[2:]
    assert len(ledger.items.claim([claimed, sent])) == 2
    ledger.calls.begin(CallIntent("pi-dead", sent, "run", ledger.worker.id, 106000, 1, None, "m", "c"))
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_is_dead_at_once(harness: Any) -> None:
    claimed, sent = harness.plan(2)
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(harness.ledger.url), claimed, sent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert harness.ledger.release_dead_workers() == 0
        assert (harness.state(claimed), harness.state(sent)) == (ItemState.CLAIMED, ItemState.SENT)
        process.send_signal(signal.SIGKILL)
        # Before anybody has waited for it: a zombie is as dead.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert harness.ledger.release_dead_workers() == 1
    assert (harness.state(claimed), harness.state(sent)) == (ItemState.PLANNED, ItemState.UNKNOWN)
    call = harness.call("pi-dead")
    assert (call.outcome, call.billed, call.settled) == ("unknown", None, None)
    assert "process stopped" in call.reason
    assert harness.money() == (106_000, 0), "what may have been billed stays reserved"
    assert harness.ledger.release_dead_workers() == 0
    assert len(harness.ledger.items.claim([claimed, sent])) == 1


def test_a_heartbeat_older_than_the_lease_is_a_death(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.items.claim([item])
    age(other, harness.ledger.worker, LEASE_SECONDS - 5)
    other.release_dead_workers()
    assert harness.state(item) is ItemState.CLAIMED
    age(other, harness.ledger.worker, 6)
    other.release_dead_workers()
    assert harness.state(item) is ItemState.PLANNED


def test_a_process_never_declares_itself_dead(harness: Any) -> None:
    (item,) = harness.plan(1)
    harness.ledger.items.claim([item])
    age(harness.ledger, harness.ledger.worker)
    harness.ledger.release_dead_workers()
    assert harness.state(item) is ItemState.CLAIMED


def test_a_holder_on_another_machine_is_judged_by_its_lease_alone(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.items.claim([item])
    mine = harness.ledger.worker.id
    away = sa.update(workers).where(workers.c.id == mine).values(host="elsewhere", pid=2**22 + 1)
    other.write(lambda connection: connection.execute(away))
    other.release_dead_workers()
    assert harness.state(item) is ItemState.CLAIMED


def test_a_pid_that_was_given_away_again_is_a_death(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.items.claim([item])
    reborn = sa.update(workers).where(workers.c.id == harness.ledger.worker.id).values(boot="another boot/1")
    other.write(lambda connection: connection.execute(reborn))
    other.release_dead_workers()
    assert harness.state(item) is ItemState.PLANNED


def test_who_sleeps_and_wakes_is_alive_again(harness: Any, open_ledger: OpenLedger) -> None:
    """Declared dead too early, it claims and then really dies: what it holds is freed all the same."""
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    _ = harness.ledger.worker
    age(other, harness.ledger.worker)
    other.release_dead_workers()
    harness.ledger.items.claim([item])
    other.release_dead_workers()
    assert harness.state(item) is ItemState.PLANNED
    harness.ledger.write(harness.ledger.worker.beat)
    harness.ledger.items.claim([item])
    other.release_dead_workers()
    assert harness.state(item) is ItemState.CLAIMED


def test_the_reply_of_one_who_was_declared_dead_still_counts(harness: Any, open_ledger: OpenLedger) -> None:
    item, other_item = harness.plan(2)
    other = open_ledger(str(harness.ledger.url))
    _call, limited = harness.send(item), harness.send(other_item)
    age(other, harness.ledger.worker)
    assert other.release_dead_workers() == 2
    assert harness.ledger.calls.settle(limited, Unbilled("429", ItemState.CLAIMED))
    assert harness.state(other_item) is ItemState.PLANNED, "claimed by nobody, it could never be taken up again"
    assert harness.ledger.calls.begin(harness.intent(other_item)) is BeginResult.CLAIM_LOST
    assert len(other.items.claim([other_item])) == 1


def test_images_that_came_late_survive_the_death_of_a_newer_call(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    first = harness.send(item)
    age(other, harness.ledger.worker)
    other.release_dead_workers()
    second = harness.send(item, unknown=UnknownPolicy.RETRY)
    assert harness.ledger.calls.settle(
        first, Answered([NewImage(0, "https://cdn.test/0", None, None)], 104_000, "reply")
    )
    assert harness.state(item) is ItemState.SENT
    age(other, harness.ledger.worker)
    other.release_dead_workers()
    assert harness.state(item) is ItemState.GENERATED, "its images would never be fetched, or it would be bought again"
    assert harness.call(second).outcome == "unknown"
    assert other.items.claim([item], unknown=UnknownPolicy.RETRY)[0].state is ItemState.GENERATED


def test_closing_lets_go_of_everything(harness: Any, open_ledger: OpenLedger) -> None:
    claimed, sent, paid = harness.plan(3)
    harness.buy(paid)
    harness.ledger.items.claim([claimed, paid])
    harness.send(sent)
    harness.ledger.close()
    harness.ledger = open_ledger(str(harness.ledger.url))
    assert [harness.state(item) for item in (claimed, sent, paid)] == ["planned", "unknown", "generated"]
    assert len(harness.ledger.items.claim([claimed, sent, paid], unknown=UnknownPolicy.RETRY)) == 3


def test_the_heart_beats_and_survives_an_outage(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    ledger = open_ledger(sqlite)
    beats: list[None] = []
    three = threading.Event()
    original = Worker.beat

    def beat(self: Worker, connection: sa.Connection) -> None:
        beats.append(None)
        if len(beats) >= 3:
            three.set()
        if len(beats) == 1:
            raise sa.exc.OperationalError("beat", None, Exception("gone for a moment"))
        original(self, connection)

    monkeypatch.setattr(Worker, "beat", beat)
    _ = ledger.worker
    assert three.wait(60)


def test_a_holder_is_registered_once_and_is_this_process(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    assert ledger.worker is ledger.worker
    assert (ledger.worker.pid, ledger.worker.host) == (os.getpid(), this_host())
    with ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(workers)) == 1


def test_reap_without_any_dead_does_nothing(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    me = ledger.worker
    assert ledger.write(lambda connection: release_dead_workers(connection, me)) == 0
