"""All commands put together, and what becomes of their errors: one message, an exit code, never a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import Annotated

import typer

from ..core.errors import ImagenError
from .backup import backup
from .blocks import blocks
from .budget import budget
from .chain import chain
from .check import check
from .console import stderr, stdout
from .deliver import deliver
from .demo import demo
from .deploy import deploy
from .doctor import doctor
from .erase import erase
from .exit_codes import BAD_INPUT, INCOMPLETE, INTERRUPTED, Terminated
from .export import export
from .gallery import gallery
from .models import models
from .plan import plan
from .provenance import provenance
from .reconcile import reconcile
from .regenerate import regenerate
from .repair import repair
from .review import review
from .run import run
from .sandbox import sandbox
from .sentences import explain, next_command, sentence
from .signals import exit_within
from .status import runs, status
from .thumbnails import thumbnails
from .verdicts import verdicts

app = typer.Typer(
    name="prefect-imagen",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_EXIT_SECONDS = 20.0
_TRY = "Try it first"
_WORK = "Work"
_LOOK = "Look and judge"
_SET_UP = "Set up"
app.command("demo", rich_help_panel=_TRY)(demo)
app.command("sandbox", rich_help_panel=_TRY)(sandbox)
app.add_typer(models, name="models", rich_help_panel=_WORK)
app.command("plan", rich_help_panel=_WORK)(plan)
app.command("run", rich_help_panel=_WORK)(run)
app.command("chain", rich_help_panel=_WORK)(chain)
app.command("status", rich_help_panel=_WORK)(status)
app.command("runs", rich_help_panel=_WORK)(runs)
app.command("repair", rich_help_panel=_WORK)(repair)
app.command("reconcile", rich_help_panel=_WORK)(reconcile)
app.command("budget", rich_help_panel=_WORK)(budget)
app.command("export", rich_help_panel=_WORK)(export)
app.command("check", rich_help_panel=_WORK)(check)
app.command("verdicts", rich_help_panel=_WORK)(verdicts)
app.command("regenerate", rich_help_panel=_WORK)(regenerate)
app.command("deliver", rich_help_panel=_WORK)(deliver)
app.command("backup", rich_help_panel=_WORK)(backup)
app.add_typer(provenance, name="provenance", rich_help_panel=_WORK)
app.command("erase", rich_help_panel=_WORK)(erase)
app.command("review", rich_help_panel=_LOOK)(review)
app.command("gallery", rich_help_panel=_LOOK)(gallery)
app.command("thumbnails", rich_help_panel=_LOOK)(thumbnails)
app.command("doctor", rich_help_panel=_SET_UP)(doctor)
app.add_typer(blocks, name="blocks", rich_help_panel=_SET_UP)
app.add_typer(deploy, name="deploy", rich_help_panel=_SET_UP)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Bulk image generation that never pays twice: prompts in, verified images in S3 and a catalog out.

    Start with [bold]prefect-imagen demo[/bold]: the whole job on this machine, without a key and without a bill.
    """
    del verbose  # read by `main`, which must know it even where the command line cannot be parsed
    if version:
        stdout().print(f"prefect-imagen {package_version('prefect-imagen')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        stdout().print(context.get_help().rstrip())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None for those of the process.

    Returns:
        The exit code; see `prefect_imagen.cli`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    code = _run(given)
    if arguments is None and "prefect" in sys.modules:
        exit_within(_EXIT_SECONDS, code)
    return code


def _run(given: list[str]) -> int:
    try:
        code = app(args=given, prog_name="prefect-imagen", standalone_mode=False, obj=tuple(given))
    except Terminated as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ImagenError as error:
        # Whatever a command lets through was found before anything was sent.
        _say(sentence(error))
        if (command := next_command(error, given)) is not None:
            stderr().print(f"  {command}", style="bold", soft_wrap=True)
        return BAD_INPUT
    except Exception as error:  # noqa: BLE001 - the last resort of the command line
        message = explain(error)
        if message is not None:
            _say(message)
            return BAD_INPUT
        if "--verbose" in given:
            stderr().print(traceback.format_exc().rstrip(), soft_wrap=True)
        _say(f"this should not have happened: {type(error).__name__}: {error}")
        if "--verbose" not in given:
            stderr().print("  The same command with --verbose shows where.")
        return INCOMPLETE
    return code if isinstance(code, int) else 0


def _say(message: str) -> None:
    console = stderr()
    console.print("error: ", style="bold red", end="")
    console.print(message, soft_wrap=True)
