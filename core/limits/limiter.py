"""Calls in flight and calls a minute, for all threads of a process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from .backoff import Backoff
from .pacer import Pacer, Step
from .quota import OwnQuota, Quota, ThrottleEvent
from .stop import StopSignal

_LOOK = 0.25


class CallLimiter:
    """Lets a bounded number of calls run at once, and no more of them a minute than configured or observed.

    After a 429 all calls wait; then one call goes ahead, and the others follow once it was accepted. The sender reports
    the answer: `accepted`, `on_throttled`, or neither where no answer came.

    Args:
        requests_per_minute: Highest rate of sends, evenly spaced; None: learnt from the service's 429s.
        quota: Where permits come from; by default a schedule of this process alone.
        room: Bounds the calls of several limiters together; by default this one's alone.
        backoff: How long all calls wait after a 429 that names no time.

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
        room: threading.Semaphore | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._halt = halt
        self._clock = clock
        self._quota: Quota = quota or OwnQuota(requests_per_minute, clock)
        self.pacer = Pacer(concurrency, backoff or Backoff(first=1.0, maximum=60.0, jitter=0.1))
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._room = room or threading.Semaphore(concurrency)
        self._calls = 0
        self._busy_seconds = 0.0

    @contextlib.contextmanager
    def slot(self) -> Iterator[bool]:
        """Wait for a slot and a permit; hold the slot while the call is in flight. Yields False if the run stops."""
        while not self._room.acquire(timeout=_LOOK):
            if self._halt.is_set:
                yield False
                return
        with self._lock:
            self.pacer.waiting += 1
        started = self._clock()
        may_send = False
        try:
            may_send = self._wait_for_permit()
            yield may_send
        finally:
            with self._lock:
                self.pacer.waiting -= 1
                self._calls += 1
                self._busy_seconds += self._clock() - started
                if may_send:
                    self._leave()
            self._room.release()

    def _wait_for_permit(self) -> bool:
        while not self._halt.is_set:
            with self._lock:
                step, wait = self.pacer.next_step(self._clock())
                if step is Step.LOOK:
                    self._news.wait(_LOOK)
            if step is Step.LEASE:
                self.lease()
            elif step is Step.SLEEP:
                self._halt.sleep(wait)
            elif step is Step.GO and self._on_time(wait):
                return True
        return False

    def _on_time(self, wait: float) -> bool:
        """Wait until the permit begins. False if it is void: the run stops, or a 429 came meanwhile."""
        if wait > 0:
            self._halt.sleep(wait)
        with self._lock:
            if not self._halt.is_set and not self.pacer.is_void(wait, self._clock()):
                return True
            self._leave()
        return False

    def _leave(self) -> None:
        if self.pacer.sent():
            self._news.notify_all()

    def lease(self) -> None:
        """Take permits from the quota, for the step LEASE of the pacer."""
        with self._lock:
            demand = self.pacer.demand()
        try:
            grant = self._quota.lease(demand)
        except BaseException:
            with self._lock:
                self.pacer.lease_failed()
                self._news.notify_all()
            raise
        with self._lock:
            self.pacer.granted(grant, self._clock())
            self._news.notify_all()

    def accepted(self, sent_at: float) -> None:
        """The service accepted a call that was sent at `sent_at`, by the limiter's clock."""
        with self._lock:
            ended, event = self.pacer.accepted(sent_at, self._clock())
            if ended:
                self._news.notify_all()
        self._report(event)

    def on_throttled(self, sent_at: float, retry_after: float | None = None) -> int:
        """The service answered 429 to a call that was sent at `sent_at`: all calls wait.

        Returns:
            429s in a row, each after a longer pause; those of one burst count once.
        """
        with self._lock:
            event = self.pacer.throttled(sent_at, retry_after, self._clock())
            pauses = self.pacer.pauses
        self._report(event)
        return pauses

    def _report(self, event: ThrottleEvent | None) -> None:
        if event is not None:
            self._quota.on_throttled(event)

    def close(self) -> None:
        self._quota.close()

    @property
    def mean_seconds(self) -> float | None:
        """Mean time a call held its slot; None before the first."""
        with self._lock:
            return self._busy_seconds / self._calls if self._calls else None
