"""Questions to a ledger that only the command line asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..core.errors import BadInput
from ..core.ledger import CallOutcome, Ledger
from ..core.ledger.schema import calls, items, run_items, runs

__all__ = ["find_run", "list_runs", "unknown_calls"]


def list_runs(ledger: Ledger) -> list[dict[str, Any]]:
    """All runs, the latest first."""
    counted = (
        sa.select(sa.func.count(sa.distinct(run_items.c.item_id)))
        .where(run_items.c.run_id == runs.c.id)
        .scalar_subquery()
    )
    query = sa.select(
        runs.c.id.label("run_id"),
        runs.c.started_at,
        runs.c.ended_at,
        runs.c.outcome,
        runs.c.model,
        runs.c.edition,
        runs.c.tags,
        runs.c.destination,
        counted.label("items"),
        runs.c.budget.label("budget_credits"),
        runs.c.spent.label("spent_credits"),
        runs.c.reserved.label("reserved_credits"),
        runs.c.flow_run_id,
        runs.c.flow_run_name,
        runs.c.flow_run_url,
    ).order_by(runs.c.started_at.desc())
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def find_run(found: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """The run whose id begins like that; the latest for None.

    Raises:
        BadInput: None, or more than one.
    """
    if name is None:
        return found[0]
    matching = [row for row in found if row["run_id"].startswith(name)]
    if len(matching) != 1:
        what = "more than one run's id begins" if matching else "no run's id begins"
        raise BadInput(f"{what} with {name!r}: `prefect-imagen status --all` lists them")
    return matching[0]


def unknown_calls(ledger: Ledger) -> list[dict[str, Any]]:
    """Calls that were sent and have no known outcome, the latest first: what to ask the provider about."""
    query = (
        sa.select(
            calls.c.id.label("client_request_id"),
            calls.c.run_id,
            calls.c.sent_at,
            calls.c.reserved,
            calls.c.http_status,
            calls.c.reason,
            items.c.id.label("item_id"),
            items.c.prompt,
        )
        .join(items, items.c.id == calls.c.item_id)
        .where(calls.c.outcome == CallOutcome.UNKNOWN)
        .order_by(calls.c.sent_at.desc())
    )
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
