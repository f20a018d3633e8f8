"""`prefect-imagen deploy`: a file of deployments that is yours, for the blocks that are saved."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from json import dumps as quoted
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from . import options
from .commands import Commands
from .console import print_json, stdout
from .exit_codes import OK

if TYPE_CHECKING:
    from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore

deploy = Commands()
_FILE = "prefect.yaml"
_SAMPLE = "prompt\na {red|blue} fox in the snow\na lighthouse at {dawn|dusk}\n"
_CHANGE = "What one would change"


@deploy.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    """Write the files of your deployments."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@deploy.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help=f"Where {_FILE} is written.")],
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Prompts of the nightly run, a file or s3:// object; without it, a small file to begin with.",
            rich_help_panel=_CHANGE,
        ),
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(metavar="USD", min=0.01, help="Most that one run may cost.", rich_help_panel=_CHANGE)
    ] = None,
    cron: Annotated[
        str, typer.Option(metavar="CRON", help="When the nightly run starts.", rich_help_panel=_CHANGE)
    ] = "30 0 * * *",
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of the schedules.", rich_help_panel=_CHANGE)
    ] = "UTC",
    pool: Annotated[str, typer.Option(metavar="NAME", help="The work pool.", rich_help_panel=_CHANGE)] = "imagen",
    name: Annotated[
        str, typer.Option("--blocks", metavar="NAME", help="The blocks of that name.", rich_help_panel=_CHANGE)
    ] = "main",
    activate: Annotated[
        bool,
        typer.Option("--activate", help="Let schedules and the event start runs; else only people do."),
    ] = False,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Write a prefect.yaml of your own. Starts nothing.

      prefect-imagen deploy init imagen --prompts nightly.csv --budget-usd 20

    It uses the blocks of `prefect-imagen blocks create`. On a terminal you are asked for what is missing. No file is
    overwritten.
    """
    del verbose
    from .. import deployments
    from ..core.ledger.budgets import zone_of
    from ..core.money import usd_to_credits
    from .checks import check_prefect

    check_prefect()
    zone_of(timezone)
    _check_cron(cron)
    file = folder / _FILE
    if file.exists():
        raise BadInput(f"{file} is there already: edit it, or name another folder")
    store, catalog = _saved(name)
    if budget_usd is None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise BadInput("say with --budget-usd what one run may cost at most: there is no terminal to ask on")
        budget_usd = float(typer.prompt("Most that one run may cost, in USD", type=float, err=True))
    usd_to_credits(budget_usd)
    folder.mkdir(parents=True, exist_ok=True)
    if prompts is None:
        sample = folder / "prompts.csv"
        if not sample.exists():
            sample.write_text(_SAMPLE, encoding="utf-8")
        prompts = str(sample.absolute())
    elif "://" not in prompts:
        prompts = str(Path(prompts).expanduser().absolute())
        if not Path(prompts).exists():
            raise BadInput(f"{prompts}: there is no such file")
    changes = {
        **_changes(name, store, catalog, activate=activate),
        r"(?<=name: )imagen(?=\n)": quoted(pool),
        r"(?<=prompts: )s3://\S+ # CHANGE": quoted(prompts),
        r'(?<=cron: )"30 0 \* \* \*"': quoted(cron),
        r"(?<=timezone: )Europe/Berlin( # CHANGE.*)?": timezone,
        r"(?<=budget_usd: )\d+( # CHANGE)?": f"{budget_usd:g}",
        r"(?<=regenerate_usd: )\d+( # CHANGE)?": f"{budget_usd:g}",
    }
    text = _filled_in((Path(deployments.__path__[0]) / _FILE).read_text(encoding="utf-8"), changes)
    file.write_text(text, encoding="utf-8")
    commands = [
        f"prefect work-pool create {shlex.quote(pool)} --type process --overwrite",
        f"prefect --no-prompt deploy --all --prefect-file {shlex.quote(str(file))}",
        "prefect-imagen doctor",
        f"prefect worker start --pool {shlex.quote(pool)}",
        "prefect deployment run imagen_pipeline/nightly --watch",
    ]
    if json:
        print_json({"file": str(file), "prompts": prompts, "next": commands})
        return OK
    console = stdout()
    console.print(f"wrote {file}", style="bold", soft_wrap=True)
    console.print("\nNext, the worker in a terminal of its own:")
    for command in commands:
        console.print(f"  {command}", soft_wrap=True)
    if not activate:
        console.print(
            f"\nSchedules are not active. Once a run by hand is as it should be: `active: true` in {file}, and deploy "
            "again.",
            soft_wrap=True,
        )
    return OK


def _check_cron(cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise BadInput(f"--cron: {cron!r} is not a cron expression, such as '30 0 * * *'") from None


def _saved(name: str) -> tuple[S3ImageStore | LocalImageStore, ImageCatalog]:
    """The store and the catalog that are saved under a name.

    Raises:
        BadInput: One of the three blocks is not there.
    """
    from .doctor import load_blocks

    saved = load_blocks(name)
    if saved.credentials is None or saved.store is None or saved.catalog is None:
        raise BadInput(
            f"the blocks {name!r} are not all there: `prefect-imagen blocks create --to s3://bucket/prefix` (or a "
            "folder) makes them"
        )
    return saved.store, saved.catalog


def _changes(
    blocks: str, store: S3ImageStore | LocalImageStore, catalog: ImageCatalog, *, activate: bool
) -> dict[str, str]:
    """What in the packaged file follows from the blocks, and whether anything starts by itself."""
    changes = {
        r"\A(#.*\n)+": "# Deployments of prefect-imagen, by `prefect-imagen deploy init`. The file is yours now.\n",
        r"aimlapi-credentials/main": f"aimlapi-credentials/{blocks}",
        r"s3-image-store/main": f"{store.get_block_type_slug()}/{blocks}",
        r"image-catalog/main": f"image-catalog/{blocks}",
        r"where: \[.*\] # CHANGE": "where: [] # all of the store",
        r"(?<=to: )s3://\S+ # CHANGE": quoted(_beside(store.get_store().destination)),
    }
    if activate:
        changes |= {r"active: false": "active: true", r"enabled: false": "enabled: true"}
    if not catalog.url.get_secret_value().startswith("postgres"):
        # A fan-out needs a catalog that several machines reach.
        changes[r"\n  # The shards of imagen_fanout(.|\n)*\Z"] = ""
    return changes


def _beside(destination: str) -> str:
    """A place for approved images that is not the one where runs store theirs."""
    is_whole_bucket = destination.count("/") == len("//")
    return f"{destination}{'/' if is_whole_bucket else '-'}approved"


def _filled_in(text: str, changes: Mapping[str, str]) -> str:
    """The packaged file with whatever each pattern finds replaced.

    Raises:
        RuntimeError: A pattern finds nothing: file and command have grown apart.
    """
    for pattern, new in changes.items():
        text, count = re.subn(pattern, new.replace("\\", r"\\"), text)
        if not count:
            raise RuntimeError(f"{_FILE} has nothing like {pattern}")
    return text
