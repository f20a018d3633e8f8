"""What the exit code of a command says."""

from __future__ import annotations

OK = 0
INCOMPLETE = 1
BAD_INPUT = 2
INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM, as an exception that no `except Exception` swallows."""

    exit_code = TERMINATED
