"""The process that `confined` starts. It does one job after the other, until its input ends."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import resource
import signal
import sys
import time
from pathlib import Path

from .channel import Channel, Limits, NoMore
from .confined import OUT_OF_MEMORY, PLACE
from .expansion import expand
from .parquet import convert

_SECONDS_EACH = 0.01
"""Processor time that each row and each prompt adds to what a reading may take in all."""

_LARGE = 150_000_000
"""Bytes: a process that is as large after its work is not used again, since memory does not always come back."""


class _Limits(Limits):
    def __init__(self, place: int, seconds: int, memory: int) -> None:
        self._seconds = seconds
        self._most = memory
        self._place = mmap.mmap(place, PLACE.size)
        self._end = 0.0
        self._memory = False
        self.restart()

    def restart(self) -> None:
        self._end = time.process_time() + self._seconds
        self.at(0)

    def memory(self) -> None:
        if self._memory:
            return
        self._memory = True
        # Where it cannot be limited, the processor time still is.
        with contextlib.suppress(OSError, ValueError):
            if pages := _pages(0):
                most = pages * resource.getpagesize() + self._most
                resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def at(self, line: int) -> None:
        PLACE.pack_into(self._place, 0, line)
        self.more(1)

    def more(self, made: int) -> None:
        self._end += made * _SECONDS_EACH
        left = max(self._end - time.process_time(), 0.01)
        signal.setitimer(signal.ITIMER_PROF, min(left, self._seconds))


def _pages(column: int) -> int:
    """Pages of memory, as Linux counts them: 0 for all addresses, 1 for what is in memory. Nothing elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[column])
    except OSError:
        return 0


def main() -> None:
    place, lifeline, seconds, memory = (int(argument) for argument in sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The lifeline never carries anything. When the other side is gone, the kernel sends SIGIO, which ends this process
    # in the midst of whatever it does.
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = _Limits(place, seconds, memory)
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    while True:
        channel = Channel(incoming, outgoing)
        try:
            name, argument = channel.order()
        except EOFError:
            return
        limits.restart()
        try:
            value = (convert if name == "parquet" else expand)(argument, channel, limits)
        except NoMore:
            channel.end(None, reusable=False)
        except MemoryError:
            # There may not be enough left to say so.
            os._exit(OUT_OF_MEMORY)
        except Exception as error:  # noqa: BLE001 - for the other side to raise
            channel.fail(error)
        else:
            channel.end(value, reusable=_pages(1) * resource.getpagesize() < _LARGE)


if __name__ == "__main__":
    main()
