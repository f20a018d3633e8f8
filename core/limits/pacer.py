"""Pacing: when the next call may be sent, by permits that are leased from a quota."""

from __future__ import annotations

import enum
from collections import deque

from .quota import FREE_SECONDS, LEASE_SECONDS, Demand, Grant
from .throttling import Throttling

_AHEAD = 0.25
"""Seconds before the last permit at which the next ones are leased."""


class Step(enum.Enum):
    """What a thread that wants to send does next."""

    GO = "go"
    LEASE = "lease"
    SLEEP = "sleep"
    LOOK = "look"


class Pacer:
    """Decides what each waiting thread does next. Not thread-safe: the limiter holds its lock.

    Attributes:
        waiting: Threads that hold a slot of the process, sending ones included.
    """

    def __init__(self, concurrency: int, throttling: Throttling) -> None:
        self._concurrency = concurrency
        self._throttling = throttling
        self.waiting = 0
        self._sending = 0
        self._slots: int | None = None  # of the quota; None where it has no bound
        self._leased_at: float | None = None
        self._leasing = False
        self._permits: deque[float] = deque()
        self._free_until = 0.0
        self._lease_from = 0.0
        self._probing = False

    def next_step(self, now: float) -> tuple[Step, float]:
        """Decide for one thread; GO and LEASE are then under way.

        Returns:
            The step, and the seconds to wait: before sending with GO, before asking again with SLEEP.
        """
        step, wait = self._decide(now)
        if step is Step.LEASE:
            self._leasing = True
        elif step is Step.GO:
            self._probing = self._throttling.consecutive_429s > 0
            self._sending += 1
        return step, wait

    def _decide(self, now: float) -> tuple[Step, float]:
        if now < self._throttling.cooldown_until:
            return Step.SLEEP, self._throttling.cooldown_until - now
        if self._throttling.consecutive_429s and self._probing:
            return Step.LOOK, 0.0  # one call goes ahead to see whether the service accepts calls again
        if self._leasing and (self._slots is not None or not self._permits):
            return Step.LOOK, 0.0
        stale = self._leased_at is None or (self._slots is not None and now - self._leased_at >= LEASE_SECONDS)
        if self._slots is not None and self._sending >= self._slots:
            return (Step.LEASE if stale else Step.LOOK), 0.0
        if self._permits:
            return Step.GO, self._permits.popleft() - now
        if now < self._free_until and not stale:
            return Step.GO, 0.0
        if now < self._lease_from:
            return Step.SLEEP, self._lease_from - now
        return Step.LEASE, 0.0

    def is_void(self, wait: float, now: float) -> bool:
        """Whether a permit that was waited for is void, since a 429 came meanwhile."""
        return wait > 0 and now < self._throttling.cooldown_until

    def sent(self) -> bool:
        """A call is over, or was not sent after all. Returns whether waiting threads should look again."""
        self._sending -= 1
        # Of all who send after a 429 only one does: the one that leaves is it, or was sent before.
        if self._probing and self._sending == 0:
            self._probing = False
        return bool(self._throttling.consecutive_429s) or self._slots is not None

    def demand(self) -> Demand:
        """What to ask the quota for."""
        return Demand(max(1, self.waiting - self._sending), self._concurrency, self._sending)

    def lease_failed(self) -> None:
        """The quota did not answer."""
        self._leasing = False

    def granted(self, grant: Grant, now: float) -> None:
        """The quota gave permits."""
        self._leasing = False
        self._leased_at = now
        self._slots = grant.in_flight
        if grant.cooldown > 0:
            self._throttling.cooldown_until = max(self._throttling.cooldown_until, now + grant.cooldown)
        if grant.permits is None:
            self._free_until, self._lease_from = now + FREE_SECONDS, 0.0
        else:
            self._permits.extend(grant.permits)
            self._free_until, self._lease_from = 0.0, grant.permits[-1] - _AHEAD

    def stop_probing(self) -> None:
        """The call that went ahead was answered."""
        self._probing = False

    def discard_permits(self) -> None:
        """Permits that were leased before a 429 are void."""
        self._permits.clear()
        self._free_until = self._lease_from = 0.0

    def renew(self) -> None:
        """Lease anew at the next chance: the quota is another one."""
        self._leased_at = None
        self._free_until = 0.0
