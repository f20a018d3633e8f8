"""`prefect-imagen status`: how a run stands, where the money went, which calls nobody knows the outcome of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from . import options
from .console import facts, print_json, shorten, stdout, table
from .exit_codes import OK

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.ledger import (
        AccountLine,
        Archive,
        BudgetState,
        CostSummary,
        Fruitless,
        Ledger,
        ReviewCounts,
        Transition,
    )
    from ..core.run.report import RunReport

_UNKNOWN_SHOWN = 20


def status(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Id of a run, or the beginning of it; the latest if left out.")
    ] = None,
    catalog: options.Catalog = None,
    all_runs: Annotated[bool, typer.Option("--all", help="List all runs.", rich_help_panel="Output")] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="TAG", help="What all runs cost, by the value of a tag.", rich_help_panel="Output"
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history",
            metavar="ITEM",
            help="What happened to an item and its calls, by its id or a call's, or the beginning of one.",
            rich_help_panel="Output",
        ),
    ] = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show how a run stands: items, money, unknown calls.

    prefect-imagen status --catalog sqlite:////data/ledger.db
    """
    del verbose
    from ..core.ledger import ImageFilter
    from ..core.run.report import make_report
    from .budget import as_dict
    from .catalogs import existing_ledger
    from .runs import find_items

    with existing_ledger(catalog) as ledger:
        if history is not None:
            (item_id,) = find_items(ledger, [history])
            _show_history(item_id, ledger.items.history(item_id), ledger.archives.holding(item_id), json=json)
            return OK
        if by is not None:
            costs = ledger.costs.by_tag(by)
            if json:
                print_json(costs)
            else:
                _show_costs(stdout(), by, costs)
            return OK
        if all_runs:
            runs = ledger.runs.all()
            if json:
                print_json(runs)
            else:
                _show_runs(stdout(), runs, ledger)
            return OK
        latest = ledger.runs.latest()
        if latest is None:
            raise BadInput(f"there is no run in {ledger.description} yet")
        [row] = ledger.runs.all(only=latest if run is None else ledger.runs.find(run))
        report = make_report(ledger, row["run_id"], outcome=row["outcome"] or "In progress, or interrupted")
        unknown = ledger.calls.unknown()
        fruitless = dict(zip(("calls", "pictures"), ledger.calls.without_success(row["run_id"]), strict=True))
        whole, accounts = ledger.costs.of(), ledger.costs.by_account()
        budgets = ledger.budgets.states(row["run_id"])
        reviewed = ledger.review.counts(ImageFilter(run_id=row["run_id"]))
        if json:
            print_json(
                {
                    **report.as_dict(),
                    "run": row,
                    "ledger": _account(whole),
                    "accounts": [asdict(account) for account in accounts],
                    "budgets": [as_dict(state) for state in budgets],
                    "unknown": [dict(call) for call in unknown],
                    "review": {**reviewed.as_dict(), "regenerations": len(ledger.revisions.open())},
                    "without_success": {what: asdict(told) for what, told in fruitless.items()},
                }
            )
        else:
            _show(stdout(), row, report, whole, accounts, unknown, budgets, reviewed, fruitless)
    return OK


def runs(
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """List all runs of a ledger, the latest first.

    prefect-imagen runs --json
    """
    del verbose
    from .catalogs import existing_ledger

    with existing_ledger(catalog) as ledger:
        found = ledger.runs.all()
        if json:
            print_json(found)
        else:
            _show_runs(stdout(), found, ledger)
    return OK


def _account(whole: CostSummary) -> dict[str, Any]:
    from ..core.money import credits_to_usd

    lines = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    return {
        **{name: {"calls": line.calls, "credits": line.credits} for name, line in lines.items()},
        "billed_credits": whole.billed,
        "billed_usd": float(credits_to_usd(whole.billed)),
        "billed_at_most_usd": float(credits_to_usd(whole.billed_at_most)),
    }


def _moment(value: Any) -> str:
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S %Z}" if value is not None else ""


def _show_history(item_id: str, changes: Sequence[Transition], archive: Archive | None, *, json: bool) -> None:
    if json:
        print_json([asdict(change) for change in changes])
        return
    rows = table("when", "what", "before", "after")
    for change in changes:
        rows.add_row(_moment(change.at), change.call_id or "item", change.before or "—", change.after)
    stdout().print(f"item {item_id}", style="bold", soft_wrap=True)
    if archive is not None:
        stdout().print(f"  its rows are in {archive.destination}", soft_wrap=True)
    stdout().print(rows)


def _show_runs(console: Console, runs: list[dict[str, Any]], ledger: Ledger) -> None:
    from ..core.money import format_usd

    rows = table("run", "started", "outcome", "items", "billed", "model", "to", right=("items", "billed"))
    for row in runs:
        rows.add_row(
            row["run_id"][:8],
            _moment(row["started_at"]),
            row["outcome"] or "—",
            f"{row['items']:,}",
            format_usd(row["spent_credits"]),
            row["model"],
            row["destination"] or "",
        )
    console.print(
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {ledger.description}", style="bold", soft_wrap=True
    )
    console.print(rows)


