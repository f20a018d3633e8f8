"""`prefect-imagen repair`: deliver what is paid for, ask about what is unknown, decide on it."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from . import options
from .console import facts, print_json, stderr, stdout
from .failures import INCOMPLETE, OK

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.repair import RepairReport

__all__ = ["repair"]

_KEY = "AIMLAPI_API_KEY"
_UNKNOWN = "What is unknown"


class _Unknown(StrEnum):
    HOLD = "hold"
    RETRY = "retry"
    FAIL = "fail"


def repair(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ITEM]...", help="Decide on these items only: item or request ids, or how they begin."),
    ] = None,
    unknown: Annotated[
        _Unknown,
        typer.Option(
            help="Items that may have been billed: hold them, retry them now (may pay twice), or fail them: the next "
            "run buys them again.",
            rich_help_panel=_UNKNOWN,
        ),
    ] = _Unknown.HOLD,
    no_log: Annotated[
        bool,
        typer.Option("--no-log", help="Do not ask the API's log what became of them.", rich_help_panel=_UNKNOWN),
    ] = False,
    lost: Annotated[
        bool,
        typer.Option("--lost", help="Also try again to fetch images that are lost or were unreadable."),
    ] = False,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only this run's items: its id, or how it begins.")
    ] = None,
    catalog: options.Catalog = None,
    endpoint_url: options.EndpointUrl = None,
    base_url: options.BaseUrl = None,
    key_template: options.KeyTemplate = None,
    concurrency: Annotated[int, typer.Option(min=1, max=512, metavar="N", help="Calls and downloads at once.")] = 8,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Deliver what is paid for; ask the API's log about unknown calls; decide on what it does not know.

    [dim]prefect-imagen repair --unknown retry[/dim]

    Nothing is bought, except with --unknown retry. The log is asked if there is a key (AIMLAPI_API_KEY).

    Exit code: 0 nothing is left to repair, 1 something is (it says what), 2 bad input.
    """
    del verbose
    from ..core.aimlapi import DEFAULT_BASE_URL, AimlApiClient
    from ..core.repair import Stores
    from ..core.repair import repair as mend
    from ..core.request import RunRequest, UnknownPolicy
    from .catalogs import existing_ledger
    from .runs import find_items, find_run

    key = os.environ.get(_KEY, "").strip()
    if unknown is _Unknown.RETRY and not key:
        raise BadInput(f"--unknown retry buys, and needs a key: set {_KEY}")
    client = AimlApiClient(key, base_url=base_url or DEFAULT_BASE_URL) if key else None
    store = {"endpoint_url": endpoint_url, "addressing_style": "path"} if endpoint_url else {}
    try:
        with existing_ledger(catalog, required=True) as ledger:
            if ledger is None:
                raise TypeError("a required ledger is never None")
            report = mend(
                ledger,
                Stores(options=store),
                client=client,
                request=RunRequest.by_flag({"concurrency": concurrency, "key_template": key_template}),
                run_id=find_run(ledger.runs.all(), run)["run_id"] if run is not None else None,
                item_ids=find_items(ledger, items) if items else None,
                unknown=UnknownPolicy(unknown.value),
                lost=lost,
                ask=not no_log,
                say=lambda text: None if json else stderr().print(f"… {text}", style="dim", soft_wrap=True),
            )
    finally:
        if client is not None:
            client.close()
    if json:
        print_json(report.as_dict())
    else:
        _show(stdout(), report, asked=client is not None and not no_log)
    return OK if report.complete else INCOMPLETE


def _show(console: Console, report: RepairReport, *, asked: bool) -> None:
    from ..core.money import format_usd

    console.print(report.summary(), style="bold green" if report.complete else "bold yellow", soft_wrap=True)
    log = report.log
    told = (
        f"{log.calls} calls: {log.unbilled} not billed, {log.billed} billed and their answers lost, {log.silent} silent"
    )
    facts(
        console,
        [
            ("the API's log", (told if log.calls else "") if asked else "not asked: no key, or --no-log"),
            ("", log.problem),
            ("bought again", f"{report.bought} calls, {format_usd(report.billed)} billed" if report.bought else ""),
            *(("problem", problem) for problem in report.problems),
        ],
    )
    if report.unknown:
        console.print(
            "`prefect-imagen status` lists what is unknown, with times, prices and request ids to ask the provider "
            "about. Then: `prefect-imagen repair --unknown retry` (buys again, perhaps twice) or `--unknown fail`.",
            soft_wrap=True,
        )
