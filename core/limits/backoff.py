"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter, in seconds. A time the service names itself goes before the computed one.

    Attributes:
        jitter: Part of the delay that is random, 0 to 1: callers that failed together do not return together.

    Example:
        >>> Backoff(first=1, jitter=0).delay(3), Backoff(jitter=0).delay(1, retry_after=7)
        (4.0, 7.0)
    """

    first: float = 1.0
    factor: float = 2.0
    maximum: float = 60.0
    jitter: float = 0.5

    def delay(self, tries: int, retry_after: float | None = None) -> float:
        """Seconds to wait after so many tries (from 1)."""
        if retry_after is not None:
            # Never before the named moment; a little after it, so that not all callers come back in the same instant.
            return retry_after + random.uniform(0, self.jitter * min(1.0, retry_after))  # noqa: S311 - jitter
        computed = min(self.maximum, self.first * self.factor ** min(tries - 1, 64))
        return computed * (1 - self.jitter * random.random())  # noqa: S311 - jitter
