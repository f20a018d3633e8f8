"""Exit codes, and errors of the command line itself as one sentence."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..core.errors import ImagenError

__all__ = [
    "BAD_INPUT",
    "INCOMPLETE",
    "INTERRUPTED",
    "OK",
    "TERMINATED",
    "Terminated",
    "exit_within",
    "explain",
    "sentence",
    "the_way_out",
]

_PROBLEMS_SHOWN = 500
OK = 0
INCOMPLETE = 1
BAD_INPUT = 2
INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM, as an exception that no `except Exception` swallows."""

    exit_code = TERMINATED


@runtime_checkable
class _UsageError(Protocol):
    """What typer raises for a wrong command line; the class has moved between its versions."""

    exit_code: int
    ctx: Any

    def format_message(self) -> str: ...


def explain(error: Exception) -> str | None:
    """The sentence for an error of the command line or of a setting; None for anything else."""
    if isinstance(error, _UsageError):
        message = error.format_message()
        where = error.ctx.command_path if error.ctx is not None else "prefect-imagen"
        return f"{message.rstrip('.')}. See `{where} --help`."
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        )
        return "; ".join(problems)
    return None


def sentence(error: ImagenError) -> str:
    """An error of ours as it is printed: where many prompts are wrong, all of them, up to what a terminal can hold."""
    from ..core.plan import InvalidPrompts

    if not isinstance(error, InvalidPrompts):
        return str(error)
    problems = error.problems
    lines = [f"{len(problems):,} of {error.total:,} prompts do not fit the model; nothing was sent."]
    lines += [f"  {problem}" for problem in problems[:_PROBLEMS_SHOWN]]
    if len(problems) > _PROBLEMS_SHOWN:
        lines.append(
            f"  … and {len(problems) - _PROBLEMS_SHOWN:,} more: `prefect-imagen plan … --json` lists them all."
        )
    return "\n".join([*lines, "Shorten them, or leave them out with --skip-invalid."])


def the_way_out(error: ImagenError, arguments: Sequence[str]) -> str | None:
    """The command that goes on where a model is gone: the one that was typed, and who stands in."""
    from ..core.aimlapi import WithdrawnModel
    from .summary import again

    if not isinstance(error, WithdrawnModel) or error.successor is None or arguments[:1] not in (["plan"], ["run"]):
        return None
    given = [word for word in arguments if word != "--lenient"] + (["--lenient"] if error.lenient else [])
    return again(given, fallback=error.successor)


def exit_within(seconds: float, code: int) -> None:
    """See to it that the process ends, also if Prefect waits at its exit for an API that is gone.

    All of ours is settled by then; what is lost is Prefect's own last log lines.
    """

    def leave() -> None:
        sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
