"""No paid call while nothing of what is bought succeeds.

A storm is not known by its status codes: a firewall answers 403, a gateway 524 after billing, a CDN 404 for every
picture. It is known by the absence of success. So one `CircuitBreaker` watches the calls of a run, another one its
pictures, each by the same rule:

- calls in flight and failures since the last success are together at most `concurrency` + 6;
- once there are so many failures, buying pauses; after growing pauses, which add up to the patience, one call at a time
  goes ahead, four at most;
- a success ends the pause; without one, the run ends when the patience is over.

So at most `concurrency` + 10 calls are sent while nothing succeeds. Of calls that fail independently with a
probability of 10 %, seven in a row (the fewest that lead to a pause, with one call at a time) are 1 in 10,000,000.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import Unavailable

BEYOND_CONCURRENCY = 6
PROBES = 4
SLOW_SECONDS = 30.0
"""So long, from the call on, a picture may take that has not failed yet, also where patience is shorter."""

_DOUBTFUL = 3
_LOOK = 0.25


def most_calls(concurrency: int) -> int:
    """How many calls are sent at most while nothing succeeds."""
    return concurrency + BEYOND_CONCURRENCY + PROBES


class NothingSucceeds(Unavailable):
    """None of the last calls, or none of their pictures, succeeded; the message names the last failure."""


class CircuitBreaker:
    """Lets calls through while they succeed. Thread-safe.

    Args:
        of: What is watched, in the plural, for messages: `calls` or `pictures`.
        concurrency: Calls that may be in flight at once.
        patience: Seconds that are waited for a success, counted from the moment at which buying pauses.
        lagging: What is watched may come long after its call, as pictures do. Then a success clears what is open, since
            that has no bound, and once the first sign of trouble is older than the patience, nothing is waited for but
            what is merely slow: what is not in trouble itself, and no slower than the slowest that succeeded.
        on_change: Told when buying pauses (with the reason), and when it goes on (with None).

    Attributes:
        of: As given.
        pauses: How often buying paused.

    Example:
        >>> breaker = CircuitBreaker("calls", 1, patience=0.0)
        >>> for number in range(8):
        ...     if breaker.enter(f"call-{number}", lambda: False):
        ...         breaker.failed(f"call-{number}", "the API answered 524")
        >>> breaker.enter("call-8", lambda: False)
        Traceback (most recent call last):
        prefect_imagen.core.limits.circuit.NothingSucceeds: none of the last 8 calls succeeded: the API answered 524
    """

    def __init__(
        self,
        of: str,
        concurrency: int,
        patience: float,
        *,
        lagging: bool = False,
        on_change: Callable[[str | None], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.of = of
        self._limit = concurrency + BEYOND_CONCURRENCY
        self._patience = patience
        self._lagging = lagging
        self.on_change = on_change
        self._clock = clock
        self._changed = threading.Condition()
        self._open: dict[str, float] = {}  # when each of them entered
        self._slowest = SLOW_SECONDS
        self._failed: set[str] = set()
        self._troubled: set[str] = set()
        self._alone: set[str] = set()  # in trouble while others succeeded: their own matter
        self._trouble_since = 0.0
        self._reason = ""
        self._paused_at: float | None = None
        self.pauses = 0
        self._probe: str | None = None
        self._probes = 0
        self._next_probe = 0.0

    def enter(self, call_id: str, give_up: Callable[[], bool]) -> bool:
        """Wait until a call may be sent. Whoever enters reports its end: `succeeded`, `failed` or `ended`.

        Args:
            give_up: Looked at while it waits.

        Returns:
            False if it was given up.

        Raises:
            NothingSucceeds: The patience is over.
        """
        while not give_up():
            with self._changed:
                now = self._clock()
                if self._may_enter(now):
                    self._open[call_id] = now
                    if self._paused_at is not None:
                        self._probe = call_id
                    return True
                if self._is_over(now):
                    raise NothingSucceeds(self._message())
                self._changed.wait(_LOOK)
        return False

    def _may_enter(self, now: float) -> bool:
        if self._paused_at is None:
            return len(self._open) + len(self._failed) < self._limit
        # What is in flight when the pause begins is as good as a probe.
        return not self._open and self._probes < PROBES and now >= self._next_probe

    def _is_over(self, now: float) -> bool:
        if self._paused_at is None:
            tried = self._lagging and bool(self._troubled) and now - self._trouble_since >= self._patience
            return tried and not any(self._is_merely_slow(call_id, now) for call_id in self._open)
        hangs = bool(self._open) and self._probe is None and now - self._paused_at >= self._patience
        return self._probes >= PROBES or hangs

    def _is_merely_slow(self, call_id: str, now: float) -> bool:
        return call_id not in self._troubled and now - self._open[call_id] < self._slowest

    def _message(self) -> str:
        return f"none of the last {len(self._troubled)} {self.of} succeeded: {self._reason}"

    def succeeded(self, call_id: str, began: float) -> None:
        """Something worked.

        Args:
            began: When the attempt began (`time.monotonic`). What began before the first failure says nothing of what
                came after.
        """
        with self._changed:
            now = self._clock()
            self._slowest = max(self._slowest, now - self._open.pop(call_id, now))
            counts = not self._troubled or began >= self._trouble_since
            went_on = counts and self._paused_at is not None
            if counts:
                self._alone |= self._troubled
                self._failed.clear()
                self._troubled.clear()
                self._paused_at, self._probes = None, 0
                if self._lagging:
                    self._open.clear()
            self._end_probe(call_id, failed=False)
            self._changed.notify_all()
        if went_on:
            self.on_change(None)

    def troubled(self, call_id: str, reason: str) -> None:
        """An attempt to get a picture failed; another one follows."""
        with self._changed:
            self._note_trouble(call_id, reason)

    def _note_trouble(self, call_id: str, reason: str) -> None:
        if not self._troubled:
            self._trouble_since = self._clock()
        self._troubled.add(call_id)
        self._reason = reason

    def failed(self, call_id: str, reason: str) -> None:
        """A call, or one of its pictures, came to nothing, and it is not the item's own matter."""
        pauses = False
        with self._changed:
            now = self._clock()
            self._note_trouble(call_id, reason)
            self._open.pop(call_id, None)
            self._failed.add(call_id)
            if self._paused_at is None and len(self._failed) >= self._limit:
                self._paused_at, self._probes = now, 0
                self._next_probe = now + self._pause()
                self.pauses += 1
                pauses = True
            self._end_probe(call_id, failed=True)
            message = self._message()
            self._changed.notify_all()
        if pauses:
            self.on_change(message)

    def ended(self, call_id: str) -> None:
        """A call is over, and what became of it tells nothing: it was not sent, or asked to come later."""
        with self._changed:
            self._open.pop(call_id, None)
            self._end_probe(call_id, failed=False)
            self._changed.notify_all()

    def _end_probe(self, call_id: str, *, failed: bool) -> None:
        if call_id != self._probe:
            return
        self._probe = None
        if failed and self._paused_at is not None:
            now, deadline = self._clock(), self._paused_at + self._patience
            self._probes = self._probes + 1 if now < deadline else PROBES
            self._next_probe = min(now + self._pause(), deadline)

    def _pause(self) -> float:
        """Seconds before the next probe. Each is twice the one before, and all are the patience together."""
        return self._patience * (1 << self._probes) / ((1 << PROBES) - 1)

    @property
    def reason(self) -> str | None:
        """Why buying pauses; None while it goes on."""
        with self._changed:
            return self._message() if self._paused_at is not None else None

    @property
    def is_doubtful(self) -> bool:
        """Whether several came into trouble since the last success: then it may not be the matter of a single one."""
        with self._changed:
            return len(self._troubled - self._alone) >= _DOUBTFUL
