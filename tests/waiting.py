"""Waiting in tests: for a state that is named, so that a test that waits in vain says for what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def wait_until(state: str, reached: Callable[[], T], *, seconds: float = 60) -> T:
    """Wait until a state is reached, and return the first true value of `reached`.

    Args:
        state: Names the state in the assert.
        reached: Asked again and again until its value is true.
        seconds: How long to wait at most.
    """
    deadline = time.monotonic() + seconds
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not reached within {seconds:g} s: {state}"
        time.sleep(_PAUSE)
    return value


def wait_until_steady(name: str, measure: Callable[[], T], *, steady: float = 1.0, seconds: float = 60) -> T:
    """Wait until a measure has not changed for a while, and return it.

    Args:
        name: Names the measure in the assert.
        measure: Asked again and again.
        steady: Seconds without a change that are long enough.
        seconds: How long to wait at most.
    """
    deadline = time.monotonic() + seconds
    value, since = measure(), time.monotonic()
    while time.monotonic() - since < steady:
        assert time.monotonic() < deadline, f"still changing after {seconds:g} s: {name}"
        time.sleep(_PAUSE)
        latest = measure()
        if latest != value:
            value, since = latest, time.monotonic()
    return value
