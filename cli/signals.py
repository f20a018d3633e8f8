"""Ctrl-C and SIGTERM during a run: the first ends it in an orderly way, the second Ctrl-C at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .console import stderr
from .failures import INTERRUPTED, Terminated

__all__ = ["orderly_stop", "terminable"]


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` for SIGTERM, so that everything that was started is stopped."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def orderly_stop(announcement: str) -> Iterator[None]:
    """Raise `KeyboardInterrupt` for the first SIGINT and `Terminated` for SIGTERM; leave at once on a second SIGINT.

    Args:
        announcement: Printed on the first signal.
    """
    interrupts = 0

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            stderr().show_cursor()
            # Not sys.exit: that would wait for the threads whose calls are in flight. The ledger has their intent;
            # the next run calls them unknown.
            os._exit(INTERRUPTED)
        stderr().print(f"\n{announcement} Ctrl-C again leaves at once.")
        raise KeyboardInterrupt

    def terminate(_number: int, _frame: FrameType | None) -> None:
        stderr().print(announcement)
        raise Terminated

    before = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
