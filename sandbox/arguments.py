"""Command lines of the sandbox: read as `SandboxOptions`, and written from them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr, ValidationError

from ..core.errors import BadInput
from .options import SandboxOptions

# Repeated for each key.
_FLAGS = {"keys": "--key"}


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prefect_imagen.sandbox",
        description="A stand-in for the AI/ML API: the same requests and replies, real pictures, a bill, and faults.",
        argument_default=argparse.SUPPRESS,
    )
    for name, field in SandboxOptions.model_fields.items():
        kind: dict[str, Any] = {}
        if field.annotation is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        elif name == "keys":
            kind = {"action": "append", "metavar": "KEY"}
        elif get_origin(field.annotation) is Literal:
            kind = {"choices": [str(choice) for choice in get_args(field.annotation)]}
        shown = "" if field.default in (None, (), True, False) else f" (default: {field.default})"
        # In argparse's help, % begins a placeholder.
        parser.add_argument(_flag(name), dest=name, help=f"{field.description}{shown}".replace("%", "%%"), **kind)
    return parser


def options_from_arguments(arguments: Sequence[str] | None = None) -> SandboxOptions:
    """Read a command line.

    Args:
        arguments: The arguments; None takes those of the process.

    Raises:
        BadInput: A value is not allowed.
        SystemExit: `--help`, or an option that does not exist.
    """
    given: dict[str, Any] = vars(_parser().parse_args(arguments))
    if "success_status" in given:
        given["success_status"] = int(given["success_status"])
    try:
        return SandboxOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0])
        raise BadInput(f"{_flag(name)}: {first['msg']}") from None


def options_to_arguments(options: SandboxOptions) -> list[str]:
    """Write options as a command line: those that differ from their defaults."""
    arguments: list[str] = []
    for name, field in SandboxOptions.model_fields.items():
        value = getattr(options, name)
        if value == field.default:
            continue
        flag = _flag(name)
        if isinstance(value, bool):
            arguments.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):
            for key in value:
                arguments += [flag, key.get_secret_value() if isinstance(key, SecretStr) else str(key)]
        elif value is not None:
            arguments += [flag, str(value)]
    return arguments
