"""All rows of items at once, as they go into files and come back from them exactly as they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .conditions import rows_among
from .errors import LedgerUnavailable
from .schema import (
    JsonText,
    UtcDateTime,
    calls,
    checks,
    deliveries,
    history,
    images,
    insert_new,
    items,
    reviews,
    revision_requests,
    revisions,
    run_items,
    runs,
    verdicts,
)

Rows = list[dict[str, Any]]


def _plain(table: sa.Table) -> sa.TableClause:
    """A table whose JSON is read and written as its text, so that rows come back exactly as they were."""
    columns = ((column.name, sa.Text() if isinstance(column.type, JsonText) else column.type) for column in table.c)
    return sa.table(table.name, *(sa.column(name, type_) for name, type_ in columns))


BY_ITEM = (items, calls, images, deliveries, verdicts, reviews, checks, revisions, revision_requests)
"""The tables with rows of items, each after those that it refers to."""

_BY_CALL = frozenset({deliveries, verdicts, reviews, checks})
PLAIN = {table: _plain(table) for table in (*BY_ITEM, run_items, history, runs)}

NAMES = {table: table.name.removeprefix("imagen_") for table in PLAIN}
"""What the tables are called in files."""


def _python_type(type_: Any) -> type:
    if isinstance(type_, JsonText):
        return dict
    if isinstance(type_, UtcDateTime):
        return datetime
    return {sa.Boolean: bool, sa.Integer: int, sa.BigInteger: int}.get(type(type_), str)


def _columns(table: sa.Table) -> dict[str, type]:
    columns = {column.name: _python_type(column.type) for column in table.c}
    own = {"item_id": str} if table not in {items, runs} else {}
    return {**own, **columns}


TABLES: Mapping[str, Mapping[str, type]] = {name: _columns(table) for table, name in NAMES.items()}
"""The tables whose rows go into files, with their columns, and `item_id` where there is none. `dict` is JSON."""


@dataclass(frozen=True, slots=True)
class ItemPage:
    """All rows of some items, by table."""

    rows: Mapping[str, Rows]


def read_rows(connection: Connection, item_ids: Sequence[str], *, lock: bool = False) -> dict[sa.Table, Rows]:
    """All rows of items, each with its `item_id`; `lock` keeps others from changing them in this transaction."""
    of_call: dict[str, str] = {}
    read: dict[sa.Table, Rows] = {}
    for table in BY_ITEM:
        plain = PLAIN[table]
        column = plain.c.call_id if table in _BY_CALL else plain.c.id if table is items else plain.c.item_id
        query = sa.select(plain).order_by(*(plain.c[one.name] for one in table.primary_key.columns))
        query = query.with_for_update() if lock else query
        found = [
            dict(row._mapping)
            for row in rows_among(connection, query, column, of_call if table in _BY_CALL else item_ids)
        ]
        if table is calls:
            of_call = {row["id"]: row["item_id"] for row in found}
        read[table] = [{"item_id": of_call[row["call_id"]], **row} for row in found] if table in _BY_CALL else found
    return read


def _item_of(table: sa.Table, row: Mapping[str, Any]) -> str:
    return str(row["id"] if table is items else row["item_id"])


def of_items(item_ids: set[str], table: sa.Table, rows: Iterable[dict[str, Any]]) -> Rows:
    """Those rows of a table that belong to some items."""
    return [row for row in rows if _item_of(table, row) in item_ids]


def digests(read: Mapping[sa.Table, Rows]) -> dict[str, str]:
    """A hash of all rows of each item."""
    hashes = {row["id"]: hashlib.sha256() for row in read[items]}
    for table, rows in read.items():
        for row in rows:
            text = json.dumps([NAMES[table], *sorted(row.items())], default=str)
            hashes[_item_of(table, row)].update(text.encode("utf-8", "surrogatepass"))
    return {name: one.hexdigest() for name, one in hashes.items()}


def insert_rows(connection: Connection, table: sa.Table, rows: Rows) -> None:
    """Put rows back as they were. Where only the order of the numbers matters, they get new ones."""
    numbered = table in {verdicts, revision_requests}
    if rows:
        # The files of an older version do not have the columns that came later.
        there = [column.name for column in table.c if column.name in rows[0]]
        names = [name for name in there if not (numbered and name == "number")]
        connection.execute(insert_new(connection, PLAIN[table]), [{name: row[name] for name in names} for row in rows])


def delete_rows(connection: Connection, read: Mapping[sa.Table, Rows]) -> None:
    """Delete all rows of items that are locked, but those of the items themselves.

    Raises:
        LedgerUnavailable: Rows were added since they were read.
    """
    names, call_ids = [row["id"] for row in read[items]], [row["id"] for row in read[calls]]
    for table in reversed(BY_ITEM):
        if table is items:
            continue
        column, values = (table.c.call_id, call_ids) if table in _BY_CALL else (table.c.item_id, names)
        deleted = sum(connection.execute(sa.delete(table).where(column.in_(some))).rowcount for some in batched(values))
        if deleted != len(read[table]):
            raise LedgerUnavailable("rows of an item were added while they were moved: the same command goes on")
