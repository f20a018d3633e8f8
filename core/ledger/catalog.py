"""The `catalog` view: a row for each image, with what it cost and where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from .conditions import first_rows
from .database import Database
from .selection import Selection

_BATCH = 2000
_ITEM_ID: sa.ColumnElement[str] = sa.literal_column("catalog.item_id")


class Catalog:
    """Reads the `catalog` view of a ledger.

    Args:
        database: The open ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, *, run_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of all items of a run in its order (owned ones too), or of everything.

        Args:
            run_id: The run; None for the whole ledger.
            limit: Highest number of rows.
        """
        query = sa.select(sa.text("catalog.*")).select_from(sa.table("catalog"))
        query = _ordered(query, run_id).limit(limit)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def batches(self, columns: Sequence[str], selection: Selection) -> Iterator[Iterator[Sequence[sa.Row[Any]]]]:
        """Rows of the selected items, some thousands at a time.

        Rows of one run come in its order, others in that of their calls. All are of one moment: what a run writes
        meanwhile is not among them.

        Args:
            columns: Names of the view's columns.
            selection: The items.
        """
        with self._database.read() as connection:
            catalog = sa.table("catalog", *(sa.column(name) for name in columns))
            query: sa.Select[Any] = sa.select(*catalog.columns)
            if not selection.everything:
                query = query.where(_ITEM_ID.in_(selection.items(connection)))
            streaming = connection.execution_options(stream_results=True, yield_per=_BATCH)
            with streaming.execute(_ordered(query, selection.run_id)) as result:
                yield result.partitions(_BATCH)


def _ordered(query: sa.Select[Any], run_id: str | None) -> sa.Select[Any]:
    if run_id is not None:
        mine = first_rows(run_id)
        query = query.join(mine, mine.c.item_id == sa.literal_column("catalog.item_id")).order_by(mine.c.position)
    return query.order_by(
        *(sa.literal_column(f"catalog.{name}") for name in ("requested_at", "item_id", "image_index"))
    )
