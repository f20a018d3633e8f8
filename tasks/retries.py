"""Which failures of a step Prefect may retry."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from ..core.errors import Unavailable

__all__ = ["unavailable_only"]


def unavailable_only(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only a service that was down: bad input stays bad, and a bug is not worth money."""
    try:
        state.result()
    except Unavailable:
        return True
    except Exception:  # noqa: BLE001 - whatever it is, it is not for a retry
        return False
    return False
