"""SQL conditions and queries that several parts of the ledger share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .schema import archive_parts, archived_rows, calls, deliveries, images, items, rewrites, run_items
from .states import CallOutcome, ImageState, ItemState

LOG = "log"
"""Cost source of a call whose reply was lost, and which the provider's log says was billed."""

SAME_IMAGE = sa.and_(images.c.call_id == deliveries.c.call_id, images.c.idx == deliveries.c.idx)
HAS_IMAGES = sa.exists().where(images.c.item_id == items.c.id)
HAS_TEXT = sa.exists().where(rewrites.c.item_id == items.c.id)


def rows_among(
    connection: Connection, query: sa.Select[Any], column: sa.ColumnElement[str], values: Iterable[str]
) -> Iterator[sa.Row[Any]]:
    """Rows of a query whose column has one of any number of values; a single statement takes a bounded number."""
    for batch in batched(values):
        yield from connection.execute(query.where(column.in_(batch)))


def reply_lost() -> sa.ColumnElement[bool]:
    """Condition on items: the provider's log says that a call was billed, and there is no image of it."""
    logged = sa.exists().where(
        calls.c.item_id == items.c.id, calls.c.outcome == CallOutcome.ANSWERED, calls.c.cost_source == LOG
    )
    return sa.and_(logged, ~HAS_IMAGES)


def state_after_release(otherwise: ItemState = ItemState.PLANNED) -> sa.ColumnElement[str]:
    """SQL expression for the state an item returns to when a claim ends without a call.

    It follows from the item's earlier calls. An item that was claimed again after an unknown, lost or refused call is
    still unknown, lost or refused; as a planned item it would be bought again without asking the policy. An item
    without such a call goes to `otherwise`.
    """
    mine = sa.exists().where(calls.c.item_id == items.c.id)
    return sa.case(
        (mine.where(calls.c.outcome == CallOutcome.UNKNOWN), ItemState.UNKNOWN.value),
        (mine.where(calls.c.outcome == CallOutcome.ANSWERED, calls.c.cost_source == LOG), ItemState.LOST.value),
        (mine.where(calls.c.outcome == CallOutcome.REFUSED), ItemState.REFUSED.value),
        else_=otherwise.value,
    )


def delivered_at(destination: str | None) -> sa.ColumnElement[bool]:
    """Condition on images: there is a copy at a destination."""
    return sa.exists().where(
        deliveries.c.call_id == images.c.call_id,
        deliveries.c.idx == images.c.idx,
        deliveries.c.destination == destination,
    )


def undelivered(destination: str | None) -> sa.ColumnElement[bool]:
    """Condition on items: a stored image has no copy at a destination. Never true for a run without a destination."""
    if destination is None:
        return sa.false()
    return sa.exists().where(
        images.c.item_id == items.c.id, images.c.state == ImageState.STORED, ~delivered_at(destination)
    )


def items_of_run(run_id: str) -> sa.Select[tuple[str]]:
    """Query for the ids of the items that a run's rows ask for."""
    return sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)


def items_and_rewrites_of_run(run_id: str) -> sa.CompoundSelect[tuple[str]]:
    """Query for the ids of a run's items and of the rewrites they wait for."""
    mine = items_of_run(run_id)
    return sa.union(mine, sa.select(items.c.rewrite_id).where(items.c.id.in_(mine), items.c.rewrite_id.is_not(None)))


def is_first_row(run_id: str) -> sa.ColumnElement[bool]:
    """Condition on a run's rows: no earlier row asks for the same item. The item belongs to that row and its shard."""
    earlier = run_items.alias()
    return ~sa.exists().where(
        earlier.c.run_id == run_id,
        earlier.c.item_id == run_items.c.item_id,
        # "+ 0" keeps SQLite from looking through all earlier rows, instead of through those of the item.
        earlier.c.position + 0 < run_items.c.position,
    )


def first_rows(run_id: str) -> sa.Subquery:
    """Subquery of `item_id` and `position`: the first row of a run that asks for each of its items."""
    return (
        sa.select(run_items.c.item_id, sa.func.min(run_items.c.position).label("position"))
        .where(run_items.c.run_id == run_id)
        .group_by(run_items.c.item_id)
        .subquery()
    )


def archived_images(run_id: str, name: str) -> sa.ScalarSelect[int]:
    """SQL expression for the number of archived images of a run's items that are `stored`, `quarantined` or `damaged`.

    The items of its rows that were moved, and those that it asks for after they were moved.
    """
    sums = archived_rows.c["images" if name == "stored" else name]
    gone = sa.select(sa.func.coalesce(sa.func.sum(sums), 0)).where(archived_rows.c.run_id == run_id).scalar_subquery()
    asked = (
        sa.select(sa.func.coalesce(sa.func.sum(archive_parts.c[name]), 0))
        .join(items, items.c.archive_part == archive_parts.c.number)
        .where(items.c.id.in_(items_of_run(run_id)))
        .scalar_subquery()
    )
    return sa.select(gone + asked).scalar_subquery()
