"""Calls in flight and calls a minute, for all threads of a process."""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from collections import deque
from collections.abc import Iterator

from .backoff import Backoff
from .quota import FREE_SECONDS, LEASE_SECONDS, Demand, OwnQuota, Quota, ThrottleEvent
from .stop import StopSignal

_AHEAD = 0.25
"""Seconds before the last turn at which the next ones are leased."""

_LOOK = 0.25
_MINUTE = 60.0
_ANSWERS = 40
_PROOF = 10
"""So many 429s among the last 40 answers are a limit, not chance."""

_PROOF_STRIKES = 4
_LONG_WAIT = 8.0
"""A service that asks for so long a pause counts by the minute, as one that several pauses did not appease."""


class _Step(enum.Enum):
    GO = "go"
    LEASE = "lease"
    SLEEP = "sleep"
    LOOK = "look"


class CallLimiter:
    """Lets a bounded number of calls run at once, and no more of them a minute than allowed or observed.

    After a 429 everybody waits; then one call goes ahead, and the others follow once it was let through. Whoever sends
    says how it went: `accepted`, `on_throttled`, or neither where no answer came.

    Args:
        concurrency: Calls in flight, at least 1.
        requests_per_minute: Highest rate of sends, evenly spaced; None: what the service's 429s teach.
        halt: Ends every wait.
        quota: Where permits come from; by default a schedule of this process alone.
        backoff: How long everybody waits after a 429 that names no time.

    Example:
        >>> limiter = CallLimiter(4, None, StopSignal())
        >>> with limiter.slot() as may_send:
        ...     may_send
        True
    """

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: float | None,
        halt: StopSignal,
        *,
        quota: Quota | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._halt = halt
        self._quota: Quota = quota or OwnQuota(requests_per_minute, lambda: time.monotonic())
        self._backoff = backoff or Backoff(first=1.0, maximum=60.0, jitter=0.1)
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._room = threading.Semaphore(concurrency)
        self._inside = 0
        self._sending = 0
        self._slots: int | None = None  # of the quota; None where it has no bound
        self._leased_at: float | None = None
        self._leasing = False
        self._turns: deque[float] = deque()
        self._free_until = 0.0
        self._lease_from = 0.0
        self._cool_until = 0.0
        self._strikes = 0  # 429s without an accepted call between, as far as they tell of the limit
        self._row = 0
        self._struck_at = self._resumed_at = 0.0
        self._streak_began = 0.0
        self._told_of_limit = False
        self._probing = False
        self._answers: deque[bool] = deque(maxlen=_ANSWERS)
        self._accepted: deque[float] = deque()
        self._calls = 0
        self._busy_seconds = 0.0

    @contextlib.contextmanager
    def slot(self) -> Iterator[bool]:
        """Wait for a slot and a turn; hold the slot while the call is in flight. Yields False if the run was halted.

        Raises:
            LedgerUnavailable: The quota is shared through a ledger that does not answer.
        """
        while not self._room.acquire(timeout=_LOOK):
            if self._halt.is_set:
                yield False
                return
        with self._lock:
            self._inside += 1
        started = time.monotonic()
        may_send = False
        try:
            may_send = self._wait_for_turn()
            yield may_send
        finally:
            with self._lock:
                self._inside -= 1
                self._calls += 1
                self._busy_seconds += time.monotonic() - started
                if may_send:
                    self._stop_sending()
            self._room.release()

    def _wait_for_turn(self) -> bool:
        while not self._halt.is_set:
            with self._lock:
                step, wait = self._next_step(time.monotonic())
                if step is _Step.LOOK:
                    self._news.wait(_LOOK)
                elif step is _Step.LEASE:
                    self._leasing = True
                elif step is _Step.GO:
                    self._sending += 1
            if step is _Step.LEASE:
                self._lease()
            elif step is _Step.SLEEP:
                self._halt.sleep(wait)
            elif step is _Step.GO and self._on_time(wait):
                return True
        return False

    def _next_step(self, now: float) -> tuple[_Step, float]:
        if now < self._cool_until:
            return _Step.SLEEP, self._cool_until - now
        if self._strikes and self._probing:
            return _Step.LOOK, 0.0  # somebody goes ahead to see whether the service lets calls through again
        if self._leasing and (self._slots is not None or not self._turns):
            return _Step.LOOK, 0.0
        stale = self._leased_at is None or (self._slots is not None and now - self._leased_at >= LEASE_SECONDS)
        if self._slots is not None and self._sending >= self._slots:
            return (_Step.LEASE if stale else _Step.LOOK), 0.0
        if self._turns:
            self._probing = self._strikes > 0
            return _Step.GO, self._turns.popleft() - now
        if now < self._free_until and not stale:
            self._probing = self._strikes > 0
            return _Step.GO, 0.0
        if now < self._lease_from:
            return _Step.SLEEP, self._lease_from - now
        return _Step.LEASE, 0.0

    def _on_time(self, wait: float) -> bool:
        """Wait for one's turn. False if it is void: the run was halted, or a 429 came meanwhile."""
        if wait > 0:
            self._halt.sleep(wait)
        with self._lock:
            if not self._halt.is_set and (wait <= 0 or time.monotonic() >= self._cool_until):
                return True
            self._stop_sending()
        return False

    def _stop_sending(self) -> None:
        self._sending -= 1
        # Of all who send after a 429 only one does: whoever leaves is it, or was sent before.
        if self._probing and self._sending == 0:
            self._probing = False
        if self._strikes or self._slots is not None:
            self._news.notify_all()

    def _lease(self) -> None:
        with self._lock:
            demand = Demand(max(1, self._inside - self._sending), self._concurrency, self._sending)
        try:
            grant = self._quota.lease(demand)
        except BaseException:
            with self._lock:
                self._leasing = False
                self._news.notify_all()
            raise
        with self._lock:
            now = time.monotonic()
            self._leasing = False
            self._leased_at = now
            self._slots = grant.in_flight
            if grant.cooldown > 0:
                self._cool_until = max(self._cool_until, now + grant.cooldown)
            if grant.permits is None:
                self._free_until, self._lease_from = now + FREE_SECONDS, 0.0
            else:
                self._turns.extend(grant.permits)
                self._free_until, self._lease_from = 0.0, grant.permits[-1] - _AHEAD
            self._news.notify_all()

    def accepted(self, sent_at: float) -> None:
        """The service let a call through that was sent at `sent_at` (`time.monotonic`)."""
        with self._lock:
            self._answers.append(False)
            self._accepted.append(sent_at)
            self._forget_old()
            if not self._strikes or sent_at <= self._struck_at:
                return
            # By now it is known how many of the calls before the first 429 were let through.
            event = self._crowd(sent_at, 0.0) if self._strikes >= _PROOF_STRIKES and self._told_of_limit else None
            self._strikes = 0
            self._probing = False
            self._news.notify_all()
        if event is not None:
            self._quota.on_throttled(event)

    def on_throttled(self, sent_at: float, retry_after: float | None = None) -> int:
        """The service answered 429 to a call that was sent at `sent_at`: everybody waits.

        Returns:
            429s in a row, each after a longer pause; those of one burst count once.
        """
        with self._lock:
            now = time.monotonic()
            self._answers.append(True)
            self._forget_old()
            # What was sent in the same burst, or slipped out as the pause began, is no answer to the pause.
            fresh = not self._strikes or sent_at >= self._resumed_at
            if fresh:
                self._strikes += 1
                self._struck_at = now
                self._probing = False
                if self._strikes == 1:
                    self._row = 0
                    self._streak_began, self._told_of_limit = now, False
            cooldown = self._pause(retry_after, fresh=fresh)
            self._cool_until = max(self._cool_until, now + cooldown)
            self._resumed_at = self._cool_until
            if (retry_after or 0.0) >= _LONG_WAIT:
                self._strikes = max(self._strikes, _PROOF_STRIKES)
            limit = self._strikes >= _PROOF_STRIKES or sum(self._answers) >= _PROOF
            tell = fresh or (limit and not self._told_of_limit)
            self._told_of_limit = self._told_of_limit or limit
            if tell:  # what was leased before holds no more
                self._turns.clear()
                self._free_until = self._lease_from = 0.0
            self._row += fresh
            event, row = self._crowd(sent_at, cooldown), self._row
        if tell:
            self._quota.on_throttled(event)
        return row

    def _pause(self, retry_after: float | None, *, fresh: bool) -> float:
        named = 0.0 if retry_after is None else self._backoff.delay(1, retry_after)
        # A service that goes on naming too short a time is not believed for ever.
        computed = fresh and (retry_after is None or self._strikes > 2)
        return max(named, self._backoff.delay(self._strikes) if computed else 0.0)

    def _crowd(self, sent_at: float, cooldown: float) -> ThrottleEvent:
        now = time.monotonic()
        limit, accepted = self._told_of_limit, self._accepted_before_streak()
        return ThrottleEvent(now - sent_at, now - self._streak_began, self._strikes, limit, accepted, cooldown)

    def _accepted_before_streak(self) -> int:
        """Calls let through that were sent within the minute before the 429s began; later answers add to them."""
        began = self._streak_began
        return sum(began - _MINUTE < sent_at <= began for sent_at in self._accepted)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - 3 * _MINUTE
        while self._accepted and self._accepted[0] < oldest:
            self._accepted.popleft()

    def use(self, quota: Quota) -> None:
        """Take permits and slots from another quota from now on."""
        with self._lock:
            self._quota = quota
            self._leased_at = None
            self._free_until = 0.0

    def close(self) -> None:
        """Give back slots that others may use."""
        self._quota.close()

    @property
    def mean_seconds(self) -> float | None:
        """Mean time a call held its slot; None before the first."""
        with self._lock:
            return self._busy_seconds / self._calls if self._calls else None
