"""What 429s teach: minutes of calls against services of every kind, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from typing import Any

import pytest
from prefect_imagen.core.limits import AdaptiveRate, CallLimiter, Schedule, StopSignal, ThrottleEvent
from prefect_imagen.core.limits.pacer import Step


class Window:
    """So many calls in any 60 s, or (`fixed`) in each minute of the clock."""

    def __init__(self, most: int, seconds: float = 60, *, fixed: bool = False, says_when: bool = False) -> None:
        self.most, self.seconds, self.fixed, self.says_when = most, seconds, fixed, says_when
        self.entered: deque[float] = deque()

    def knock(self, now: float) -> float | None:
        """None to come in; else what Retry-After says, -1 for nothing."""
        begin = (now + 23) // self.seconds * self.seconds - 23 if self.fixed else now - self.seconds
        while self.entered and self.entered[0] <= begin:
            self.entered.popleft()
        if len(self.entered) < self.most:
            self.entered.append(now)
            return None
        if not self.says_when:
            return -1
        return math.ceil((begin if self.fixed else self.entered[0]) + self.seconds - now) or 1


class Bucket:
    """A token bucket."""

    def __init__(self, size: int, per_second: float) -> None:
        self.size, self.per_second, self.tokens, self.seen = size, per_second, float(size), 0.0

    def knock(self, now: float) -> float | None:
        self.tokens = min(self.size, self.tokens + (now - self.seen) * self.per_second)
        self.seen = now
        if self.tokens < 1:
            return -1
        self.tokens -= 1
        return None


class Shedding:
    """429 by chance, whatever the rate."""

    def __init__(self, share: float) -> None:
        self.share, self.chance = share, random.Random(3)

    def knock(self, now: float) -> float | None:
        return -1 if self.chance.random() < self.share else None


class Simulation:
    """Virtual threads around the limiter's own decisions: minutes of sending in a blink."""

    def __init__(
        self,
        service: Any,
        *,
        threads: int = 8,
        latency: float = 0.5,
        **configured: Any,
    ) -> None:
        self.now = 0.0
        self.service, self.threads, self.latency = service, threads, latency
        self.limiter = CallLimiter(threads, configured.get("per_minute"), StopSignal(), clock=lambda: self.now)
        self.pacer = self.limiter.pacer
        self.pacer.waiting = threads
        self.let_in: Counter[int] = Counter()
        self.turned_away: Counter[int] = Counter()
        self._events: list[tuple[float, int, Any]] = []
        self._order = itertools.count()
        self._chance = random.Random(1)

    def run(self, minutes: int) -> None:
        for _ in range(self.threads):
            self._at(self.now, self._try)
        while self._events and self._events[0][0] < minutes * 60:
            moment, _, action = heapq.heappop(self._events)
            self.now = max(self.now, moment)
            action()

    def _at(self, moment: float, action: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._order), action))

    def _try(self) -> None:
        step, wait = self.pacer.next_step(self.now)
        if step is Step.GO:
            self._at(self.now + max(0.0, wait), lambda: self._go(wait))
            return
        if step is Step.LEASE:
            self.limiter.lease()
        self._at(self.now + {Step.SLEEP: wait + 1e-6, Step.LOOK: 0.05, Step.LEASE: 0.0}[step], self._try)

    def _go(self, wait: float) -> None:
        if self.pacer.is_void(wait, self.now):
            self._leave()
            return
        sent_at, answer, minute = self.now, self.service.knock(self.now), int(self.now // 60)
        if answer is None:
            self.let_in[minute] += 1
            self._at(self.now + self.latency * self._chance.uniform(0.5, 1.5), lambda: self._accepted(sent_at))
        else:
            self.turned_away[minute] += 1
            self._at(self.now + 0.01, lambda: self._on_throttled(sent_at, None if answer < 0 else answer))

    def _accepted(self, sent_at: float) -> None:
        self.limiter.accepted(sent_at)
        self._leave()

    def _on_throttled(self, sent_at: float, retry_after: float | None) -> None:
        self.limiter.on_throttled(sent_at, retry_after)
        self._leave()

    def _leave(self) -> None:
        self.pacer.sent()
        self._at(self.now, self._try)

    def after(self, minute: int) -> tuple[float, float]:
        """Calls let in a minute, and the part that was turned away, from a minute on."""
        let_in = sum(n for at, n in self.let_in.items() if at >= minute)
        away = sum(n for at, n in self.turned_away.items() if at >= minute)
        minutes = max([*self.let_in, *self.turned_away]) + 1 - minute
        return let_in / minutes, away / (let_in + away)


@pytest.mark.parametrize("says_when", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("threads", "latency"), [(8, 0.5), (64, 3.0)])
def test_a_limit_by_the_minute_is_found(threads: int, latency: float, fixed: bool, says_when: bool) -> None:
    service = Window(120, fixed=fixed, says_when=says_when)
    simulation = Simulation(service, threads=threads, latency=latency)
    simulation.run(10)
    let_in, turned_away = simulation.after(1)
    assert turned_away < 0.02
    assert let_in > 0.93 * 120


@pytest.mark.parametrize(("threads", "latency"), [(8, 0.5), (64, 3.0)])
@pytest.mark.parametrize("size", [10, 120])
def test_a_limit_by_the_second_is_found(threads: int, latency: float, size: int) -> None:
    simulation = Simulation(Bucket(size, 2), threads=threads, latency=latency)
    simulation.run(10)
    let_in, turned_away = simulation.after(2)
    assert turned_away < 0.03
    assert let_in > 0.93 * 120


def test_a_small_limit_is_found() -> None:
    simulation = Simulation(Window(10))
    simulation.run(10)
    let_in, turned_away = simulation.after(1)
    assert turned_away < 0.15, "three in twenty: each look for more costs a few of ten calls a minute"
    assert let_in > 8


@pytest.mark.slow
@pytest.mark.parametrize("threads", [8, 64])
def test_chance_is_not_taken_for_a_limit(threads: int) -> None:
    """A service that sheds one call in twenty is not sent ever fewer."""
    simulation = Simulation(Shedding(0.05), threads=threads)
    simulation.run(8)
    assert simulation.after(4)[0] > 0.8 * simulation.let_in[0]


def test_a_limit_that_was_raised_is_found_out() -> None:
    service = Window(60)
    simulation = Simulation(service)
    simulation.run(3)
    service.most = 240
    simulation.run(25)
    assert simulation.let_in[24] > 180


def test_a_limit_that_was_lowered_is_found_out() -> None:
    service = Window(240)
    simulation = Simulation(service)
    simulation.run(3)
    service.most = 60
    simulation.run(14)
    let_in, turned_away = simulation.after(6)
    assert turned_away < 0.02
    assert let_in > 50


def test_who_is_told_meets_no_429() -> None:
    simulation = Simulation(Window(120), per_minute=120)
    simulation.run(4)
    assert not simulation.turned_away
    assert sum(simulation.let_in.values()) > 4 * 120 * 0.97


def test_after_a_429_one_call_goes_ahead() -> None:
    """A burst of those in flight, and then one call a pause, not one a thread."""
    simulation = Simulation(Window(1, 3600), threads=64)
    simulation.run(1)
    assert simulation.turned_away[0] <= 63 + 7


def test_a_rate_learnt_yesterday_holds_today() -> None:
    schedule = Schedule(AdaptiveRate(120, confirmed=True, busy=30), next_at=100, leased_at=100, cut_at=70)
    later, permits = schedule.lease(100 + 86_400, None, 8)
    assert later.observed.busy == 30
    assert permits == pytest.approx([86_500, 86_500 + 60 / schedule.observed.per_minute])


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    """Turns and pauses that lie an hour ahead were booked by another clock."""
    schedule = Schedule(
        AdaptiveRate(120, confirmed=True), next_at=3700, leased_at=3699, cut_at=3600, cooldown_until=3800
    )
    later, permits = schedule.lease(100, None, 1)
    assert permits == [100]
    assert later.observed.busy == 0
    assert later.remaining_cooldown(100) == 0
    again = later.on_throttled(
        101, ThrottleEvent(sent=0.1, streak=0.0, consecutive_429s=1, limit=True, accepted=50, cooldown=1)
    )
    assert (again.cut_at, again.remaining_cooldown(101)) == (101, 1)


def test_a_burst_cuts_once() -> None:
    schedule = Schedule(AdaptiveRate(120, confirmed=True, busy=200))
    first = schedule.on_throttled(1000, ThrottleEvent(0.5, 0.0, 1, False, 118, 1.0))
    assert first.observed.per_minute < schedule.observed.per_minute
    second = first.on_throttled(1000.2, ThrottleEvent(0.7, 0.0, 1, False, 118, 0.0))
    assert second.observed == first.observed, "a call that was on its way when the rate was cut cut it again"


def test_a_single_429_sets_no_rate() -> None:
    after = Schedule().on_throttled(10, ThrottleEvent(0.5, 0.0, 1, False, 300, 1.0))
    assert after.observed.per_minute is None
    assert after.remaining_cooldown(10) == 1.0
