"""`prefect-imagen repair`: deliver what is paid for, ask about what is unknown, decide on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from ..core.request import Policy, RunRequest, UnknownPolicy
from . import options
from .console import facts, print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.ledger import Ledger
    from ..core.providers import ImageClient
    from ..core.repair import RepairReport


@with_flags
def repair(
    store: options.Endpoint,
    given: Annotated[Given, FlagsOf(RunRequest, only={"unknown", "key_template", "concurrency"})],
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ITEM", help="Decide on these items only: item or request ids, or unique beginnings of them."
        ),
    ] = None,
    no_log: Annotated[
        bool,
        typer.Option("--no-log", help="Do not ask the API's log what became of them.", rich_help_panel=Policy.section),
    ] = False,
    lost: Annotated[
        bool,
        typer.Option("--lost", help="Also try again to fetch images that are lost or were unreadable."),
    ] = False,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only this run's items: its id, or the beginning of it.")
    ] = None,
    catalog: options.Catalog = None,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Deliver what is paid for, and settle unknown calls.

      prefect-imagen repair

    An unknown call may have been billed, but its answer is lost. Each provider that was bought from is asked about such
    calls, if the environment has its key (AIMLAPI_API_KEY, FAL_KEY), which costs nothing. You decide on those that no
    provider knows: --unknown retry buys them again, and may pay twice. Nothing else is bought.

    Exit code: 0 nothing is left to repair, 1 something is (the output says what), 2 bad input.
    """
    del verbose
    from ..core.repair import Stores
    from ..core.repair import repair as repair_items
    from .catalogs import existing_ledger
    from .runs import find_items
    from .typed import read_request, read_store

    request = read_request(given)
    client: ImageClient | None = None
    try:
        with existing_ledger(catalog) as ledger:
            client = _client(ledger, api, base_url, buys=request.policy.unknown is UnknownPolicy.RETRY)
            report = repair_items(
                ledger,
                Stores(options=read_store(store)),
                client=client,
                request=request,
                run_id=ledger.runs.find(run) if run is not None else None,
                item_ids=find_items(ledger, items) if items else None,
                unknown=request.policy.unknown,
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


def _client(ledger: Ledger, api: str | None, base_url: str | None, *, buys: bool) -> ImageClient | None:
    """Whom to ask: the API that is named, else one that the ledger has bought from and that there is a key for.

    Raises:
        BadInput: It is to be bought from, and there is no key.
    """
    from ..core.providers import Endpoint, client_of_any

    if api is None and base_url is None:
        client = client_of_any([account.provider for account in ledger.accounts])
        if client is not None or not buys:
            return client
    endpoint = Endpoint.find(api=api, base_url=base_url)
    key, needed = endpoint.provider.key(), endpoint.provider.wants_key(endpoint.base_url)
    if buys and needed and not key:
        raise BadInput(f"--unknown retry buys, and needs a key: set {endpoint.provider.key_variable}")
    return endpoint.open(key) if key or not needed else None


def _show(console: Console, report: RepairReport, *, asked: bool) -> None:
    from ..core.money import format_usd

    console.print(report.summary(), style="bold green" if report.complete else "bold yellow", soft_wrap=True)
    log = report.log
    answers = (
        f"{log.calls} calls: {log.unbilled} not billed, {log.billed} billed and their answers lost, {log.silent} silent"
    )
    facts(
        console,
        [
            ("the API's log", (answers if log.calls else "") if asked else "not asked: no key, or --no-log"),
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
