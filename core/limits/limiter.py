"""Calls in flight and calls a minute, for all threads of a process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from .halt import Halt

__all__ = ["CallLimiter"]


class CallLimiter:
    """Lets a bounded number of calls run at once, and no more of them a minute than allowed.

    Args:
        concurrency: Calls in flight, at least 1.
        requests_per_minute: Highest rate of sends, evenly spaced; None for no limit.
        halt: Ends every wait.

    Example:
        >>> limiter = CallLimiter(4, None, Halt())
        >>> with limiter.slot() as may_send:
        ...     may_send
        True
    """

    def __init__(self, concurrency: int, requests_per_minute: float | None, halt: Halt) -> None:
        self._slots = threading.Semaphore(concurrency)
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._halt = halt
        self._lock = threading.Lock()
        self._next = 0.0
        self._cool_until = 0.0
        self._calls = 0
        self._busy_seconds = 0.0

    @contextlib.contextmanager
    def slot(self) -> Iterator[bool]:
        """Wait for a slot, hold it while the call is in flight. Yields False if the run was halted meanwhile."""
        while not self._slots.acquire(timeout=0.25):
            if self._halt.is_set:
                yield False
                return
        started = time.monotonic()
        try:
            yield self._wait_for_turn()
        finally:
            with self._lock:
                self._calls += 1
                self._busy_seconds += time.monotonic() - started
            self._slots.release()

    def _wait_for_turn(self) -> bool:
        while not self._halt.is_set:
            with self._lock:
                now = time.monotonic()
                turn = max(self._next, self._cool_until)
                if turn <= now:
                    self._next = max(self._next, now) + self._interval
                    return True
            self._halt.sleep(turn - now)
        return False

    def cool_down(self, seconds: float) -> None:
        """Nobody sends for so long: the service has said that it is too much."""
        with self._lock:
            self._cool_until = max(self._cool_until, time.monotonic() + seconds)

    @property
    def mean_seconds(self) -> float | None:
        """Mean time a call held its slot; None before the first."""
        with self._lock:
            return self._busy_seconds / self._calls if self._calls else None
