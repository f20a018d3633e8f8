"""Waiting, pacing, stopping, and the gate before each paid call."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prefect_imagen.core.errors import Unavailable
from prefect_imagen.core.limits import Backoff, CallLimiter, HealthGate, StopReason, StopSignal


def test_backoff_grows_to_a_bound() -> None:
    backoff = Backoff(first=1, factor=2, maximum=10, jitter=0)
    assert [backoff.delay(tries) for tries in (1, 2, 3, 4, 5, 50)] == [1, 2, 4, 8, 10, 10]


def test_jitter_only_shortens_a_computed_delay_and_only_lengthens_a_named_one() -> None:
    backoff = Backoff(first=4, jitter=0.5)
    computed = [backoff.delay(1) for _ in range(200)]
    named = [backoff.delay(1, retry_after=7) for _ in range(200)]
    assert 2 <= min(computed) < max(computed) <= 4
    assert 7 <= min(named) < max(named) <= 7.5
    assert backoff.delay(9, retry_after=0) == 0


def test_the_first_reason_to_halt_is_kept() -> None:
    halt = StopSignal()
    assert not halt.is_set
    halt.set(StopReason.BUDGET, "spent")
    halt.set(StopReason.STOPPED, "SIGTERM")
    assert (halt.reason, halt.message, halt.is_set, halt.is_stopped) == (StopReason.BUDGET, "spent", True, True)


def test_a_halt_ends_the_waits_of_buyers_and_a_stop_those_of_deliverers_too() -> None:
    halt = StopSignal()
    halt.set(StopReason.BUDGET, "")
    assert halt.sleep(60)
    assert not halt.pause(0)
    halt.set(StopReason.STOPPED, "")
    assert halt.pause(60)
    assert not StopSignal().sleep(-1)


def test_never_more_calls_in_flight_than_slots() -> None:
    limiter = CallLimiter(3, None, StopSignal())
    lock = threading.Lock()
    inside = most = 0
    full = threading.Barrier(3)

    def call(number: int) -> bool:
        nonlocal inside, most
        with limiter.slot() as may_send:
            with lock:
                inside += 1
                most = max(most, inside)
            if number < 3:
                full.wait(60)
            with lock:
                inside -= 1
            return may_send

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(call, range(60)))
    assert most == 3


def test_a_slot_is_given_back_after_an_error() -> None:
    limiter = CallLimiter(1, None, StopSignal())
    for _ in range(3):
        with pytest.raises(LookupError), limiter.slot():
            raise LookupError
    with limiter.slot() as may_send:
        assert may_send


class Clock:
    """Time that passes only in waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class ClockedSignal(StopSignal):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def sleep(self, seconds: float) -> bool:
        self.clock.now += max(seconds, 1e-9)
        return self.is_set


def sends(limiter: CallLimiter, clock: Clock, count: int) -> list[float]:
    moments = []
    for _ in range(count):
        with limiter.slot() as may_send:
            assert may_send
            moments.append(clock.now)
    return moments


def test_sends_are_spread_evenly_over_the_minute() -> None:
    clock = Clock()
    limiter = CallLimiter(2, 120, ClockedSignal(clock), clock=clock.monotonic)
    moments = sends(limiter, clock, 21)
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == pytest.approx([0.5 / 0.985] * 20)
    clock.now += 3600
    late = sends(limiter, clock, 3)
    assert late[1] - late[0] == pytest.approx(0.5 / 0.985), "what was not used in an hour is not caught up with"


def test_nobody_sends_while_it_cools_down() -> None:
    clock = Clock()
    limiter = CallLimiter(2, None, ClockedSignal(clock), clock=clock.monotonic)
    sent_at = clock.now
    assert limiter.on_throttled(sent_at, 5) == 1
    assert limiter.on_throttled(sent_at, 2) == 1, "of the same burst"
    first, _second = sends(limiter, clock, 2)
    assert 1005.0 <= first <= 1005.1 + 0.5


def test_the_rate_holds_for_threads_together() -> None:
    limiter = CallLimiter(8, 6000, StopSignal())
    started = time.monotonic()

    def call(_: int) -> None:
        with limiter.slot() as may_send:
            assert may_send

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(41)))
    assert time.monotonic() - started >= 0.4, "41 sends at 100 a second take at least 40 gaps"


