"""What of the log a person at the command line gets to see.

The report at the end says what became of the run, and an error says what went wrong. So of all the libraries' logs
only our own notices are shown; Prefect still gets all of a run's log for its UI, and `--verbose` shows Prefect's log as
Prefect would.
"""

from __future__ import annotations

import logging
import os
from importlib.resources import files
from pathlib import Path

from .console import stderr

__all__ = ["Notices", "set_up"]

_PACKAGE = Path(__file__).parents[1]


class Notices(logging.Handler):
    """Shows the warnings that this package itself gave during a run, but the closing one: the report repeats it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record comes from one of our own steps."""
        ours = Path(record.pathname).parent in {_PACKAGE / "flows", _PACKAGE / "tasks"}
        return ours and record.funcName != "_state" and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Print it above the progress bar."""
        try:
            stderr().print("note: ", style="yellow", end="")
            stderr().print(record.getMessage(), soft_wrap=True)
        except Exception:  # noqa: BLE001 - logging's own contract: a handler never raises
            self.handleError(record)


def set_up(*, verbose: bool) -> None:
    """Say how Prefect is to log; must come before Prefect is imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    if verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
        return
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(files(__package__).joinpath("prefect-logging.json"))
