"""All commands put together, and what becomes of their errors: one message, an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..core.errors import ImagenError
from .commands import Commands, Group, Later
from .console import stderr
from .exit_codes import BAD_INPUT, INCOMPLETE, INTERRUPTED, Terminated

_EXIT_SECONDS = 20.0
_LISTED = {
    "Try it first": {
        "demo": "Run the whole job on this machine, without a key or a bill.",
        "sandbox": "Start a server that answers like the image APIs, for free.",
    },
    "Work": {
        "plan": "Show what a run would buy and what it would cost.",
        "run": "Buy, verify and store an image for every prompt.",
        "chain": "Make pictures, and others of these: generate, cut out, enlarge.",
        "status": "Show how a run stands: items, money, unknown calls.",
        "runs": "List all runs of a ledger, the latest first.",
        "repair": "Deliver what is paid for, and settle unknown calls.",
        "reconcile": "Compare the ledger and the catalog with the store.",
        "budget": "Show, set or remove what a day and a month may cost.",
        "export": "Write the catalog as CSV, JSON Lines or Parquet.",
        "backup": "Copy a SQLite ledger while runs use it.",
        "archive": "Move finished rows out of the ledger, and back.",
        "erase": "Erase images for good: objects, prompts, links and rows.",
        "models": "List the models, their prices and what they can do.",
        "provenance": "Show what pictures say of their origin: C2PA, XMP, sidecars.",
    },
    "Look and judge": {
        "review": "Open a page to look at images, judge them and order others.",
        "check": "Flag images that are blank, blurred, alike or badly shaped.",
        "verdicts": "List what reviewers said about images, or read it from a file.",
        "regenerate": "Buy new images in place of others.",
        "deliver": "Copy approved images to a prefix, a folder or a ZIP file.",
        "gallery": "Write the page of `review` as files for a disk or a static host.",
        "thumbnails": "Make the thumbnails of the review page in advance.",
    },
    "Set up": {
        "doctor": "Check everything that runs and deployments need.",
        "blocks": "Create the Prefect blocks that deployments use.",
        "deploy": "Write the files of your deployments.",
    },
}
"""Every command, by the heading that it is listed under: the first paragraph of its own help."""
_MODULES = {"runs": "status"}
"""Modules of commands whose name is not that of their module."""


class _All(Group):
    """All commands, none of them loaded."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in _LISTED.items():
            for name, summary in commands.items():
                self.add_command(Later(name, _MODULES.get(name, name), summary, panel))


app = Commands(
    name="prefect-imagen", cls=_All, add_completion=True, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Bulk image generation that never pays twice: prompts in, verified images in S3 and a catalog out.

    Start with `prefect-imagen demo`: the whole job, without a key and a bill.
    """
    del verbose  # read by `main`, which must know it even where the command line cannot be parsed
    if version:
        from .. import __version__

        typer.echo(f"prefect-imagen {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


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
        from .signals import exit_within

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
        from .sentences import next_command, sentence

        _say(sentence(error))
        if (command := next_command(error, given)) is not None:
            stderr().print(f"  {command}", style="bold", soft_wrap=True)
        return BAD_INPUT
    except Exception as error:  # noqa: BLE001 - the last resort of the command line
        from .sentences import explain

        message = explain(error)
        if message is not None:
            _say(message)
            return BAD_INPUT
        if "--verbose" in given:
            import traceback

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
