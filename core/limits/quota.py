"""Who may send when: permits on one schedule, leased by the second.

A lease costs one short transaction where the schedule is shared through a database, so it is not taken for each call:
it covers about a second of sending. A process that dies with a lease wastes that second and no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from .adaptive import AdaptiveRate

LEASE_SECONDS = 1.0
FREE_SECONDS = 2.0
"""How long one sends without a schedule before asking whether there is one by now."""

_MARGIN = 0.985
"""Part of a limit that is used: a call that the network held up must not make the next minute too full."""

_IDLE = 5.0
_LONGEST_COOLING = 600.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a process asks for: permits for `calls` calls, `in_flight` slots, of which `busy` are in use."""

    calls: int
    in_flight: int
    busy: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What it gets.

    Attributes:
        permits: Moments to send at (`time.monotonic`); None: send as you like for the next two seconds.
    """

    permits: Sequence[float] | None
    in_flight: int | None = None
    cooldown: float = 0.0


@dataclass(frozen=True, slots=True)
class ThrottleEvent:
    """A 429, as the process that got it sees it.

    Attributes:
        sent: Seconds since the call was sent.
        streak: Seconds since the first 429 of those that came without an accepted call between.
        consecutive_429s: Their number, each after a pause.
        limit: Whether they are enough to believe in a limit.
        accepted: Calls of this process that were let through in the 60 s before the streak.
        cooldown: Seconds to wait now.
    """

    sent: float
    streak: float
    consecutive_429s: int
    limit: bool
    accepted: int
    cooldown: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """The permits of one key and model. Plain data, in seconds of one clock: a process's own, or the database's."""

    observed: AdaptiveRate = field(default_factory=AdaptiveRate)
    next_at: float = 0.0
    leased_at: float = 0.0
    cut_at: float = 0.0
    cooldown_until: float = 0.0

    def lease(self, now: float, configured: float | None, calls: int) -> tuple[Schedule, list[float] | None]:
        """Take permits from the schedule."""
        interval = self._interval(configured)
        if interval is None:
            return self, None
        observed, next_at = self.observed, self.next_at
        if next_at > now + 60 + 100 * interval:
            next_at = now  # no number of processes books so far ahead: the clock was set back
        if next_at > now - LEASE_SECONDS and self.leased_at <= now:
            observed = observed.used(min(now - self.leased_at, max(_IDLE, 2 * interval)))
        count = max(1, min(calls, math.ceil(LEASE_SECONDS / interval)))
        start = max(next_at, now, self.remaining_cooldown(now) + now)
        permits = [start + number * interval for number in range(count)]
        return replace(self, observed=observed, next_at=start + count * interval, leased_at=now), permits

    def _interval(self, configured: float | None) -> float | None:
        observed = self.observed.per_minute
        rates = [rate for rate in (None if configured is None else configured * _MARGIN, observed) if rate is not None]
        return 60.0 / min(rates) if rates else None

    def remaining_cooldown(self, now: float) -> float:
        """Seconds until calls may be sent again."""
        left = self.cooldown_until - now
        return left if 0 < left <= _LONGEST_COOLING else 0.0

    def on_throttled(self, now: float, event: ThrottleEvent) -> Schedule:
        """The service has said "too many"."""
        after = replace(self, cooldown_until=now + max(self.remaining_cooldown(now), event.cooldown))
        cut_at = self.cut_at if self.cut_at <= now else 0.0
        if cut_at > now - event.streak - 1e-3 and cut_at > 0:
            return replace(
                after, observed=self.observed.confirm(accepted=event.accepted, consecutive_429s=event.consecutive_429s)
            )
        if now - event.sent < cut_at or not (event.limit or self.observed.ceiling is not None):
            return after  # it was on its way when the rate was cut; or a single 429, which proves nothing
        observed = self.observed.decrease(accepted=event.accepted, consecutive_429s=event.consecutive_429s)
        if observed.ceiling is None:
            return after
        return replace(after, observed=observed, cut_at=now, next_at=now, leased_at=now)


class Quota(Protocol):
    """Where permits and slots come from."""

    def lease(self, demand: Demand) -> Grant:
        """Take permits and slots."""

    def on_throttled(self, event: ThrottleEvent) -> None:
        """Report a 429 so that the rate can be lowered."""

    def close(self) -> None:
        """Give back what is held."""


class OwnQuota:
    """A quota of this process alone."""

    def __init__(self, per_minute: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._configured = per_minute
        self._clock = clock
        self.schedule = Schedule()

    def lease(self, demand: Demand) -> Grant:
        now = self._clock()
        self.schedule, permits = self.schedule.lease(now, self._configured, demand.calls)
        return Grant(permits, cooldown=self.schedule.remaining_cooldown(now))

    def on_throttled(self, event: ThrottleEvent) -> None:
        self.schedule = self.schedule.on_throttled(self._clock(), event)

    def close(self) -> None:
        """Nothing is held."""
