"""Those who wait for a silent server wait together, and those who come after them do not wait again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prefect_imagen.core.ledger.outage import Outage, Silence


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("prefect_imagen.core.ledger.outage.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_what_is_left_of_the_patience_bounds_every_attempt(clock: SimpleNamespace) -> None:
    silence = Silence()
    assert silence.limit(clock.now) == float("inf"), "nobody waits with a patience: an export takes as long as it takes"
    silence.patience = 0.0
    assert silence.limit(clock.now) == 10, "also without patience a statement may be slow, but not without end"
    silence.patience = 60.0
    assert silence.limit(clock.now) == 60
    clock.now += 20
    silence.failed(TimeoutError("no answer"), began=1000.0)
    assert silence.limit(clock.now) == 40
    assert silence.limit(1055.0) == 5
    assert silence.limit(1100.0) == 2
    silence.heard()
    assert silence.limit(clock.now) == 60


def test_after_the_patience_one_attempt_is_made_for_all(clock: SimpleNamespace) -> None:
    silence, error = Silence(), TimeoutError("no answer")
    silence.patience = 12.0
    clock.now += 11
    silence.failed(error, began=1000.0)
    assert silence.error_now() is None, "there is patience left"
    clock.now += 2
    assert [silence.error_now() for _ in range(50)] == [error] * 50
    clock.now += 5
    assert [silence.error_now() for _ in range(50)] == [None] + [error] * 49
    # Nor does the patience begin anew for those who had not asked until now.
    assert not Outage(silence).failed(error, began=clock.now)
    silence.heard()
    assert silence.error_now() is None
    assert Outage(silence).failed(error, began=clock.now)


def test_an_outage_counts_from_its_first_sign(clock: SimpleNamespace) -> None:
    silence = Silence()
    silence.patience = 12.0
    writing, reading = Outage(silence), Outage(silence)
    assert writing.failed(OSError("disk full"), began=clock.now)
    clock.now += 11
    reading.ended()
    assert writing.failed(OSError("disk full"), began=clock.now), "another attempt is made"
    clock.now += 2
    assert not writing.failed(OSError("disk full"), began=clock.now), "that reads succeed does not help writes"
    assert writing.error_now() is None, "a disk that is full says so at once"
    silence.patience = 5.0
    clock.now += 30
    writing.failed(OSError("locked"), began=clock.now - 30)
    assert writing.error_now() is not None, "to wait for a lock again would take as long again"
