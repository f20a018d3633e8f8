"""The rate limit of the paid endpoints: so many calls a window, so many at once, the rest is a 429.

The API names no limits and documents only that a 429 stands for "rate or concurrency" (AI/ML API docs, errors). Here
both can be set. A call that is turned away takes no place in the window.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable


class RateLimit:
    """Counts who comes in. Thread-safe.

    Args:
        most: Calls in a window, or None for any number.
        window: Its length in seconds; it slides.
        at_once: Calls in flight, or None for any number.
        clock: Seconds, for tests.

    Example:
        >>> rate_limit = RateLimit(1, 60.0, None, clock=lambda: 5.0)
        >>> rate_limit.try_acquire(in_flight=1), rate_limit.try_acquire(in_flight=1)
        (None, 60)
    """

    def __init__(
        self,
        most: int | None,
        window: float,
        at_once: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._window = window
        self._at_once = at_once
        self._clock = clock
        self._lock = threading.Lock()
        self._entered: deque[float] = deque()

    def try_acquire(self, in_flight: int = 0) -> int | None:
        """Come in, or learn after how many seconds (rounded up) there may be room.

        Args:
            in_flight: Calls that are in already, this one included.
        """
        if self._at_once is not None and in_flight > self._at_once:
            return 1
        if self._most is None:
            return None
        with self._lock:
            now = self._clock()
            while self._entered and now - self._entered[0] >= self._window:
                self._entered.popleft()
            if len(self._entered) < self._most:
                self._entered.append(now)
                return None
            return max(1, math.ceil(self._entered[0] + self._window - now))

    def reset(self) -> None:
        """Forget who came in."""
        with self._lock:
            self._entered.clear()
