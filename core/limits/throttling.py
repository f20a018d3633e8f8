"""Episodes of 429s: how long all calls wait, and what an episode tells of the service's limit."""

from __future__ import annotations

from collections import deque

from .backoff import Backoff
from .quota import ThrottleEvent

_MINUTE = 60.0
_ANSWERS = 40
_PROOF = 10
"""This many 429s among the last 40 answers are a limit, not chance."""

_PROOF_IN_A_ROW = 4
_LONG_WAIT = 8.0
"""A service that asks for such a long pause counts by the minute, like one that several pauses did not satisfy."""


class Throttling:
    """The 429s of one limiter. Not thread-safe: the limiter holds its lock.

    Attributes:
        cooldown_until: Nobody sends before.
        consecutive_429s: 429s without an accepted call between, as far as they tell of the limit.
        pauses: 429s in this episode, each after a longer pause; those of one burst count once.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.cooldown_until = 0.0
        self.consecutive_429s = 0
        self.pauses = 0
        self._throttled_at = self._resumed_at = self._began = 0.0
        self._limit = False
        self._answers: deque[bool] = deque(maxlen=_ANSWERS)
        self._accepted: deque[float] = deque()

    def accepted(self, sent_at: float, now: float) -> tuple[bool, ThrottleEvent | None]:
        """A call was accepted.

        Returns:
            Whether it ends an episode, and what that tells of the limit, if anything.
        """
        self._answers.append(False)
        self._accepted.append(sent_at)
        self._forget_old(now)
        if not self.consecutive_429s or sent_at <= self._throttled_at:
            return False, None
        # By now it is known how many of the calls before the first 429 were accepted.
        known = self.consecutive_429s >= _PROOF_IN_A_ROW and self._limit
        event = self._event(sent_at, now, 0.0) if known else None
        self.consecutive_429s = 0
        return True, event

    def throttled(self, sent_at: float, retry_after: float | None, now: float) -> tuple[bool, ThrottleEvent | None]:
        """A call was answered with 429.

        Returns:
            Whether it is an answer to the last pause, and what is to be reported, if anything.
        """
        self._answers.append(True)
        self._forget_old(now)
        # What was sent in the same burst, or slipped out as the pause began, is no answer to the pause.
        fresh = not self.consecutive_429s or sent_at >= self._resumed_at
        if fresh:
            self.consecutive_429s += 1
            self._throttled_at = now
            if self.consecutive_429s == 1:
                self.pauses = 0
                self._began, self._limit = now, False
        cooldown = self._pause(retry_after, fresh=fresh)
        self.cooldown_until = self._resumed_at = max(self.cooldown_until, now + cooldown)
        if (retry_after or 0.0) >= _LONG_WAIT:
            self.consecutive_429s = max(self.consecutive_429s, _PROOF_IN_A_ROW)
        limit = self.consecutive_429s >= _PROOF_IN_A_ROW or sum(self._answers) >= _PROOF
        report = fresh or (limit and not self._limit)
        self._limit = self._limit or limit
        self.pauses += fresh
        return fresh, self._event(sent_at, now, cooldown) if report else None

    def _pause(self, retry_after: float | None, *, fresh: bool) -> float:
        named = 0.0 if retry_after is None else self._backoff.delay(1, retry_after)
        # A service that keeps naming too short a time is not believed for ever.
        computed = fresh and (retry_after is None or self.consecutive_429s > 2)
        return max(named, self._backoff.delay(self.consecutive_429s) if computed else 0.0)

    def _event(self, sent_at: float, now: float, cooldown: float) -> ThrottleEvent:
        # Calls accepted that were sent within the minute before the 429s began; later answers add to them.
        accepted = sum(self._began - _MINUTE < one <= self._began for one in self._accepted)
        return ThrottleEvent(now - sent_at, now - self._began, self.consecutive_429s, self._limit, accepted, cooldown)

    def _forget_old(self, now: float) -> None:
        while self._accepted and self._accepted[0] < now - 3 * _MINUTE:
            self._accepted.popleft()
