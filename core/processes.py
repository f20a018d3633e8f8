"""Processes that this one has started."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from typing import Generic, Protocol, TypeVar

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "TZ", "TMPDIR", "SYSTEMROOT")


def environment_without_secrets() -> dict[str, str]:
    """The environment of a process that works on what strangers made: what Python needs to start, and no key."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}


class _Ends(Protocol):
    def end(self) -> object: ...


P = TypeVar("P", bound=_Ends)


class IdleProcesses(Generic[P]):
    """Processes that wait for their next job. Thread-safe.

    They end with this process. One that is forked from it starts its own, since two cannot talk to one process.

    Args:
        most: How many wait at once for each kind of job; one more is ended.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[str, list[P]] = {}
        self._of_the_parent: list[object] = []
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def take(self, job: str) -> P | None:
        """One that has done this kind of job before; None if all are at work."""
        with self._lock:
            waiting = self._waiting.get(job)
            return waiting.pop() if waiting else None

    def put_back(self, job: str, process: P) -> None:
        """Keep it for the next job."""
        with self._lock:
            waiting = self._waiting.setdefault(job, [])
            if len(waiting) < self._most:
                waiting.append(process)
                return
        process.end()

    def end(self) -> None:
        """End them all; a later job starts new ones."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for processes in waiting.values():
            for process in processes:
                process.end()

    def _start_anew(self) -> None:
        # Not dropped: Python would warn that they are still running.
        self._of_the_parent.append(self._waiting)
        self._lock = threading.Lock()
        self._waiting = {}


def end_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process (SIGTERM, after `seconds` SIGKILL) and wait for it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
