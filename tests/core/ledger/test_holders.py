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
from prefect_imagen.core.ledger import Answered, Begun, ItemState, Ledger, NewImage, Unbilled, UnknownPolicy
from prefect_imagen.core.ledger import holders as module
from prefect_imagen.core.ledger.holders import LEASE_SECONDS, Holder, reap, this_host
from prefect_imagen.core.ledger.schema import holders

OpenLedger = Callable[..., Ledger]


def age(ledger: Ledger, holder: Holder, seconds: float = LEASE_SECONDS + 1) -> None:
    """Set a heartbeat back."""
    older = sa.update(holders).where(holders.c.id == holder.id).values(heartbeat=holders.c.heartbeat - seconds)
    ledger.write(lambda connection: connection.execute(older))


WORK = """
    import sys
    from prefect_imagen.core.ledger import CallIntent, Ledger
    ledger = Ledger(sys.argv[1])
    claimed, sent = sys.argv[2:]
    assert len(ledger.claim([claimed, sent])) == 2
    ledger.begin(CallIntent("pi-dead", sent, "run", ledger.holder.id, 106000, 1, None, "m", "c"))
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_is_dead_at_once(harness: Any) -> None:
    claimed, sent = harness.plan(2)
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(harness.ledger.url), claimed, sent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert harness.ledger.reap() == 0
        assert (harness.state(claimed), harness.state(sent)) == (ItemState.CLAIMED, ItemState.SENT)
        process.send_signal(signal.SIGKILL)
        # Before anybody has waited for it: a zombie is as dead.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert harness.ledger.reap() == 1
    assert (harness.state(claimed), harness.state(sent)) == (ItemState.PLANNED, ItemState.UNKNOWN)
    call = harness.call("pi-dead")
    assert (call.outcome, call.billed, call.settled) == ("unknown", None, None)
    assert "process stopped" in call.reason
    assert harness.money() == (106_000, 0), "what may have been billed stays reserved"
    assert harness.ledger.reap() == 0
    assert len(harness.ledger.claim([claimed, sent])) == 1


def test_a_heartbeat_older_than_the_lease_is_a_death(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.claim([item])
    age(other, harness.ledger.holder, LEASE_SECONDS - 5)
    other.reap()
    assert harness.state(item) is ItemState.CLAIMED
    age(other, harness.ledger.holder, 6)
    other.reap()
    assert harness.state(item) is ItemState.PLANNED


def test_a_process_never_declares_itself_dead(harness: Any) -> None:
    (item,) = harness.plan(1)
    harness.ledger.claim([item])
    age(harness.ledger, harness.ledger.holder)
    harness.ledger.reap()
    assert harness.state(item) is ItemState.CLAIMED


def test_a_holder_on_another_machine_is_judged_by_its_lease_alone(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.claim([item])
    mine = harness.ledger.holder.id
    away = sa.update(holders).where(holders.c.id == mine).values(host="elsewhere", pid=2**22 + 1)
    other.write(lambda connection: connection.execute(away))
    other.reap()
    assert harness.state(item) is ItemState.CLAIMED


def test_a_pid_that_was_given_away_again_is_a_death(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    harness.ledger.claim([item])
    reborn = sa.update(holders).where(holders.c.id == harness.ledger.holder.id).values(boot="another boot/1")
    other.write(lambda connection: connection.execute(reborn))
    other.reap()
    assert harness.state(item) is ItemState.PLANNED


def test_who_sleeps_and_wakes_is_alive_again(harness: Any, open_ledger: OpenLedger) -> None:
    """Declared dead too early, it claims and then really dies: what it holds is freed all the same."""
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    _ = harness.ledger.holder
    age(other, harness.ledger.holder)
    other.reap()
    harness.ledger.claim([item])
    other.reap()
    assert harness.state(item) is ItemState.PLANNED
    harness.ledger.write(harness.ledger.holder.beat)
    harness.ledger.claim([item])
    other.reap()
    assert harness.state(item) is ItemState.CLAIMED


def test_the_reply_of_one_who_was_declared_dead_still_counts(harness: Any, open_ledger: OpenLedger) -> None:
    item, other_item = harness.plan(2)
    other = open_ledger(str(harness.ledger.url))
    _call, limited = harness.send(item), harness.send(other_item)
    age(other, harness.ledger.holder)
    assert other.reap() == 2
    assert harness.ledger.settle(limited, Unbilled("429", ItemState.CLAIMED))
    assert harness.state(other_item) is ItemState.PLANNED, "claimed by nobody, it could never be taken up again"
    assert harness.ledger.begin(harness.intent(other_item)) is Begun.CLAIM_LOST
    assert len(other.claim([other_item])) == 1


def test_images_that_came_late_survive_the_death_of_a_newer_call(harness: Any, open_ledger: OpenLedger) -> None:
    (item,) = harness.plan(1)
    other = open_ledger(str(harness.ledger.url))
    first = harness.send(item)
    age(other, harness.ledger.holder)
    other.reap()
    second = harness.send(item, unknown=UnknownPolicy.RETRY)
    assert harness.ledger.settle(first, Answered([NewImage(0, "https://cdn.test/0", None, None)], 104_000, "reply"))
    assert harness.state(item) is ItemState.SENT
    age(other, harness.ledger.holder)
    other.reap()
    assert harness.state(item) is ItemState.GENERATED, "its images would never be fetched, or it would be bought again"
    assert harness.call(second).outcome == "unknown"
    assert other.claim([item], unknown=UnknownPolicy.RETRY)[0].state is ItemState.GENERATED


def test_closing_lets_go_of_everything(harness: Any, open_ledger: OpenLedger) -> None:
    claimed, sent, paid = harness.plan(3)
    harness.buy(paid)
    harness.ledger.claim([claimed, paid])
    harness.send(sent)
    harness.ledger.close()
    harness.ledger = open_ledger(str(harness.ledger.url))
    assert [harness.state(item) for item in (claimed, sent, paid)] == ["planned", "unknown", "generated"]
    assert len(harness.ledger.claim([claimed, sent, paid], unknown=UnknownPolicy.RETRY)) == 3


def test_the_heart_beats_and_survives_an_outage(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    ledger = open_ledger(sqlite)
    beats: list[None] = []
    three = threading.Event()
    original = Holder.beat

    def beat(self: Holder, connection: sa.Connection) -> None:
        beats.append(None)
        if len(beats) >= 3:
            three.set()
        if len(beats) == 1:
            raise sa.exc.OperationalError("beat", None, Exception("gone for a moment"))
        original(self, connection)

    monkeypatch.setattr(Holder, "beat", beat)
    _ = ledger.holder
    assert three.wait(10)


def test_a_holder_is_registered_once_and_is_this_process(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    assert ledger.holder is ledger.holder
    assert (ledger.holder.pid, ledger.holder.host) == (os.getpid(), this_host())
    with ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(holders)) == 1


def test_reap_without_any_dead_does_nothing(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    me = ledger.holder
    assert ledger.write(lambda connection: reap(connection, me)) == 0
