"""When a 403 means that the credit is spent, and when it is about one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FORBIDDEN = 403

_IN_A_ROW = 3
_FRESH_SECONDS = 2.0


class BalanceGuard:
    """Opens when the balance is below the price of what was asked for, or after three 403s in a row. Thread-safe.

    A single 403 can be about one request: the API documents it for an empty balance, a key's own cap and a missing
    right alike (AI/ML API docs, errors), and the balance can be asked for free (`GET /v2/billing`).

    Example:
        >>> guard = BalanceGuard(lambda: 1_000_000)
        >>> guard.record_forbidden("call-1", 104_000), guard.record_forbidden("call-2", 2_000_000)
        (False, True)
    """

    def __init__(self, balance: Callable[[], int | None]) -> None:
        self._balance = balance
        self._lock = threading.Lock()
        self._row: list[str] = []
        self._row_began = 0.0
        self.is_open = False
        self._asked_at: float | None = None
        self._known: int | None = None

    @property
    def calls(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._row)

    def record_ok(self, sent_at: float) -> None:
        """A call that was sent at `sent_at` (`time.monotonic`) was answered otherwise.

        One that was sent before the first 403 came says nothing of what came after.
        """
        with self._lock:
            if not self.is_open and sent_at > self._row_began:
                self._row.clear()

    def record_forbidden(self, call_id: str, price: int) -> bool:
        """A call was answered with 403.

        Returns:
            Whether nothing more can be bought; if not, it is the item's own matter.
        """
        with self._lock:
            if not self._row:
                self._row_began = time.monotonic()
            self._row.append(call_id)
            balance = self._current_balance()
            if len(self._row) >= _IN_A_ROW or (balance is not None and balance < price):
                self.is_open = True
            return self.is_open

    def _current_balance(self) -> int | None:
        """Asked once for all calls that come back together."""
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at >= _FRESH_SECONDS:
            self._known, self._asked_at = self._balance(), time.monotonic()
        return self._known
