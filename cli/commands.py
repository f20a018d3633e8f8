"""Commands that are loaded when they are called, and what `--help` shows of them.

Help is plain text. The page of a command with many options shows those that most users need, a line each; the flag
`--help-all`, which `with_flags` adds, shows all of them under headings.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

ALL = "prefect_imagen.help_all"
"""Key in a context's `meta`: its page shows all options."""

_EVERYDAY = frozenset({
    "to", "model", "template", "aspect_ratio", "edition", "budget_usd", "yes", "limit", "repeat", "concurrency",
    "catalog", "base_url", "json", "verbose", "help_all", "help", "out", "only_plan", "regenerations", "run", "verdict",
    "prompt",
})  # fmt: skip
"""Options that the page of a command with `--help-all` shows."""
_NAME_WIDTH = 28
_CLAUSE_ENDS = re.compile(r"[;.] |[;.]$")


class _Page:
    """The page of a command or a group; mixed into typer's classes, whose pages would load rich."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters; switches are off, since typer loads a validator for one whose default is None."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for one in found:
            if getattr(one, "is_flag", False) and one.default is None:
                one.default = False
        return found

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, text, parameters, and the commands of a group."""
        command = ctx.command
        parameters = command.get_params(ctx)
        arguments = [one for one in parameters if one.param_type_name == "argument"]
        usage = ["[OPTIONS]", *map(_placeholder, arguments)]
        usage += ["COMMAND [ARGS]..."] if isinstance(command, TyperGroup) else []
        lines = [f"Usage: {ctx.command_path} {' '.join(usage)}", ""]
        for paragraph in (command.help or "").split("\n\n"):
            lines += [*_wrapped(paragraph, formatter.width, " " * (2 + len(paragraph) - len(paragraph.lstrip()))), ""]
        brief = any(one.name == "help_all" for one in parameters) and not ctx.meta.get(ALL)
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in sorted(parameters, key=lambda one: one not in arguments):
            record = one.get_help_record(ctx)
            if record is None or (brief and one not in arguments and one.name not in _EVERYDAY):
                continue
            section = "Arguments" if one in arguments else "Options"
            section = (not brief and getattr(one, "rich_help_panel", None)) or section
            name = _placeholder(one) if one in arguments else record[0].removesuffix(" <bool>")
            about = getattr(one, "help", None) or ""
            notes = record[1].removeprefix(about).strip()
            sections.setdefault(section, []).append((name, _brief(about, notes) if brief else f"{about} {notes}"))
        lines += _table(sections, formatter.width)
        if isinstance(command, TyperGroup):
            listed: dict[str, list[tuple[str, str]]] = {}
            for name in command.list_commands(ctx):
                found = command.commands[name]
                summary = (found.help or "").partition("\n\n")[0]
                listed.setdefault(getattr(found, "rich_help_panel", None) or "Commands", []).append((name, summary))
            lines += _table(listed, formatter.width)
        formatter.write("\n".join(lines).rstrip())


class Command(_Page, TyperCommand):
    """A command."""


class Group(_Page, TyperGroup):
    """A group of commands."""


class Later(Command):
    """A command or a group of which only name and summary are known until it is called.

    Args:
        module: Module of this package with the function, or the group, of that name.
        summary: First paragraph of its help.
        panel: Heading that it is listed under.
    """

    def __init__(self, name: str, module: str, summary: str, panel: str) -> None:
        super().__init__(name, help=summary, rich_help_panel=panel)
        self._module = module

    def load(self) -> Any:
        """The command itself."""
        found = getattr(import_module(f"{__package__}.{self._module}"), self.name or "")
        if not isinstance(found, typer.Typer):
            alone = Commands()
            alone.command(self.name)(found)
            found = alone
        made: Any = typer.main.get_command(found)
        made.name = self.name
        return made

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse the command line by the command itself."""
        return self.load().make_context(*arguments, **settings)


class Commands(typer.Typer):
    """A group as functions are registered in it, with pages and errors of ours."""

    def __init__(self, *, cls: type[TyperGroup] = Group, add_completion: bool = False, **settings: Any) -> None:
        super().__init__(
            cls=cls,
            add_completion=add_completion,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a function as a command."""
        return super().command(name, cls=Command, **settings)


def _placeholder(argument: Any) -> str:
    """An argument in the usage: in brackets where it may be left out."""
    name = argument.metavar or argument.name.upper()
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs != 1 else "")


def _brief(about: str, notes: str) -> str:
    """The first clause of a help text, with the default and whether it is required."""
    kept = [note for note in notes.strip("[]").split("; ") if note.startswith(("default", "required"))]
    clause = f"{_CLAUSE_ENDS.split(about, maxsplit=1)[0]}."
    return f"{clause} [{'; '.join(kept)}]" if kept else clause


def _table(sections: Mapping[str, Sequence[tuple[str, str]]], width: int) -> list[str]:
    """Lines of all sections, their texts in one column."""
    column = 4 + min(_NAME_WIDTH, max((len(name) for rows in sections.values() for name, _ in rows), default=0))
    lines = []
    for heading, rows in sections.items():
        lines.append(typer.style(f"{heading}:", bold=True))
        for name, text in rows:
            first, *others = _wrapped(text, width, " " * column) or [""]
            start = f"  {name:<{column - 4}}  "
            lines += [start + first.lstrip()] if len(start) == column else [start.rstrip(), first]
            lines += others
        lines.append("")
    return lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """A paragraph in lines; what can be typed (`prefect-imagen`, a path) is not broken."""
    return textwrap.wrap(
        " ".join(text.split()), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