def test_a_halt_ends_the_wait_for_a_turn_and_for_a_slot() -> None:
    halt = StopSignal()
    limiter = CallLimiter(1, None, halt)
    limiter.on_throttled(time.monotonic(), 3600)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(_enter, limiter) for _ in range(3)]
        halt.set(StopReason.STOPPED, "")
        assert [future.result(60) for future in waiting] == [False] * 3


def _enter(limiter: CallLimiter) -> bool:
    with limiter.slot() as may_send:
        return may_send


def test_the_mean_time_of_calls_is_known() -> None:
    clock = Clock()
    limiter = CallLimiter(1, None, ClockedSignal(clock), clock=clock.monotonic)
    assert limiter.mean_seconds is None
    with limiter.slot():
        clock.now += 2
    assert limiter.mean_seconds == pytest.approx(2)


class Service:
    """Something that can be away, and counts who asks."""

    def __init__(self) -> None:
        self.away = False
        self.probes = 0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.on_probe: Callable[[int], None] = lambda _number: None

    def probe(self) -> None:
        with self._lock:
            self.probes += 1
            number = self.probes
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.on_probe(number)
            if self.away:
                raise Unavailable("away")
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose last sign of life is young enough, however long the test takes."""
    monkeypatch.setattr("prefect_imagen.core.limits.health.FRESH_SECONDS", 3600.0)
    return Service()


def never() -> bool:
    return False


def test_a_service_in_use_is_not_probed(service: Service) -> None:
    gate = HealthGate(service.probe, patience=0, probe_pause=0.01)
    gate.record_success()
    assert all(gate.wait(never) for _ in range(5))
    assert service.probes == 0


def test_an_idle_service_is_probed_once_for_all(service: Service) -> None:
    gate = HealthGate(service.probe, patience=0, probe_pause=0.01)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: gate.wait(never), range(50)))
    assert service.probes == 1


def test_after_a_failure_nobody_passes_before_a_probe_succeeds(service: Service) -> None:
    gate = HealthGate(service.probe, patience=60, probe_pause=0.01)
    gate.record_success()
    service.away = True
    gate.record_failure(Unavailable("down"))
    passed: list[int] = []

    def back(number: int) -> None:
        assert not passed
        if number == 4:
            service.away = False

    service.on_probe = back
    with ThreadPoolExecutor(8) as threads:
        for result in threads.map(lambda n: (gate.wait(never), passed.append(n))[0], range(8)):
            assert result
    assert service.probes == 4
    assert service.most_at_once == 1


def test_waiting_threads_do_not_probe_each_for_itself(service: Service) -> None:
    """As many probes as pauses fit in, however many threads wait."""
    gate = HealthGate(service.probe, patience=0.5, probe_pause=0.05)
    service.away = True
    with ThreadPoolExecutor(16) as threads:
        waits = [threads.submit(gate.wait, never) for _ in range(16)]
        assert all(isinstance(future.exception(60), Unavailable) for future in waits)
    assert service.probes < 50, "10 while it waits, and two of each thread when it gives up; each for itself: 160"


def test_patience_ends(service: Service) -> None:
    service.away = True
    gate = HealthGate(service.probe, patience=0.05, probe_pause=0.01)
    with pytest.raises(Unavailable, match="away"):
        gate.wait(never)
    assert service.probes >= 2


def test_a_wait_can_be_given_up(service: Service) -> None:
    service.away = True
    gate = HealthGate(service.probe, patience=3600, probe_pause=0.01)
    assert gate.wait(lambda: service.probes >= 3) is False
    assert service.probes == 3


def test_who_has_given_up_does_not_probe(service: Service) -> None:
    service.away = True
    assert HealthGate(service.probe, patience=3600, probe_pause=0.01).wait(lambda: True) is False
    assert service.probes == 0


def test_a_probe_that_finds_something_worse_is_heard(service: Service) -> None:
    def broken(_: int) -> None:
        raise LookupError("no such bucket")

    service.on_probe = broken
    gate = HealthGate(service.probe, patience=3600, probe_pause=0.01)
    for _ in range(2):
        with pytest.raises(LookupError):
            gate.wait(never)
