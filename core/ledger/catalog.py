"""The `catalog` view: a row for each image, with what it cost and where it is; and selections of its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .conditions import first_rows
from .database import Part
from .schema import calls, items, run_items, runs

_BATCH = 2000
_ITEM_ID: sa.ColumnElement[str] = sa.literal_column("catalog.item_id")


@dataclass(frozen=True, slots=True)
class Selection:
    """Items that match every given criterion; all items if none is given."""

    run_id: str | None = None  # items that this run asks for, owned ones included
    edition: str | None = None  # items of this edition; the empty string is the edition without a name
    tags: Mapping[str, str] = field(default_factory=dict)  # items that runs with all these tags ask for
    before: datetime | None = None  # items whose last call (or planning, if there was none) is older than this

    @property
    def everything(self) -> bool:
        """Whether no criterion is given."""
        return self.run_id is None and self.edition is None and not self.tags and self.before is None

    def runs(self, connection: Connection) -> list[str] | None:
        """Ids of the runs whose items are selected; None if runs do not matter.

        Tags are compared here, not in SQL: runs are few, and the two databases have no JSON functions in common.
        """
        if self.run_id is None and not self.tags:
            return None
        query = sa.select(runs.c.id, runs.c.tags).order_by(runs.c.started_at)
        if self.run_id is not None:
            query = query.where(runs.c.id == self.run_id)
        return [row.id for row in connection.execute(query) if self.tags.items() <= row.tags.items()]

    def items(self, connection: Connection) -> sa.Select[tuple[str]]:
        """Query for the ids of the selected items."""
        query = sa.select(items.c.id)
        meant = self.runs(connection)
        if meant is not None:
            # A single `IN` takes a bounded number of values.
            among = sa.or_(sa.false(), *(run_items.c.run_id.in_(batch) for batch in batched(meant)))
            query = query.where(items.c.id.in_(sa.select(run_items.c.item_id).where(among)))
        if self.edition is not None:
            query = query.where(items.c.edition == self.edition)
        if self.before is not None:
            last = sa.select(sa.func.max(calls.c.sent_at)).where(calls.c.item_id == items.c.id).scalar_subquery()
            query = query.where(sa.func.coalesce(last, items.c.created_at) < self.before)
        return query


class Catalog(Part):
    """Reads the `catalog` view of a ledger."""

    def rows(self, *, run_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of all items of a run in its order (owned ones too), or of everything."""
        query = sa.select(sa.text("catalog.*")).select_from(sa.table("catalog"))
        return [dict(row._mapping) for row in self._rows(_ordered(query, run_id).limit(limit))]

    @contextmanager
    def batches(self, columns: Sequence[str], selection: Selection) -> Iterator[Iterator[Sequence[sa.Row[Any]]]]:
        """Some of the view's columns for the selected items, some thousand rows at a time.

        Rows of one run come in its order, others in that of their calls. All are of one moment: what a run writes
        meanwhile is not among them.
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
        query = query.join(mine, mine.c.item_id == _ITEM_ID).order_by(mine.c.position)
    return query.order_by(
        *(sa.literal_column(f"catalog.{name}") for name in ("requested_at", "item_id", "image_index"))
    )
