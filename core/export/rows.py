"""Rows of the catalog, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..ledger import Ledger, Selection
from ..ledger.schema import run_items
from .columns import COLUMNS, Kind, plain

_BATCH = 2000
_catalog = sa.table("catalog", *(sa.column(name) for name in COLUMNS))


@contextmanager
def selected_rows(
    ledger: Ledger, selection: Selection
) -> Iterator[tuple[list[tuple[str, Kind]], Iterator[Sequence[Sequence[Any]]]]]:
    """The columns of the catalog, and the rows of the items that are meant.

    Rows of one run come in its order, others in that of their calls. They are those of one moment: what a run that is
    under way writes meanwhile is not among them.
    """
    columns = list(COLUMNS.items())
    with ledger.read() as connection:
        streaming = connection.execution_options(stream_results=True, yield_per=_BATCH)
        with streaming.execute(_query(connection, selection)) as result:
            yield columns, _batches(result, columns)


def _batches(result: sa.CursorResult[Any], columns: list[tuple[str, Kind]]) -> Iterator[Sequence[Sequence[Any]]]:
    kinds = [kind for _, kind in columns]
    for batch in result.partitions(_BATCH):
        yield [[plain(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in batch]


def _query(connection: Connection, selection: Selection) -> sa.Select[Any]:
    query = sa.select(*_catalog.columns)
    order: list[sa.ColumnElement[Any]] = [_catalog.c.requested_at, _catalog.c.item_id, _catalog.c.image_index]
    if not selection.everything:
        query = query.where(_catalog.c.item_id.in_(selection.items(connection)))
    if selection.run_id is not None:
        first = (
            sa.select(run_items.c.item_id, sa.func.min(run_items.c.position).label("position"))
            .where(run_items.c.run_id == selection.run_id)
            .group_by(run_items.c.item_id)
            .subquery()
        )
        query = query.join(first, first.c.item_id == _catalog.c.item_id)
        order.insert(0, first.c.position)
    return query.order_by(*order)
