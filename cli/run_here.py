"""Carrying a job out in this process, without Prefect."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ..core.run.chunks import Threads
from ..core.run.run import Run

if TYPE_CHECKING:
    from ..core.run.report import RunReport
    from .job import Ready
    from .progress import Progress


def run_here(ready: Ready, progress: Progress) -> RunReport:
    """Run a job to its end."""
    progress.phase("planning")
    run = Run.open(ready.prepared, str(uuid.uuid4()))
    try:
        planned = run.plan()
        with Threads(run.process) as threads:
            return run.complete(threads, planned.items)
    finally:
        run.close()
