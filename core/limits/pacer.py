"""Pacing: when the next call may be sent.

Calls go out by permits that are leased from a quota. After a 429 all calls wait; the 429s until the next accepted call
are an *episode*, which tells of the service's limit.
"""

from __future__ import annotations

import enum
from collections import deque

from .backoff import Backoff
from .quota import FREE_SECONDS, LEASE_SECONDS, Demand, Grant, ThrottleEvent

_AHEAD = 0.25
"""Seconds before the last permit at which the next ones are leased."""

_MINUTE = 60.0
_ANSWERS = 40
_PROOF = 10
"""This many 429s among the last 40 answers are a limit, not chance."""

_PROOF_IN_A_ROW = 4
_LONG_WAIT = 8.0
"""A service that asks for such a long pause counts by the minute, like one that several pauses did not satisfy."""


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
        consecutive_429s: 429s without an accepted call between, as far as they tell of the limit.
        pauses: 429s in this episode, each after a longer pause; those of one burst count once.
    """

    def __init__(self, concurrency: int, backoff: Backoff) -> None:
        self._concurrency = concurrency
        self._backoff = backoff
        self.waiting = 0
        self._sending = 0
        self._slots: int | None = None  # of the quota; None where it has no bound
        self._leased_at: float | None = None
        self._leasing = False
        self._permits: deque[float] = deque()
        self._free_until = 0.0
        self._lease_from = 0.0
        self._probing = False
        self.consecutive_429s = 0
        self.pauses = 0
        self._cooldown_until = self._throttled_at = self._resumed_at = self._began = 0.0
        self._limit = False
        self._answers: deque[bool] = deque(maxlen=_ANSWERS)
        self._accepted: deque[float] = deque()

    def next_step(self, now: float) -> tuple[Step, float]:
        """Decide for one thread; GO and LEASE are then under way.

        Returns:
            The step, and the seconds to wait: before sending with GO, before asking again with SLEEP.
        """
        step, wait = self._decide(now)
        if step is Step.LEASE:
            self._leasing = True
        elif step is Step.GO:
            self._probing = self.consecutive_429s > 0
            self._sending += 1
        return step, wait

    def _decide(self, now: float) -> tuple[Step, float]:
        if now < self._cooldown_until:
            return Step.SLEEP, self._cooldown_until - now
        if self.consecutive_429s and self._probing:
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
        return wait > 0 and now < self._cooldown_until

    def sent(self) -> bool:
        """A call is over, or was not sent after all. Returns whether waiting threads should look again."""
        self._sending -= 1
        # Of all who send after a 429 only one does: the one that leaves is it, or was sent before.
        if self._probing and self._sending == 0:
            self._probing = False
        return bool(self.consecutive_429s) or self._slots is not None

    def demand(self) -> Demand:
        return Demand(max(1, self.waiting - self._sending), self._concurrency, self._sending)

    def lease_failed(self) -> None:
        self._leasing = False

    def granted(self, grant: Grant, now: float) -> None:
        self._leasing = False
        self._leased_at = now
        self._slots = grant.in_flight
        if grant.cooldown > 0:
            self._cooldown_until = max(self._cooldown_until, now + grant.cooldown)
        if grant.permits is None:
            self._free_until, self._lease_from = now + FREE_SECONDS, 0.0
        else:
            self._permits.extend(grant.permits)
            self._free_until, self._lease_from = 0.0, grant.permits[-1] - _AHEAD

    def accepted(self, sent_at: float, now: float) -> tuple[bool, ThrottleEvent | None]:
        """A call was accepted.

        Returns:
            Whether it ends an episode, and what that tells of the limit, if anything.
        """
        self._answers.append(False)
        self._accepted.append(sent_at)
        self._forget_old(now)
        if not self.consecutive_429s or sent_at <= self._throttled_at:
            return False, None
        # By now it is known how many of the calls before the first 429 were accepted.
        known = self.consecutive_429s >= _PROOF_IN_A_ROW and self._limit
        event = self._event(sent_at, now, 0.0) if known else None
        self.consecutive_429s = 0
        self._probing = False
        return True, event

    def throttled(self, sent_at: float, retry_after: float | None, now: float) -> ThrottleEvent | None:
        """A call was answered with 429. Returns what that tells of the limit, if anything."""
        self._answers.append(True)
        self._forget_old(now)
        # What was sent in the same burst, or slipped out as the pause began, is no answer to the pause.
        fresh = not self.consecutive_429s or sent_at >= self._resumed_at
        if fresh:
            self.consecutive_429s += 1
            self._throttled_at = now
            self._probing = False
            if self.consecutive_429s == 1:
                self.pauses = 0
                self._began, self._limit = now, False
        cooldown = self._pause(retry_after, fresh=fresh)
        self._cooldown_until = self._resumed_at = max(self._cooldown_until, now + cooldown)
        if (retry_after or 0.0) >= _LONG_WAIT:
            self.consecutive_429s = max(self.consecutive_429s, _PROOF_IN_A_ROW)
        limit = self.consecutive_429s >= _PROOF_IN_A_ROW or sum(self._answers) >= _PROOF
        report = fresh or (limit and not self._limit)
        self._limit = self._limit or limit
        self.pauses += fresh
        if not report:
            return None
        self._permits.clear()  # those that were leased before are void
        self._free_until = self._lease_from = 0.0
        return self._event(sent_at, now, cooldown)

    def _pause(self, retry_after: float | None, *, fresh: bool) -> float:
        named = 0.0 if retry_after is None else self._backoff.delay(1, retry_after)
        # A service that keeps naming too short a time is not believed for ever.
        computed = fresh and (retry_after is None or self.consecutive_429s > 2)
        return max(named, self._backoff.delay(self.consecutive_429s) if computed else 0.0)

    def _event(self, sent_at: float, now: float, cooldown: float) -> ThrottleEvent:
        # Calls accepted that were sent within the minute before the 429s began; later answers add to them.
        accepted = sum(self._began - _MINUTE < one <= self._began for one in self._accepted)
        return ThrottleEvent(now - sent_at, now - self._began, self.consecutive_429s, self._limit, accepted, cooldown)

    def _forget_old(self, now: float) -> None:
        while self._accepted and self._accepted[0] < now - 3 * _MINUTE:
            self._accepted.popleft()
