"""The `catalog` view: a row for each image, with what it cost, where it is and what people say about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from .conditions import first_rows
from .database import Part
from .selection import Selection, column

_BATCH = 2000


class Catalog(Part):
    """Reads the `catalog` view of a ledger."""

    def rows(self, *, run_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of all items of a run in its order (owned ones too), or of everything."""
        query = sa.select(sa.text("catalog.*")).select_from(sa.table("catalog"))
        return [dict(row._mapping) for row in self._rows(_ordered(query, run_id).limit(limit))]

    @contextmanager
    def batches(self, columns: Sequence[str], selection: Selection) -> Iterator[Iterator[Sequence[sa.Row[Any]]]]:
        """Some of the view's columns for the selected items or images, some thousand rows at a time.

        Rows of one run come in its order, others in that of their calls. All are of one moment: what a run writes
        meanwhile is not among them.
        """
        with self._database.read() as connection:
            catalog = sa.table("catalog", *(sa.column(name) for name in columns))
            query: sa.Select[Any] = sa.select(*catalog.columns).where(*selection.conditions(connection))
            streaming = connection.execution_options(stream_results=True, yield_per=_BATCH)
            with streaming.execute(_ordered(query, selection.run_id)) as result:
                yield result.partitions(_BATCH)


def _ordered(query: sa.Select[Any], run_id: str | None) -> sa.Select[Any]:
    if run_id is not None:
        mine = first_rows(run_id)
        query = query.join(mine, mine.c.item_id == column("item_id")).order_by(mine.c.position)
    return query.order_by(*(column(name) for name in ("requested_at", "item_id", "image_index")))
