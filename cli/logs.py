"""Which records of the log a person at the command line sees.

The report at the end says how the run went, and an error says what went wrong. So only this package's own notices are
shown. Prefect still gets the whole log of a run for its UI, and `--verbose` shows it.
"""

from __future__ import annotations

import logging
import os
from importlib.resources import files
from pathlib import Path

from .console import stderr

_PACKAGE = Path(__file__).parents[1]


class Notices(logging.Handler):
    """Shows what this package logs during a run. The summary of the run is left out: the report repeats it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record comes from this package, and is not the summary of the run."""
        ours = _PACKAGE in Path(record.pathname).parents
        return ours and not hasattr(record, "imagen_summary") and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Print it above the progress bar."""
        try:
            stderr().print("note: ", style="yellow", end="")
            stderr().print(record.getMessage(), soft_wrap=True)
        except Exception:  # noqa: BLE001 - logging's own contract: a handler never raises
            self.handleError(record)


def show_notices(*, verbose: bool) -> None:
    """Show the notices of a run without Prefect."""
    logger = logging.getLogger("prefect_imagen")
    logger.addHandler(Notices())
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def set_up_prefect(*, verbose: bool) -> None:
    """Set how Prefect logs; must come before Prefect is imported."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    if verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
        return
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(files(__package__).joinpath("prefect-logging.json"))
