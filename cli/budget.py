"""`prefect-imagen budget`: what a day and a month may cost, over all runs of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from . import options
from .console import print_json, stdout, table
from .exit_codes import OK

if TYPE_CHECKING:
    from ..core.ledger import BudgetState

_NONE = "none"


def budget(
    day: Annotated[
        str | None, typer.Option(metavar="USD|none", help="Most that a day may cost; none removes the budget.")
    ] = None,
    month: Annotated[
        str | None, typer.Option(metavar="USD|none", help="Most that a month may cost; none removes the budget.")
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Where days and months begin at midnight, such as Europe/Berlin.  [UTC]"),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For what is bought from one provider, such as openai; else for all calls."),
    ] = None,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show, set or remove what a day and a month may cost.

      prefect-imagen budget --day 20 --month 300 --timezone Europe/Berlin

    A budget counts all runs of a ledger. Before a call is sent, its highest price is reserved in each budget. A call
    whose outcome is unknown stays reserved. A run that reaches a budget ends as BudgetReached and says when money is
    free again; the same command then goes on. A budget for one provider leaves a fallback of another one to be bought
    from.
    """
    del verbose
    from ..core.ledger import Ledger, Period
    from ..core.money import usd_to_credits
    from .catalogs import catalog_url, existing_ledger

    wanted = {Period.DAY: day, Period.MONTH: month}
    limits = {
        period: None if text.strip().lower() == _NONE else usd_to_credits(text)
        for period, text in wanted.items()
        if text is not None
    }
    if timezone is not None and not any(limit is not None for limit in limits.values()):
        raise BadInput("--timezone goes with --day or --month")
    if provider is not None:
        if not limits:
            raise BadInput("--provider goes with --day or --month")
        from ..core.providers import load_registry

        load_registry().provider(provider)
    if limits:
        ledger = Ledger(catalog_url(catalog))
        try:
            for period, limit in limits.items():
                if limit is None:
                    ledger.budgets.clear(period, provider=provider)
                else:
                    ledger.budgets.set(period, limit, timezone or "UTC", provider=provider)
            states = ledger.budgets.states()
        finally:
            ledger.close()
    else:
        with existing_ledger(catalog) as known:
            states = known.budgets.states()
    if json:
        print_json([as_dict(state) for state in states])
    else:
        _show(states)
    return OK


def as_dict(state: BudgetState) -> dict[str, Any]:
    """A budget as plain data."""
    from ..core.money import credits_to_usd

    return {
        "period": state.period.value,
        "provider": state.provider,
        "window": state.window,
        "timezone": state.timezone,
        "limit_credits": state.limit,
        "spent_credits": state.spent,
        "reserved_credits": state.reserved,
        "left_credits": state.left,
        "limit_usd": float(credits_to_usd(state.limit)),
        "left_usd": float(credits_to_usd(state.left)),
        "frees_at": state.frees_at.isoformat() if state.frees_at is not None else None,
    }


def _show(states: list[BudgetState]) -> None:
    from ..core.money import format_usd

    if not states:
        stdout().print("No budget of a day or a month is set; `prefect-imagen budget --day 20` sets one.")
        return
    rows = table(
        "budget",
        "provider",
        "window",
        "limit",
        "billed",
        "reserved",
        "left",
        "frees",
        right=("limit", "billed", "reserved", "left"),
    )
    for state in states:
        rows.add_row(
            state.period.value,
            state.provider or "all",
            f"{state.window} ({state.timezone})",
            format_usd(state.limit),
            format_usd(state.spent),
            format_usd(state.reserved),
            format_usd(state.left),
            f"{state.frees_at:%Y-%m-%d %H:%M %Z}" if state.frees_at is not None else "",
        )
    stdout().print(rows)
