"""The rule that pauses the purchase, without a network: a clock and outcomes that a test decides."""

from __future__ import annotations

import heapq
import itertools
import random
import time

import pytest
from prefect_imagen.core.limits import CircuitBreaker, NothingSucceeds, circuit
from prefect_imagen.core.limits.circuit import BEYOND_CONCURRENCY, PROBES, SLOW_SECONDS


class Service:
    """Calls that take their time, as many at once as allowed, on a clock of its own."""

    def __init__(self, concurrency: int, patience: float = 100.0, **options: bool) -> None:
        self.now = 0.0
        self.told: list[str | None] = []
        self.breaker = CircuitBreaker(
            "calls", concurrency, patience, clock=lambda: self.now, on_change=self.told.append, **options
        )
        self.concurrency = concurrency
        self.numbers = itertools.count()
        self.flying: list[tuple[float, int, float, bool]] = []
        self.sent = 0

    def send_while_allowed(self, outcome: tuple[bool, float] | None = None, rng: random.Random | None = None) -> None:
        while len(self.flying) < self.concurrency:
            number = next(self.numbers)
            waits = iter([False])
            if not self.breaker.enter(str(number), lambda waits=waits: next(waits, True)):
                return
            good, seconds = outcome or (True, 1.0)
            if rng is not None:
                good = rng.random() >= 0.1
                seconds = rng.expovariate(0.2) if good else 0.05
            heapq.heappush(self.flying, (self.now + seconds, number, self.now, good))
            self.sent += 1

    def finish_one(self) -> None:
        self.now, number, began, good = heapq.heappop(self.flying)
        if good:
            self.breaker.succeeded(str(number), began)
        else:
            self.breaker.failed(str(number), "the API answered 524")

    def storm(self) -> None:
        """Nothing succeeds, until the breaker says that it is over."""
        for _ in range(10_000):
            self.send_while_allowed((False, 0.01))
            if self.flying:
                self.finish_one()
            else:
                self.now += 0.1


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is the test's own: nothing is waited for."""
    monkeypatch.setattr(circuit, "_LOOK", 0)


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("seed", range(3))
def test_one_failure_in_ten_never_pauses(concurrency: int, seed: int) -> None:
    """Also where failures come at once and successes take long, so that failures come in bursts."""
    service, rng = Service(concurrency), random.Random(seed)
    for _ in range(20_000):
        service.send_while_allowed(rng=rng)
        service.finish_one()
    assert (service.breaker.pauses, service.told) == (0, [])


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("lagging", [False, True])
def test_a_storm_costs_at_most_ten_calls_beyond_the_concurrency(concurrency: int, lagging: bool) -> None:
    service = Service(concurrency, patience=15.0, lagging=lagging)
    with pytest.raises(NothingSucceeds, match="524"):
        service.storm()
    assert service.sent == concurrency + BEYOND_CONCURRENCY + PROBES
    assert 15.0 <= service.now < 16.0, "the patience was not the time that it took"
    assert service.told == [
        f"none of the last {concurrency + BEYOND_CONCURRENCY} calls succeeded: the API answered 524"
    ]


def test_what_was_sent_before_the_storm_does_not_vouch_for_what_comes_after() -> None:
    """Eight slow calls of better days come back one by one, while whatever is sent now fails at once."""
    service = Service(8)
    service.send_while_allowed((True, 50.0))
    for number, (_, name, began, good) in enumerate(sorted(service.flying)):
        service.flying[number] = (10.0 + number, name, began, good)
    heapq.heapify(service.flying)
    service.finish_one()
    sent = service.sent
    while service.breaker.reason is None:
        service.send_while_allowed((False, 0.01))
        service.finish_one()
    assert service.sent - sent <= 8 + BEYOND_CONCURRENCY


def test_one_probe_at_a_time_and_a_success_lets_all_go_on() -> None:
    service = Service(2, patience=15.0)
    while service.breaker.reason is None:
        service.send_while_allowed((False, 0.01))
        service.finish_one()
    for pause in (1, 2, 4):
        sent, service.now = service.sent, service.now + pause - 0.1
        service.send_while_allowed((False, 0.01))
        assert service.sent == sent, "a probe went ahead before its time"
        service.now += 0.2
        service.send_while_allowed((pause == 4, 0.01))
        assert service.sent == sent + 1
        service.finish_one()
    assert service.breaker.reason is None
    assert service.told[-1] is None
    service.send_while_allowed()
    assert len(service.flying) == 2


