"""A selection of items: by run, edition, tags and age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .schema import calls, items, run_items, runs


@dataclass(frozen=True, slots=True)
class Selection:
    """Items that match every given criterion; all items if none is given.

    Attributes:
        run_id: Items that this run asks for, owned ones included.
        edition: Items of this edition; the empty string is the edition without a name.
        tags: Items that runs with all these tags ask for.
        before: Items whose last call (or planning, if there was none) is older than this.
    """

    run_id: str | None = None
    edition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    before: datetime | None = None

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
            asked = sa.select(run_items.c.item_id).where(_one_of(run_items.c.run_id, meant))
            query = query.where(items.c.id.in_(asked))
        if self.edition is not None:
            query = query.where(items.c.edition == self.edition)
        if self.before is not None:
            last = sa.select(sa.func.max(calls.c.sent_at)).where(calls.c.item_id == items.c.id).scalar_subquery()
            query = query.where(sa.func.coalesce(last, items.c.created_at) < self.before)
        return query


def _one_of(column: sa.Column[str], values: list[str]) -> sa.ColumnElement[bool]:
    """Condition that a column has one of any number of values; a single `IN` takes a bounded number."""
    parts = [column.in_(batch) for batch in batched(values)]
    return sa.or_(*parts) if parts else sa.false()
