"""Saying that a budget is nearly used, once for each: in the log, and as an event that automations can act on."""

from __future__ import annotations

from prefect import get_run_logger

from ..core.errors import ImagenError
from ..core.ledger import Ledger
from ..core.money import format_usd
from .events import emit_budget_warning

__all__ = ["warn_of_budgets"]


def warn_of_budgets(ledger: Ledger, run_id: str) -> None:
    """Tell of budgets of the run, the day and the month of which four fifths are used since the last look."""
    try:
        warnings = ledger.budgets.pop_warnings(run_id)
    except ImagenError:
        return  # the ledger is away: whoever spends says so
    for warning in warnings:
        state = warning.state
        get_run_logger().warning(
            "%s of the %s's budget of %s are used", format_usd(state.used), state.period.value, format_usd(state.limit)
        )
        emit_budget_warning(
            state.period.value,
            state.window,
            spent=state.spent,
            reserved=state.reserved,
            cap=state.limit,
            run_id=run_id,
        )
