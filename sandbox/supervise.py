"""Runs a program that ends when the process that asked for it ends, however that ended. Run as a script, not imported.

    python supervise.py PARENT_PID PROGRAM [ARGUMENT ...]

A server that somebody else wrote cannot watch for its parent itself, and a parent that is killed cleans up nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 10.0


def _hold(parent: int, command: list[str]) -> int:
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    program = subprocess.Popen(command)  # noqa: S603 - what our own package asks for
    while not stopping and os.getppid() == parent:
        try:
            return program.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    program.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    program.kill()
    program.wait()
    return 0


if __name__ == "__main__":
    sys.exit(_hold(int(sys.argv[1]), sys.argv[2:]))