def test_a_probe_that_tells_nothing_is_not_counted() -> None:
    service = Service(1, patience=15.0)
    while service.breaker.reason is None:
        service.send_while_allowed((False, 0.01))
        service.finish_one()
    for _ in range(PROBES + 2):
        service.now += 15.0
        service.send_while_allowed()
        (_, number, _, _) = service.flying.pop()
        service.breaker.ended(str(number))


def test_pictures_on_their_way_are_no_reason_to_wait() -> None:
    breaker = CircuitBreaker("pictures", 1, 100.0, lagging=True)
    for number in range(50):
        assert breaker.enter(f"call-{number}", lambda: False)
        if number % 5 == 0:
            breaker.succeeded(f"call-{number}", float("inf"))


def full_of_pictures(patience: float) -> Service:
    """All calls that may be are sent, and the first one's picture could not be fetched at once."""
    service = Service(1, patience=patience, lagging=True)
    for number in range(1 + BEYOND_CONCURRENCY):
        assert service.breaker.enter(f"call-{number}", lambda: False)
    service.breaker.troubled("call-0", "silent for 60 s")
    return service


def test_pictures_that_hang_end_the_run_when_the_patience_is_over() -> None:
    service = full_of_pictures(patience=5.0)
    service.now = SLOW_SECONDS + 0.1
    with pytest.raises(NothingSucceeds, match="silent"):
        service.breaker.enter("one more", lambda: False)
    failing = full_of_pictures(patience=5.0)
    for number in range(1 + BEYOND_CONCURRENCY):
        failing.breaker.troubled(f"call-{number}", "silent for 2 s")
    failing.now = 5.1
    with pytest.raises(NothingSucceeds, match="silent"):
        failing.breaker.enter("one more", lambda: False)


@pytest.mark.parametrize("patience", [0.0, 5.0])
def test_pictures_that_are_merely_slow_do_not_end_the_run(patience: float) -> None:
    service = full_of_pictures(patience)
    service.now = SLOW_SECONDS - 0.1
    waits = iter([False, False])
    assert not service.breaker.enter("one more", lambda: next(waits, True)), "it waits"
    service.now = 80.0
    service.breaker.succeeded("call-1", began=1.0)
    # Now so slow a picture is nothing unusual.
    for number in range(1 + BEYOND_CONCURRENCY):
        assert service.breaker.enter(f"later-{number}", lambda: False)
    service.breaker.troubled("later-0", "404")
    service.now += 79.0
    waits = iter([False, False])
    assert not service.breaker.enter("one more", lambda: next(waits, True))
    service.now += 2.0
    with pytest.raises(NothingSucceeds, match="404"):
        service.breaker.enter("one more", lambda: False)


def test_several_failures_make_each_of_them_doubtful() -> None:
    breaker = CircuitBreaker("pictures", 8, 100.0, lagging=True)
    for number, doubtful in enumerate((False, False, True)):
        breaker.failed(f"call-{number}", "404")
        breaker.failed(f"call-{number}", "404")
        assert breaker.is_doubtful is doubtful
    breaker.succeeded("call-9", float("inf"))
    assert not breaker.is_doubtful


def test_pictures_that_fail_while_others_succeed_are_no_doubt_at_the_end() -> None:
    """The last ones of a run are those that are tried again and again: no success comes after them."""
    breaker = CircuitBreaker("pictures", 8, 100.0, lagging=True)
    bad = [f"bad-{number}" for number in range(4)]
    for call in (*bad, "good"):
        assert breaker.enter(call, lambda: False)
    for call in bad:
        breaker.troubled(call, "404")
    assert breaker.is_doubtful
    breaker.succeeded("good", time.monotonic())
    for call in bad:
        breaker.troubled(call, "404")
    assert not breaker.is_doubtful
    for call in ("new-1", "new-2", "new-3"):
        breaker.troubled(call, "404")
    assert breaker.is_doubtful
