"""No paid call while the place its images go to is failing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import Unavailable

__all__ = ["FRESH_SECONDS", "Gate"]

FRESH_SECONDS = 1.0
"""How old a sign of life may be: at most so long after a store went away are calls still sent."""

_PROBE_PAUSE = 0.5


class Gate:
    """Open while a service is known to work, closed from its first failure until a probe succeeds.

    Ordinary use counts as a sign of life, so a busy store is not probed; an idle one is probed about once a second,
    by one thread for all.

    Args:
        probe: A cheap call that raises `Unavailable` while the service is down.
        patience: Seconds that a closed gate is waited for.
    """

    def __init__(self, probe: Callable[[], None], *, patience: float) -> None:
        self._probe = probe
        self._patience = patience
        self._lock = threading.Lock()
        self._fresh_until = 0.0

    def worked(self) -> None:
        """The service was just used with success."""
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def failed(self) -> None:
        """The service just failed: nobody passes before a probe has succeeded."""
        self._fresh_until = 0.0

    def wait(self, give_up: Callable[[], bool]) -> bool:
        """Pass, or wait until the service is back.

        Args:
            give_up: Looked at while the gate is closed.

        Returns:
            False if it was given up.

        Raises:
            Unavailable: It did not come back within `patience`.
        """
        if time.monotonic() < self._fresh_until:
            return True
        deadline = time.monotonic() + self._patience
        while True:
            if give_up():
                return False
            # A timed acquire, since the thread that probes may itself wait for long.
            if not self._lock.acquire(timeout=0.25):
                continue
            try:
                if time.monotonic() < self._fresh_until:
                    return True
                self._probe()
            except Unavailable:
                if time.monotonic() >= deadline:
                    raise
                # With the lock held: whoever waits, waits for the next probe, and makes none of its own.
                time.sleep(min(_PROBE_PAUSE, max(0.0, deadline - time.monotonic())))
            else:
                self.worked()
                return True
            finally:
                self._lock.release()
