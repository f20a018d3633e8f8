"""How long a database has been away, for all who wait for it: patience is spent once, not by each of them.

A database that refuses may refuse writes only (a full disk, a locked file), so readers and the writer have an `Outage`
each. A server that is silent is so for everybody: they share one `Silence`, which bounds each attempt by what is left
of the patience. Once the patience is over, all fail at once, but for one short attempt every few seconds.
"""

from __future__ import annotations

import math
import threading
import time

_SILENT_SECONDS = 5.0
_SHORTEST_LIMIT = 10.0
_LOOK = 2.0


class Silence:
    """A server that neither answers nor refuses. Thread-safe.

    Attributes:
        patience: Seconds that a database which is away is waited for; None where nothing is known of the one who waits,
            and a statement may take as long as it likes.
    """

    def __init__(self) -> None:
        self.patience: float | None = None
        self._lock = threading.Lock()
        self._since: float | None = None
        self._error: BaseException | None = None
        self._next_look = 0.0

    def limit(self, began: float) -> float:
        """Seconds that an attempt, begun at a moment, may take: to connect, or to execute a statement."""
        if self.patience is None:
            return math.inf
        since = self._since
        # What takes long on a server that answers is not an outage: so much time each of them has.
        longest = max(self.patience, _SHORTEST_LIMIT)
        return longest if since is None else min(longest, max(since + self.patience - began, _LOOK))

    @property
    def is_over(self) -> bool:
        """Whether the server is silent, and there is no patience left."""
        since = self._since
        return since is not None and time.monotonic() - since >= (self.patience or 0.0)

    def heard(self) -> None:
        """Note that the server answered."""
        self._since = self._error = None

    def failed(self, error: BaseException, began: float) -> None:
        """Note that an attempt, begun at a moment, was given up without any answer."""
        with self._lock:
            self._since = began if self._since is None else min(began, self._since)
            self._error, self._next_look = error, time.monotonic() + _SILENT_SECONDS

    def error_now(self) -> BaseException | None:
        """The error to fail with at once, since patience is over; None for who is to make an attempt."""
        if not self.is_over:
            return None
        with self._lock:
            now = time.monotonic()
            if now < self._next_look:
                return self._error
            self._next_look = now + _SILENT_SECONDS
            return None


class Outage:
    """A database that is away, for all who wait for it to do the same: to read, or to write.

    Args:
        silence: Of its server; it has the patience of those who wait.
    """

    def __init__(self, silence: Silence) -> None:
        self._silence = silence
        self._since: float | None = None
        self._error: BaseException | None = None
        self._hopeless_until = 0.0

    def failed(self, error: BaseException, began: float) -> bool:
        """Note that an attempt, begun at a moment, failed. Returns whether another one may be made."""
        now = time.monotonic()
        if self._since is None:
            self._since = began
        # What fails slowly, such as a locked file, costs each of those who wait as much time again.
        slow = now - began >= _SILENT_SECONDS
        self._error, self._hopeless_until = error, now + _SILENT_SECONDS if slow else 0.0
        return not self._is_over(now)

    def ended(self) -> None:
        """Note that the database did what it was asked for."""
        self._since = self._error = None

    def error_now(self) -> BaseException | None:
        """The error of an attempt that has just failed, if patience is over by now; None if another may be made."""
        now = time.monotonic()
        return self._error if self._is_over(now) and now < self._hopeless_until else None

    def _is_over(self, now: float) -> bool:
        mine = self._since is not None and now - self._since >= (self._silence.patience or 0.0)
        return mine or self._silence.is_over
