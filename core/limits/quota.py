"""Who may send when: turns on one schedule, leased by the second.

A lease costs one short transaction where the schedule is shared through a database, so it is not taken for each call:
it covers about a second of sending. Whoever dies with a lease wastes that second and no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from .learning import LearntRate

LEASE_SECONDS = 1.0
FREE_SECONDS = 2.0
"""How long one sends without a schedule before asking whether there is one by now."""

_MARGIN = 0.985
"""Part of a limit that is used: a call that the network held up must not make the next minute too full."""

_IDLE = 5.0
_LONGEST_COOLING = 600.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a process asks for: turns for `calls` calls, `in_flight` slots, of which `busy` are in use."""

    calls: int
    in_flight: int
    busy: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What it gets.

    Attributes:
        turns: Moments to send at (`time.monotonic`); None: send as you like for the next two seconds.
        in_flight: Slots; None for any number.
        cool: Seconds in which nobody sends.
    """

    turns: Sequence[float] | None
    in_flight: int | None = None
    cool: float = 0.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """A 429, as the process that got it sees it.

    Attributes:
        sent: Seconds since the call was sent.
        streak: Seconds since the first 429 of those that came without an accepted call between.
        strikes: Their number, each after a pause.
        limit: Whether they are enough to believe in a limit.
        accepted: Calls of this process that were let through in the 60 s before the streak.
        cool: Seconds to wait now.
    """

    sent: float
    streak: float
    strikes: int
    limit: bool
    accepted: int
    cool: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """The turns of one key and model. Plain data, in seconds of one clock: a process's own, or the database's.

    Attributes:
        learnt: The limit as far as 429s have told.
        next_at: The next free turn.
        leased_at: When turns were last leased.
        cut_at: When the rate was last cut.
        cool_until: Nobody sends before.
    """

    learnt: LearntRate = field(default_factory=LearntRate)
    next_at: float = 0.0
    leased_at: float = 0.0
    cut_at: float = 0.0
    cool_until: float = 0.0

    def lease(self, now: float, told: float | None, calls: int) -> tuple[Schedule, list[float] | None]:
        """Take turns from the schedule.

        Args:
            now: The time.
            told: Calls a minute as users say; None where they say nothing.
            calls: Turns that are wanted.

        Returns:
            The schedule without them, and the turns, at least one; None: there is no limit.
        """
        interval = self._interval(told)
        if interval is None:
            return self, None
        learnt, next_at = self.learnt, self.next_at
        if next_at > now + 60 + 100 * interval:
            next_at = now  # no number of processes books so far ahead: the clock was set back
        if next_at > now - LEASE_SECONDS and self.leased_at <= now:
            learnt = learnt.used(min(now - self.leased_at, max(_IDLE, 2 * interval)))
        count = max(1, min(calls, math.ceil(LEASE_SECONDS / interval)))
        start = max(next_at, now, self.cooling(now) + now)
        turns = [start + number * interval for number in range(count)]
        return replace(self, learnt=learnt, next_at=start + count * interval, leased_at=now), turns

    def _interval(self, told: float | None) -> float | None:
        learnt = self.learnt.per_minute
        rates = [rate for rate in (None if told is None else told * _MARGIN, learnt) if rate is not None]
        return 60.0 / min(rates) if rates else None

    def cooling(self, now: float) -> float:
        """Seconds that nobody may send."""
        left = self.cool_until - now
        return left if 0 < left <= _LONGEST_COOLING else 0.0

    def crowded(self, now: float, crowd: Crowd) -> Schedule:
        """The service has said "too many"."""
        after = replace(self, cool_until=now + max(self.cooling(now), crowd.cool))
        cut_at = self.cut_at if self.cut_at <= now else 0.0
        if cut_at > now - crowd.streak - 1e-3 and cut_at > 0:
            return replace(after, learnt=self.learnt.struck_again(accepted=crowd.accepted, strikes=crowd.strikes))
        if now - crowd.sent < cut_at or not (crowd.limit or self.learnt.ceiling is not None):
            return after  # it was on its way when the rate was cut; or a single 429, which proves nothing
        learnt = self.learnt.cut(accepted=crowd.accepted, strikes=crowd.strikes)
        if learnt.ceiling is None:
            return after
        return replace(after, learnt=learnt, cut_at=now, next_at=now, leased_at=now)


class Quota(Protocol):
    """Where turns and slots come from."""

    def lease(self, demand: Demand) -> Grant:
        """Take turns and slots."""

    def crowded(self, crowd: Crowd) -> None:
        """Tell of a 429."""

    def close(self) -> None:
        """Give back what is held."""


class OwnQuota:
    """A quota of this process alone.

    Args:
        per_minute: Calls a minute; None: to be found out.
        clock: Seconds.
    """

    def __init__(self, per_minute: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._told = per_minute
        self._clock = clock
        self.schedule = Schedule()

    def lease(self, demand: Demand) -> Grant:
        """Take turns."""
        now = self._clock()
        self.schedule, turns = self.schedule.lease(now, self._told, demand.calls)
        return Grant(turns, cool=self.schedule.cooling(now))

    def crowded(self, crowd: Crowd) -> None:
        """Learn from a 429."""
        self.schedule = self.schedule.crowded(self._clock(), crowd)

    def close(self) -> None:
        """Nothing is held."""
