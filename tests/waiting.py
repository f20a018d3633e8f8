"""Waiting in tests: a wait that fails says what it waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    ask: Callable[[], T],
    what: str,
    *,
    seconds: float = 120,
    pause: float = 0.1,
    details: Callable[[], object] | None = None,
) -> T:
    """Ask until the answer is true, and return it.

    Args:
        ask: Gives the answer.
        what: What is waited for, for the message of a test that fails.
        seconds: How long to wait. A busy machine needs a multiple of what an idle one does.
        pause: Seconds between two answers.
        details: Gives what helps to understand a wait in vain, such as a log.
    """
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}" + (f":\n{details()}" if details else ""))
        time.sleep(pause)
    return answer


def until_steady(measure: Callable[[], T], what: str, *, steady: float = 1.0, seconds: float = 120) -> T:
    """Ask until the answer has been the same for a while, and return it.

    Args:
        measure: Gives the answer.
        what: What is to stop changing, for the message of a test that fails.
        steady: Seconds without a change that are long enough.
        seconds: How long to wait.
    """
    deadline = time.monotonic() + seconds
    value, since = measure(), time.monotonic()
    while time.monotonic() - since < steady:
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what} to stop changing"
        time.sleep(0.05)
        if (latest := measure()) != value:
            value, since = latest, time.monotonic()
    return value
