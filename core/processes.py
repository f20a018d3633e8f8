"""Processes that this one has started."""

from __future__ import annotations

import subprocess


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
