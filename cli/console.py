"""Where the command line prints: results to standard output, everything else to standard error.

Colours and line drawing follow the terminal and `NO_COLOR`. Texts from outside (prompts, messages) are printed as
they are: no markup, no emoji codes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 160


def _console(*, to_stderr: bool) -> Console:
    console = Console(stderr=to_stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    return console


@cache
def stdout() -> Console:
    """The console for results."""
    return _console(to_stderr=False)


@cache
def stderr() -> Console:
    """The console for progress, questions and errors."""
    return _console(to_stderr=True)


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, to standard output."""
    stdout().file.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def table(*columns: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    """A table of ours, empty; the columns named in `right` are numbers."""
    numbers = set(right)
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def shorten(text: str, length: int) -> str:
    """A text in one line of at most so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"


def facts(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values, a line each; a value is never broken, so that a path can be copied."""
    shown = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console.print(f"  {name:<{width}}  ", style="dim", end="")
        console.print(value, soft_wrap=True)
