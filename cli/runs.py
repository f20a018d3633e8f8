"""Questions to a ledger that only the command line asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..core.errors import BadInput
from ..core.ledger import CallOutcome, ImageState, Ledger
from ..core.ledger.schema import calls, images, items, run_items, runs

__all__ = ["cost_by_tag", "find_items", "find_run", "list_runs", "unknown_calls"]


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
    """Calls that were sent and have no known outcome, the latest first: what to ask the provider about.

    `item_state` is `unknown` where a decision is waited for; anything else says what was decided, or came, since.
    """
    query = (
        sa.select(
            calls.c.id.label("client_request_id"),
            calls.c.run_id,
            calls.c.sent_at,
            calls.c.ended_at,
            calls.c.reserved,
            calls.c.http_status,
            calls.c.request_id.label("provider_request_id"),
            calls.c.reason,
            calls.c.wire_model.label("model"),
            items.c.id.label("item_id"),
            items.c.state.label("item_state"),
            items.c.prompt,
        )
        .join(items, items.c.id == calls.c.item_id)
        .where(calls.c.outcome == CallOutcome.UNKNOWN)
        .order_by(calls.c.sent_at.desc())
    )
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def find_items(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """Items by their id, by the request id of one of their calls, or by how either begins.

    Raises:
        BadInput: No item, or more than one, for a name.
    """
    found = []
    with ledger.read() as connection:
        for name in names:
            begins = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            query = sa.union(
                sa.select(items.c.id).where(items.c.id.like(begins, escape="\\")),
                sa.select(calls.c.item_id).where(calls.c.id.like(begins, escape="\\")),
            ).limit(2)
            matching = list(connection.scalars(query))
            if len(matching) != 1:
                what = "more than one item's id begins" if matching else "no item's or request's id begins"
                raise BadInput(f"{what} with {name!r}: `prefect-imagen status` lists what is unknown")
            found += matching
    return list(dict.fromkeys(found))


def cost_by_tag(ledger: Ledger, tag: str) -> list[dict[str, Any]]:
    """What runs cost by the value of a tag, the dearest first; runs without the tag are together under None."""
    paid = (
        sa.select(
            calls.c.run_id,
            sa.func.count().label("calls"),
            sa.func.sum(sa.case((calls.c.outcome == CallOutcome.UNKNOWN, 1), else_=0)).label("unknown"),
        )
        .group_by(calls.c.run_id)
        .subquery()
    )
    stored = (
        sa.select(calls.c.run_id, sa.func.count().label("images"))
        .join(images, images.c.call_id == calls.c.id)
        .where(images.c.state == ImageState.STORED)
        .group_by(calls.c.run_id)
        .subquery()
    )
    query = (
        sa.select(
            runs.c.tags,
            runs.c.spent,
            runs.c.reserved,
            sa.func.coalesce(paid.c.calls, 0).label("calls"),
            sa.func.coalesce(paid.c.unknown, 0).label("unknown"),
            sa.func.coalesce(stored.c.images, 0).label("images"),
        )
        .outerjoin(paid, paid.c.run_id == runs.c.id)
        .outerjoin(stored, stored.c.run_id == runs.c.id)
    )
    names = ("runs", "calls", "unknown_calls", "images", "spent_credits", "reserved_credits")
    sums: dict[str | None, list[int]] = {}
    with ledger.read() as connection:
        for row in connection.execute(query):
            line = sums.setdefault((row.tags or {}).get(tag), [0] * len(names))
            values = (1, row.calls, row.unknown, row.images, row.spent, row.reserved)
            for place, value in enumerate(values):
                line[place] += int(value)
    rows = [{"value": value, **dict(zip(names, line, strict=True))} for value, line in sums.items()]
    return sorted(rows, key=lambda row: (-row["spent_credits"], str(row["value"])))
