"""Items of a run that somebody else is working on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .claims import undelivered
from .schema import holders, items, run_items, runs
from .states import ItemState

__all__ = ["HeldItem", "held", "name_holders"]


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item that another run or process has taken up.

    Attributes:
        item_id: The item.
        state: Where it stands.
        host: Where the process is that holds it.
        pid: Its id there.
        run: What that process runs, as far as it is known: the name of the flow run, or the run's id.
    """

    item_id: str
    state: ItemState
    host: str
    pid: int
    run: str | None

    @property
    def holder(self) -> str:
        """Who holds it, for a person."""
        what = f"run {self.run}" if self.run else "another run"
        return f"{what} (process {self.pid} on {self.host.split(' ', 1)[0]})"


def held(
    connection: Connection, run_id: str, *, destination: str | None, but_holder: str | None = None
) -> list[HeldItem]:
    """Items of a run that are held, and not yet where the run wants them.

    Args:
        connection: Any.
        run_id: The run.
        destination: Where it wants its images.
        but_holder: A holder that does not count: the run's own process, while it runs.
    """
    mine = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)
    working = items.c.state.in_((ItemState.CLAIMED, ItemState.SENT, ItemState.GENERATED))
    query = (
        sa.select(items.c.id, items.c.state, holders.c.id.label("holder"), holders.c.host, holders.c.pid)
        .join(holders, holders.c.id == items.c.holder_id)
        .where(
            items.c.id.in_(mine),
            sa.or_(working, sa.and_(items.c.state == ItemState.DELIVERED, undelivered(destination))),
        )
        .order_by(items.c.id)
    )
    if but_holder is not None:
        query = query.where(items.c.holder_id != but_holder)
    found = connection.execute(query).all()
    if not found:
        return []
    names = _runs_of(connection, {row.holder for row in found}, run_id)
    return [HeldItem(row.id, ItemState(row.state), row.host, row.pid, names.get(row.holder)) for row in found]


def _runs_of(connection: Connection, holder_ids: set[str], but_run: str) -> dict[str, str]:
    """What each holder runs now: the latest of its runs that have not ended."""
    query = (
        sa.select(runs.c.holder_id, runs.c.id, runs.c.flow_run_name)
        .where(runs.c.holder_id.in_(sorted(holder_ids)), runs.c.id != but_run, runs.c.ended_at.is_(None))
        .order_by(runs.c.started_at)
    )
    return {row.holder_id: row.flow_run_name or row.id for row in connection.execute(query)}


def name_holders(found: Sequence[HeldItem]) -> str:
    """Say who holds items, each holder once with its number of items."""
    counts: dict[str, int] = {}
    for item in found:
        counts[item.holder] = counts.get(item.holder, 0) + 1
    return ", ".join(f"{count} by {holder}" for holder, count in counts.items())
