"""No paid call while the place its images go to is failing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import Unavailable

FRESH_SECONDS = 1.0
"""How old a sign of life may be: at most so long after a store went away are calls still sent."""


class HealthGate:
    """Open while a service is known to work, closed from its first failure until a probe succeeds.

    Normal use counts as a successful probe, so a busy store is not probed; an idle one is probed about once a second,
    by one thread for all.

    Args:
        probe: A cheap call that raises `Unavailable` while the service is down.
        patience: Seconds that an outage is waited for, counted from its first sign, for all who wait together.
    """

    def __init__(self, probe: Callable[[], None], *, patience: float, probe_pause: float = 0.5) -> None:
        self._probe = probe
        self._patience = patience
        self._probe_pause = probe_pause
        self._changed = threading.Condition()
        self._fresh_until = 0.0
        self._down_since: float | None = None
        self._probing = False
        self._next_probe = 0.0
        self._error: Unavailable | None = None

    def record_success(self) -> None:
        """The service just worked."""
        with self._changed:
            self._fresh_until = time.monotonic() + FRESH_SECONDS
            if self._down_since is not None:
                self._down_since = None
                self._changed.notify_all()

    def record_failure(self, error: Unavailable) -> None:
        """The service just failed: every call waits until a probe succeeds."""
        with self._changed:
            now = time.monotonic()
            self._fresh_until = 0.0
            self._error = error
            self._next_probe = now + self._probe_pause
            if self._down_since is None:
                self._down_since = now

    @property
    def is_closed(self) -> bool:
        """Whether the service is failing, as far as is known."""
        with self._changed:
            return self._down_since is not None

    @property
    def within_patience(self) -> bool:
        """Whether an outage, if there is one, is still to be waited for."""
        with self._changed:
            return self._down_since is None or time.monotonic() - self._down_since < self._patience

    def wait(self, give_up: Callable[[], bool]) -> bool:
        """Pass, or wait until the service is back.

        Args:
            give_up: Looked at while the gate is closed.

        Returns:
            False if it was given up.

        Raises:
            Unavailable: The outage has lasted longer than `patience`.
        """
        while True:
            with self._changed:
                now = time.monotonic()
                if now < self._fresh_until:
                    return True
                waiting = self._probing or now < self._next_probe
                if waiting:
                    self._check_patience(now)
                    self._changed.wait(self._probe_pause)
                else:
                    self._probing = True
            if give_up():
                if not waiting:
                    self._stop_probing()
                return False
            if not waiting:
                self._probe_once()

    def _check_patience(self, now: float) -> None:
        if self._error is not None and self._down_since is not None and now - self._down_since >= self._patience:
            raise self._error

    def _probe_once(self) -> None:
        """Probe on behalf of all who wait; outside the lock, since it can take seconds."""
        try:
            self._probe()
        except Unavailable as error:
            self.record_failure(error)
        else:
            self.record_success()
        finally:
            self._stop_probing()

    def _stop_probing(self) -> None:
        with self._changed:
            self._probing = False
            self._changed.notify_all()
