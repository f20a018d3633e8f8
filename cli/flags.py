"""Flags made from models: what a model declares is written on the command line, and nowhere a second time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

from ..core.request import Option, options_of
from .commands import ALL

Command = Callable[..., int]

_MANY = 25
"""Flags above which a command has `--help-all`."""


@dataclass(frozen=True, slots=True)
class FlagsOf:
    """Marks the parameter of a command that stands for the flags of a model: `Annotated[Given, FlagsOf(Model)]`.

    Attributes:
        model: Declares the options.
        only: Names of groups and options that the command has; None for all that have a flag.
        without: Names of options that it does not have.
    """

    model: type[BaseModel]
    only: Collection[str] | None = None
    without: Collection[str] = ()

    def options(self) -> list[Option]:
        """The options that the command has."""
        return [
            option
            for option in options_of(self.model)
            if option.has_flag
            and option.name not in self.without
            and (self.only is None or option.name in self.only or option.path[0] in self.only)
        ]


@dataclass(frozen=True, slots=True)
class Given:
    """What a command line, or the environment, gives of the options of a model.

    Attributes:
        values: By name of the option; an option that is left out is not in here.
        options: The options given, in the order in which they are declared.
    """

    values: Mapping[str, Any]
    options: tuple[Option, ...]


def with_flags(command: Command) -> Command:
    """Give a command the flags of the models that its parameters are marked with, see `FlagsOf`.

    Where they are many, `--help` shows those that most need, and a flag `--help-all` shows all.
    """
    parameters: list[inspect.Parameter] = [_parameter("context", typer.Context, inspect.Parameter.empty)]
    marked: dict[str, list[Option]] = {}
    signature = inspect.signature(command, eval_str=True)
    for name, parameter in signature.parameters.items():
        mark = next((note for note in get_args(parameter.annotation) if isinstance(note, FlagsOf)), None)
        if mark is not None:
            marked[name] = mark.options()
            parameters += map(_flag, marked[name])
        elif name != "context":
            parameters.append(_parameter(name, parameter.annotation, parameter.default))

    if sum(map(len, marked.values())) > _MANY:
        parameters.append(_parameter("help_all", _HelpAll, False))

    @functools.wraps(command)
    def call(context: typer.Context, **values: Any) -> int:
        values.pop("help_all", None)
        for name, options in marked.items():
            typed = {option.name: values.pop(option.name) for option in options}
            values[name] = _given(context, options, typed)
        return command(context, **values) if "context" in signature.parameters else command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


_HelpAll = Annotated[
    bool, typer.Option("--help-all", help="Show all options and exit.", is_eager=True, callback=_show_all)
]


def _given(context: typer.Context, options: list[Option], typed: Mapping[str, Any]) -> Given:
    given = tuple(
        option
        for option in options
        if getattr(context.get_parameter_source(option.name), "name", "DEFAULT") not in ("DEFAULT", "DEFAULT_MAP")
    )
    values = {option.name: typed[option.name] for option in given}
    return Given({name: value.value if isinstance(value, Enum) else value for name, value in values.items()}, given)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(option: Option) -> inspect.Parameter:
    """An option as a parameter that typer makes a flag of."""
    flag = option.flag
    kind = _kind(option.field.annotation, listed=flag.metavar is None)
    default = False if kind is bool else option.default
    if default is not None and kind in (str, list[str]):
        default = str(default) or None if kind is str else None
    bounds = {
        name: getattr(note, bound)
        for note in option.field.metadata
        for name, bound in (("min", "ge"), ("max", "le"))
        if kind in (int, float) and getattr(note, bound, None) is not None
    }
    note = typer.Option(
        option.written,
        metavar=flag.metavar,
        help=(flag.help or option.field.description or "") + (" May be repeated." if kind == list[str] else ""),
        rich_help_panel=option.section,
        show_default=flag.shown if flag.shown is not None else default not in (None, False, 0),
        **bounds,
    )
    return _parameter(option.name, Annotated[kind if kind in (bool, list[str]) else kind | None, note], default)


def _kind(annotation: Any, *, listed: bool) -> Any:
    """The type that typer is told; what it cannot read itself is a text, and the model reads it.

    Args:
        annotation: Of the option.
        listed: Whether typer lists the words that a `Literal` allows; else the model says it.
    """
    members = [member for member in get_args(annotation) if member is not NoneType]
    if NoneType in get_args(annotation) and len(members) == 1:
        return _kind(members[0], listed=listed)
    if listed and get_origin(annotation) is Literal and all(isinstance(member, str) for member in members):
        return StrEnum("Choice", [(member, member) for member in members])
    if get_origin(annotation) in (dict, list, tuple):
        return list[str]
    known = isinstance(annotation, type) and (annotation in (bool, int, float) or issubclass(annotation, StrEnum))
    return annotation if known else str
