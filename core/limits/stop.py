"""Stopping a run: one flag that is looked at before each paid call."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable


class StopReason(enum.StrEnum):
    """Why a run sends no more paid calls."""

    BUDGET = "budget reached"
    KEY = "key refused"
    CREDIT = "out of credit"
    MODEL = "model not served"
    RATE = "rate limited"
    API = "API unreachable"
    CALLS = "no call succeeds"
    PICTURES = "no picture arrives"
    STORE = "store unavailable"
    SPOOL = "spool full"
    LEDGER = "catalog unavailable"
    BEHIND = "catalog behind its store"
    STOPPED = "stopped"


class StopSignal:
    """A flag that is set once, with the first reason, and ends waits.

    After it is set nothing new is sent, but calls in flight are still recorded and paid images still delivered. Only
    STOPPED, which a person or the platform asks for, also ends the waits of the delivery.
    """

    def __init__(self) -> None:
        self._halted = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._on_stop: list[Callable[[], None]] = []
        self.reason: StopReason | None = None
        self.message = ""
        self.budget: str | None = None
        self.account: str | None = None

    def set(self, reason: StopReason, message: str, *, budget: str | None = None, account: str | None = None) -> None:
        """Stop. Only the first reason is kept.

        Args:
            budget: With BUDGET, whose budget was reached: `run`, `day` or `month`.
            account: The provider that this is about, where another one may still be bought from.
        """
        with self._lock:
            if self.reason is None:
                self.reason, self.message, self.budget, self.account = reason, message, budget, account
            call = []
            if reason is StopReason.STOPPED and not self._stopped.is_set():
                self._stopped.set()
                call = self._on_stop
        self._halted.set()
        for action in call:
            action()

    def on_stop(self, action: Callable[[], None]) -> None:
        """Have `action` called once, when the run is stopped."""
        with self._lock:
            self._on_stop.append(action)

    def clear(self, reason: StopReason) -> bool:
        """Clear the stop if this was its only reason. Returns whether it was cleared.

        Only safe while no thread waits: between two rounds of chunks.
        """
        with self._lock:
            if self.reason is not reason or self._stopped.is_set():
                return False
            self.reason, self.message, self.budget, self.account = None, "", None, None
            self._halted.clear()
            return True

    @property
    def is_set(self) -> bool:
        """Whether to send nothing more."""
        return self._halted.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether to wait for nothing more, either."""
        return self._stopped.is_set()

    def sleep(self, seconds: float) -> bool:
        """Wait before another paid call; returns True at once when halted."""
        return self._halted.wait(max(0.0, seconds))

    def pause(self, seconds: float) -> bool:
        """Wait before another download or upload; returns True at once when stopped."""
        return self._stopped.wait(max(0.0, seconds))
