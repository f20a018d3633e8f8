"""Runs a program that ends when the process that asked for it ends, however that ended. Run as a script, not imported.

    python supervise.py PARENT_PID PROGRAM [ARGUMENT ...]

For a server that does not watch its parent itself: a parent that is killed cannot stop it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

_POLL_SECONDS = 0.25
_GRACE_SECONDS = 10.0


def _supervise(parent: int, command: list[str]) -> int:
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    program = subprocess.Popen(command)  # noqa: S603 - what our own package asks for
    while not stopping and os.getppid() == parent:
        try:
            return program.wait(_POLL_SECONDS)
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
    sys.exit(_supervise(int(sys.argv[1]), sys.argv[2:]))
