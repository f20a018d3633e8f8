"""Budgets of memory: so many bytes for all threads of a process, whatever strangers send at once."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .errors import BadInput

T = TypeVar("T")


def bytes_from_environment(variable: str, default: int, least: int) -> int:
    """A number of bytes that the environment may change.

    Raises:
        BadInput: It asks for what is no number of bytes, or for fewer than `least`.
    """
    text = os.environ.get(variable, "").strip() or str(default)
    if not text.isdecimal() or len(text) > 15 or int(text) < least:
        raise BadInput(f"{variable}={text[:40]!r}: give a number of bytes, at least {least:,}")
    return int(text)


def once_per_process(make: Callable[[], T]) -> functools._lru_cache_wrapper[T]:
    """Make something once, and anew in a forked process: what another thread held there would never be given back."""
    made = functools.cache(make)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.cache_clear)
    return made


class Budget:
    """So many bytes for all threads of this process. Those who wait are served in turn, and nobody waits for ever."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._used = 0

    @contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        """Hold an amount; what exceeds the limit is held alone."""
        amount = min(amount, self.limit)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self.limit)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


class GrowingBudget:
    """So many bytes for what comes in from elsewhere, whose length shows only at its end.

    Each part of it has a share that grows. What the oldest of those that still grow may yet need is kept free: it waits
    only for shares that have ended to be given back. So no two wait for each other to end, and all of them come to
    their end, one after the other.

    Args:
        limit: Bytes of all shares together.
        most: Bytes that one share grows to.
    """

    def __init__(self, limit: int, most: int) -> None:
        self.limit = limit
        self._most = most
        # Reentrant: the collector may give a share back while this thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._held: dict[int, int] = {}
        self._growing: list[int] = []

    def share(self) -> Share:
        """A share of nothing as yet."""
        return Share(self)

    @property
    def used(self) -> int:
        """Bytes of all shares."""
        return sum(list(self._held.values()))

    def _grow(self, share: int, size: int, deadline: float) -> bool:
        with self._changed:
            if share not in self._growing:
                self._growing.append(share)
            if not self._changed.wait_for(lambda: self._fits(share, size), max(0.0, deadline - time.monotonic())):
                return False
            self._held[share] = size
            return True

    def _fits(self, share: int, size: int) -> bool:
        oldest = self._growing[0]
        kept_free = max(0, self._most - self._held.get(oldest, 0)) if share != oldest else 0
        return self.used - self._held.get(share, 0) + size + kept_free <= self.limit

    def _end(self, share: int, size: int) -> None:
        """Let a share grow no more, and give back what it does not hold any longer."""
        with self._changed:
            if share in self._growing:
                self._growing.remove(share)
            if size:
                self._held[share] = size
            else:
                self._held.pop(share, None)
            self._changed.notify_all()


class Share:
    """What one part takes of a `GrowingBudget`; given back when nothing refers to it any more."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: GrowingBudget) -> None:
        self._budget = budget
        self._size = 0

    def grow(self, size: int, deadline: float) -> bool:
        """Wait until there is room for `size` bytes; False if there is none at `deadline` (`time.monotonic`)."""
        if size > self._size:
            if not self._budget._grow(id(self), size, deadline):
                return False
            self._size = size
        return True

    def end(self, size: int) -> None:
        """It grows no more, and holds so many bytes from here on, at most those it grew to."""
        self._size = min(size, self._size)
        self._budget._end(id(self), self._size)

    def __del__(self) -> None:
        self._budget._end(id(self), 0)
