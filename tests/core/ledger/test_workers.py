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
from prefect_imagen.core.ledger import Answered, BeginResult, ItemState, Ledger, NewImage, Unbilled, UnknownPolicy
from prefect_imagen.core.ledger import workers as module
from prefect_imagen.core.ledger.schema import workers
from prefect_imagen.core.ledger.workers import LEASE_SECONDS, Worker, release_dead_workers, this_host

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


def test_a_killed_process_is_dead_at_once(shop: Any) -> None:
    claimed, sent = shop.plan(2)
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(shop.ledger.url), claimed, sent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert shop.ledger.release_dead_workers() == 0
        assert (shop.state(claimed), shop.state(sent)) == (ItemState.CLAIMED, ItemState.SENT)
        process.send_signal(signal.SIGKILL)
        # Before anybody has waited for it: a zombie is as dead.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert shop.ledger.release_dead_workers() == 1
    assert (shop.state(claimed), shop.state(sent)) == (ItemState.PLANNED, ItemState.UNKNOWN)
    call = shop.call("pi-dead")
    assert (call.outcome, call.billed, call.settled) == ("unknown", None, None)
    assert "process stopped" in call.reason
    assert shop.money() == (106_000, 0), "what may have been billed stays reserved"
    assert shop.ledger.release_dead_workers() == 0
    assert len(shop.ledger.items.claim([claimed, sent])) == 1


def test_a_heartbeat_older_than_the_lease_is_a_death(shop: Any, open_ledger: OpenLedger) -> None:
    (item,) = shop.plan(1)
    other = open_ledger(str(shop.ledger.url))
    shop.ledger.items.claim([item])
    age(other, shop.ledger.worker, LEASE_SECONDS - 5)
    other.release_dead_workers()
    assert shop.state(item) is ItemState.CLAIMED
    age(other, shop.ledger.worker, 6)
    other.release_dead_workers()
    assert shop.state(item) is ItemState.PLANNED


def test_a_process_never_declares_itself_dead(shop: Any) -> None:
    (item,) = shop.plan(1)
    shop.ledger.items.claim([item])
    age(shop.ledger, shop.ledger.worker)
    shop.ledger.release_dead_workers()
    assert shop.state(item) is ItemState.CLAIMED


def test_a_holder_on_another_machine_is_judged_by_its_lease_alone(shop: Any, open_ledger: OpenLedger) -> None:
    (item,) = shop.plan(1)
    other = open_ledger(str(shop.ledger.url))
    shop.ledger.items.claim([item])
    mine = shop.ledger.worker.id
    away = sa.update(workers).where(workers.c.id == mine).values(host="elsewhere", pid=2**22 + 1)
    other.write(lambda connection: connection.execute(away))
    other.release_dead_workers()
    assert shop.state(item) is ItemState.CLAIMED


def test_a_pid_that_was_given_away_again_is_a_death(shop: Any, open_ledger: OpenLedger) -> None:
    (item,) = shop.plan(1)
    other = open_ledger(str(shop.ledger.url))
    shop.ledger.items.claim([item])
    reborn = sa.update(workers).where(workers.c.id == shop.ledger.worker.id).values(boot="another boot/1")
    other.write(lambda connection: connection.execute(reborn))
    other.release_dead_workers()
    assert shop.state(item) is ItemState.PLANNED


def test_who_sleeps_and_wakes_is_alive_again(shop: Any, open_ledger: OpenLedger) -> None:
    """Declared dead too early, it claims and then really dies: what it holds is freed all the same."""
    (item,) = shop.plan(1)
    other = open_ledger(str(shop.ledger.url))
    _ = shop.ledger.worker
    age(other, shop.ledger.worker)
    other.release_dead_workers()
    shop.ledger.items.claim([item])
    other.release_dead_workers()
    assert shop.state(item) is ItemState.PLANNED
    shop.ledger.write(shop.ledger.worker.beat)
    shop.ledger.items.claim([item])
    other.release_dead_workers()
    assert shop.state(item) is ItemState.CLAIMED


def test_the_reply_of_one_who_was_declared_dead_still_counts(shop: Any, open_ledger: OpenLedger) -> None:
    item, other_item = shop.plan(2)
    other = open_ledger(str(shop.ledger.url))
    _call, limited = shop.send(item), shop.send(other_item)
    age(other, shop.ledger.worker)
    assert other.release_dead_workers() == 2
    assert shop.ledger.calls.settle(limited, Unbilled("429", ItemState.CLAIMED))
    assert shop.state(other_item) is ItemState.PLANNED, "claimed by nobody, it could never be taken up again"
    assert shop.ledger.calls.begin(shop.intent(other_item)) is BeginResult.CLAIM_LOST
    assert len(other.items.claim([other_item])) == 1


def test_images_that_came_late_survive_the_death_of_a_newer_call(shop: Any, open_ledger: OpenLedger) -> None:
    (item,) = shop.plan(1)
    other = open_ledger(str(shop.ledger.url))
    first = shop.send(item)
    age(other, shop.ledger.worker)
    other.release_dead_workers()
    second = shop.send(item, unknown=UnknownPolicy.RETRY)
    assert shop.ledger.calls.settle(first, Answered([NewImage(0, "https://cdn.test/0", None, None)], 104_000, "reply"))
    assert shop.state(item) is ItemState.SENT
    age(other, shop.ledger.worker)
    other.release_dead_workers()
    assert shop.state(item) is ItemState.GENERATED, "its images would never be fetched, or it would be bought again"
    assert shop.call(second).outcome == "unknown"
    assert other.items.claim([item], unknown=UnknownPolicy.RETRY)[0].state is ItemState.GENERATED


def test_closing_lets_go_of_everything(shop: Any, open_ledger: OpenLedger) -> None:
    claimed, sent, paid = shop.plan(3)
    shop.buy(paid)
    shop.ledger.items.claim([claimed, paid])
    shop.send(sent)
    shop.ledger.close()
    shop.ledger = open_ledger(str(shop.ledger.url))
    assert [shop.state(item) for item in (claimed, sent, paid)] == ["planned", "unknown", "generated"]
    assert len(shop.ledger.items.claim([claimed, sent, paid], unknown=UnknownPolicy.RETRY)) == 3


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
    assert three.wait(10)


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
