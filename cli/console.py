"""Where the command line prints: results to standard output, everything else to standard error.

Colours and line drawing follow the terminal and `NO_COLOR`. Texts from outside (prompts, messages) are printed as
they are: no markup, no emoji codes. Only characters that would command the terminal are spelled out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_PIPE_WIDTH = 160
# Control characters but tab and line feed, and those that turn the direction of what follows.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    r"""A text whose control characters are spelled out, as in `\x1b`: names of files may hold any of them."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def _console(*, to_stderr: bool) -> Console:
    # Help needs no rich, so it is not loaded for it.
    from rich.console import Console

    class Harmless(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(harmless(text), **options)

    console = Harmless(stderr=to_stderr, markup=False, highlight=False, emoji=False)
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


def program() -> str:
    """How this program is called from here: by its name if the PATH leads to it, else by its path."""
    name, path = "prefect-imagen", Path(sys.argv[0])
    return name if shutil.which(name) is not None or path.name != name else os.path.relpath(path)


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, to standard output."""
    text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
    # JSON spells out most control characters by itself; the others stand in texts, where this spelling is read back.
    spelled = re.sub(_COMMANDS, lambda found: f"\\u{ord(found[0]):04x}", text)
    stdout().file.write(spelled + "\n")


def table(*columns: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    """A table of ours, empty; the columns named in `right` are numbers."""
    from rich import box
    from rich.table import Table

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