def _show(
    console: Console,
    row: Mapping[str, Any],
    report: RunReport,
    whole: CostSummary,
    accounts: list[AccountLine],
    unknown: list[dict[str, Any]],
    budgets: list[BudgetState],
    reviewed: ReviewCounts,
    fruitless: Mapping[str, Fruitless],
) -> None:
    from ..core.limits.circuit import BEYOND_CONCURRENCY
    from ..core.money import format_usd
    from .summary import images_stored, print_open, state_counts, texts_written

    console.print(f"{report.outcome}  ", style="bold green" if report.complete else "bold yellow", end="")
    console.print(f"{report.delivered:,} of {report.items:,} items delivered", style="bold")
    tags = ", ".join(f"{name}={value}" for name, value in row["tags"].items())
    facts(
        console,
        [
            ("run", report.run_id),
            ("in Prefect", row["flow_run_name"] or ""),
            ("", row["flow_run_url"] or ""),
            ("started", _moment(row["started_at"])),
            ("ended", _moment(row["ended_at"])),
            ("model", row["model"]),
            ("edition", row["edition"]),
            ("tags", tags),
            ("items", state_counts(report.states).plain),
            ("owned", f"{report.owned:,} delivered before" if report.owned else ""),
            ("images", images_stored(report)),
            ("review", reviewed.summary() if reviewed.reviewed else ""),
            ("texts", texts_written(report)),
            *(
                ("no success", f"in the last {told.count:,} {what}: {told.reason}")
                for what, told in fruitless.items()
                if told.count > BEYOND_CONCURRENCY
            ),
            ("stored in", report.destination or ""),
            ("catalog", report.catalog),
            *(
                (
                    state.name.removeprefix("the "),
                    f"{format_usd(state.used)} of {format_usd(state.limit)} used"
                    + (f" ({state.window}, {state.timezone})" if state.timezone else ""),
                )
                for state in budgets
            ),
        ],
    )
    money = table(
        "money", "calls", "this run", "calls ", "whole ledger", right=("calls", "this run", "calls ", "whole ledger")
    )
    for name in whole.__dataclass_fields__:
        mine, all_of_it = getattr(report.account, name), getattr(whole, name)
        if mine.calls or all_of_it.calls:
            label = {"unknown": "unknown, at most", "in_flight": "in flight, at most"}.get(name, name)
            money.add_row(
                label,
                f"{mine.calls:,}",
                format_usd(mine.credits),
                f"{all_of_it.calls:,}",
                format_usd(all_of_it.credits),
            )
    money.add_section()
    money.add_row("billed", "", format_usd(report.account.billed), "", format_usd(whole.billed), style="bold")
    for account in accounts if len(accounts) > 1 else ():
        key = f", key {account.key_fingerprint[:6]}" if account.key_fingerprint else ""
        name = f"of it {account.provider or account.origin}{key}"
        money.add_row(name, "", "", f"{account.calls:,}", format_usd(account.billed))
    console.print(money)
    waiting = [call for call in unknown if call["item_state"] == "unknown"]
    if waiting:
        _show_unknown(console, waiting)
    print_open(console, report, but=frozenset({"unknown"}))


def _show_unknown(console: Console, unknown: list[dict[str, Any]]) -> None:
    from ..core.money import format_usd

    console.print("\nCalls that may have been billed", style="bold")
    for call in unknown[:_UNKNOWN_SHOWN]:
        # Nothing is wrapped: ids are there to be copied.
        first = f"{_moment(call['sent_at'])}  {call['client_request_id']}  item {call['item_id'][:12]}"
        console.print(f"  {first}  at most {format_usd(call['reserved'])}", soft_wrap=True)
        console.print(f"    {call['reason']}: {shorten(call['prompt'], 60)}", style="dim", soft_wrap=True)
    if len(unknown) > _UNKNOWN_SHOWN:
        console.print(f"  … and {len(unknown) - _UNKNOWN_SHOWN:,} more: --json", style="dim")
    console.print(
        "`prefect-imagen repair` asks the API's log about them, which costs nothing; the provider's support can be "
        "asked by these ids. As a last resort `prefect-imagen repair --unknown retry` buys them again, perhaps twice, "
        "and `--unknown fail` leaves them to the next run; with ITEM behind it, for some of them only.",
        soft_wrap=True,
    )


def _show_costs(console: Console, tag: str, costs: list[dict[str, Any]]) -> None:
    from ..core.money import format_usd

    numbers = ("runs", "calls", "images", "billed", "reserved")
    rows = table(tag, *numbers, right=numbers)
    for row in costs:
        rows.add_row(
            row["value"] if row["value"] is not None else "(without it)",
            f"{row['runs']:,}",
            f"{row['calls']:,}",
            f"{row['images']:,}",
            format_usd(row["spent_credits"]),
            format_usd(row["reserved_credits"]),
        )
    console.print(rows)
