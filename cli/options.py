"""The options of several commands that are no options of a run: where things are, and what is printed."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from ..core.request import ImageChoice, ItemChoice
from ..core.store_options import StoreOptions
from .flags import FlagsOf, Given

_WHERE = "Where to"
_API = "API"
_OUTPUT = "Output"

_PROMPTS = typer.Argument(
    metavar="PROMPTS",
    help="A file, prompts in quotes, or - for standard input. A file or s3:// object has prompts (TXT, CSV, TSV, "
    "JSONL or Parquet) or a plan of `plan --out`. For pictures to start from: a folder, a 'pattern' or "
    "catalog:CRITERIA.",
)
Prompts = Annotated[list[str], _PROMPTS]
OptionalPrompts = Annotated[list[str] | None, _PROMPTS]

_TO = typer.Option("--to", metavar="DEST", help="s3://bucket/prefix or a folder.", rich_help_panel=_WHERE)
Destination = Annotated[str, _TO]
OptionalDestination = Annotated[str | None, _TO]
Catalog = Annotated[
    str | None,
    typer.Option(
        envvar="PREFECT_IMAGEN_CATALOG",
        metavar="URL|PATH",
        help="Ledger, by default ~/.prefect-imagen/ledger.db; a SQLite file or postgresql://….",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Store = Annotated[Given, FlagsOf(StoreOptions)]
Chosen = Annotated[Given, FlagsOf(ImageChoice)]
Items = Annotated[Given, FlagsOf(ItemChoice)]
ChosenOfRun = Annotated[Given, FlagsOf(ImageChoice, without={"run"})]
OfRun = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Id of a run, or the beginning of it; all images if left out.")
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="ORDER",
        help="time, flags, stars, cost, item, prompt or duplicates.",
        rich_help_panel="Which images",
    ),
]
Reach = Annotated[Given, FlagsOf(StoreOptions, only={"endpoint_url", "region", "role_arn", "external_id"})]
Endpoint = Annotated[Given, FlagsOf(StoreOptions, only={"endpoint_url"})]
Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="NAME",
        help="Protocol: aimlapi (the default), openai, gemini or queue; a model such as openai:gpt-image-2 names it.",
        rich_help_panel=_API,
        show_default=False,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address of another server; your own, or a sandbox. The environment may have it: AIMLAPI_BASE_URL, "
        "OPENAI_BASE_URL, GEMINI_BASE_URL, FAL_QUEUE_URL.",
        rich_help_panel=_API,
    ),
]


def _use_models(path: str | None) -> str | None:
    """Let the registry, and every process that this one starts, read the file."""
    if path:
        os.environ["PREFECT_IMAGEN_MODELS"] = path
    return path


Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        envvar="PREFECT_IMAGEN_MODELS",
        metavar="FILE",
        help="Models of your own, or other prices, as YAML or JSON (docs/models.md).",
        rich_help_panel=_API,
        callback=_use_models,
        is_eager=True,
        show_default=False,
    ),
]


def _user() -> str:
    """Who is at work here, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


Reviewer = Annotated[
    str,
    typer.Option(
        "--reviewer",
        envvar="PREFECT_IMAGEN_REVIEWER",
        metavar="NAME",
        default_factory=_user,
        help="Who says it (default: the user of this machine).",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=_OUTPUT)]
Traceback = Annotated[
    bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.", rich_help_panel=_OUTPUT)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show Prefect's own log, and tracebacks.", rich_help_panel=_OUTPUT)
]
