"""Errors as a user reads them: what is wrong, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ..core.errors import ImagenError

_PROBLEMS_SHOWN = 500


@runtime_checkable
class _UsageError(Protocol):
    """What typer raises for a wrong command line; the class has moved between its versions."""

    exit_code: int
    ctx: Any

    def format_message(self) -> str: ...


def explain(error: Exception) -> str | None:
    """The sentence for a wrong command line or a wrong value of a setting; None for anything else."""
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
    """The text for an error of this package; of many wrong prompts it names as many as a terminal can hold."""
    from ..core.plan import InvalidPrompts
    from ..core.plan.spec import WAY_OUT

    if not isinstance(error, InvalidPrompts):
        return str(error)
    problems = error.problems
    lines = [f"{len(problems):,} of {error.total:,} prompts do not fit the model; nothing was sent."]
    lines += [f"  {problem}" for problem in problems[:_PROBLEMS_SHOWN]]
    if len(problems) > _PROBLEMS_SHOWN:
        lines.append(
            f"  … and {len(problems) - _PROBLEMS_SHOWN:,} more: `prefect-imagen plan … --json` lists them all."
        )
    return "\n".join([*lines, WAY_OUT])


def next_command(error: ImagenError, arguments: Sequence[str]) -> str | None:
    """The command that goes on after an error, if there is one: for a withdrawn model, with its successor."""
    from ..core.providers import WithdrawnModel
    from .summary import again

    if not isinstance(error, WithdrawnModel) or error.successor is None or arguments[:1] not in (["plan"], ["run"]):
        return None
    given = [word for word in arguments if word != "--lenient"] + (["--lenient"] if error.lenient else [])
    return again(given, fallback=error.successor)
