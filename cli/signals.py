"""How a process ends: on Ctrl-C and SIGTERM in order, on a second Ctrl-C at once, and always within some seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .console import stderr
from .exit_codes import INTERRUPTED, Terminated


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
def orderly_stop(announcement: str, *, seconds: float) -> Iterator[None]:
    """Raise `KeyboardInterrupt` for the first SIGINT and `Terminated` for SIGTERM; leave at once on a second SIGINT.

    Args:
        announcement: Printed on the first signal.
        seconds: When the process leaves all the same. What is done is on the ledger and in the spool.
    """
    interrupts = 0

    def leave_after_all(exit_code: int) -> None:
        last_resort = threading.Timer(seconds, os._exit, (exit_code,))
        last_resort.daemon = True
        last_resort.start()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            stderr().show_cursor()
            # Not sys.exit: that would wait for the threads whose calls are in flight. The ledger has their intent;
            # the next run calls them unknown.
            os._exit(INTERRUPTED)
        stderr().print(f"\n{announcement} Ctrl-C again leaves at once.")
        leave_after_all(INTERRUPTED)
        raise KeyboardInterrupt

    def terminate(_number: int, _frame: FrameType | None) -> None:
        stderr().print(announcement)
        leave_after_all(Terminated.exit_code)
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


def exit_within(seconds: float, code: int) -> None:
    """Make sure that the process ends, also where Prefect waits at its exit for an API that is gone.

    Everything of this package is settled by then; only Prefect's own last log lines can get lost.
    """

    def leave() -> None:
        sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
