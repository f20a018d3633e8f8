"""The limit of calls to an endpoint: calls per time window, and calls at once. Any other call gets a 429.

The API names no limits and documents only that a 429 stands for "rate or concurrency" (AI/ML API docs, errors). Here
both can be set. A rejected call does not count.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable


class RateLimit:
    """A sliding window of calls, and a limit of calls at once.

    Args:
        calls: Most calls in a window; None for any number.
        window: Length of the sliding window in seconds.
        concurrent: Most calls in flight; None for any number.
        clock: Returns the time in seconds; tests replace it.

    Example:
        >>> rate_limit = RateLimit(1, 60.0, None, clock=lambda: 5.0)
        >>> rate_limit.try_acquire(in_flight=1), rate_limit.try_acquire(in_flight=1)
        (None, 60)
    """

    def __init__(
        self, calls: int | None, window: float, concurrent: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._window = window
        self._concurrent = concurrent
        self._clock = clock
        self._accepted: deque[float] = deque()

    def try_acquire(self, in_flight: int = 0) -> int | None:
        """Accept a call (None), or say after how many seconds, rounded up, to try again.

        `in_flight` counts the calls in flight, including this one.
        """
        if self._concurrent is not None and in_flight > self._concurrent:
            return 1
        if self._calls is None:
            return None
        now = self._clock()
        while self._accepted and now - self._accepted[0] >= self._window:
            self._accepted.popleft()
        if len(self._accepted) < self._calls:
            self._accepted.append(now)
            return None
        return max(1, math.ceil(self._accepted[0] + self._window - now))

    def reset(self) -> None:
        """Start with an empty window."""
        self._accepted.clear()
