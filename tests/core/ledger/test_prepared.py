"""Statements that are prepared once do what SQLAlchemy does with the same ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState, Ledger
from prefect_imagen.core.ledger.identity import ItemKind
from prefect_imagen.core.ledger.prepared import Prepared
from prefect_imagen.core.ledger.schema import images, insert_new, items

OpenLedger = Callable[..., Ledger]
NOW = datetime(2026, 11, 27, 1, 2, 3, 456_789, tzinfo=UTC)


def item(item_id: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "kind": ItemKind.IMAGE,
        "model": "google/imagen4/preview",
        "prompt": "a fox in the snow: 100 % %s %(x)s ? :x é",
        "reason": "\x00 \ud800",
        "parameters": {"b": [1, None, "é"], "a": {"deep": True}},
        "inputs": None,
        "edition": "",
        "repeat": 1,
        "rewrite_id": None,
        "variation": None,
        "state": ItemState.PLANNED,
        "created_at": NOW,
        "updated_at": NOW,
    }


def written(ledger: Ledger, operation: Callable[[sa.Connection], object], table: sa.Table) -> list[dict[str, Any]]:
    ledger.write(operation)
    with ledger.read() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]


def test_rows_are_those_that_sqlalchemy_writes(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    prepared = Prepared(lambda connection: insert_new(connection, items))
    theirs = written(ledger, lambda connection: connection.execute(sa.insert(items), [item("1"), item("2")]), items)
    ours = written(ledger, lambda connection: prepared.run(connection, [item("3"), item("4")]), items)[2:]
    assert [{**row, "id": ""} for row in ours] == [{**row, "id": ""} for row in theirs]
    assert ours[0]["created_at"] == NOW
    again = [dict(reversed(item("4").items())), item("5")]  # in another order, and one of them is there
    assert [row["id"] for row in written(ledger, lambda connection: prepared.run(connection, again), items)] == [
        *"12345"
    ]


def test_defaults_of_columns_and_constants_of_the_statement_count(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    rows = [{"call_id": "c", "idx": n, "item_id": "1", "requested_at": NOW, "state": "pending"} for n in range(3)]
    insert = Prepared(sa.insert(images))
    move = Prepared(
        sa.update(images)
        .where(images.c.idx == sa.bindparam("this"), images.c.state == "pending")
        .values(reason=sa.bindparam("why"), attempts=images.c.attempts + 7)
    )

    def operation(connection: sa.Connection) -> None:
        insert.run(connection, rows)
        insert.run(connection, [])
        move.run(connection, [{"this": 0, "why": "a"}, {"this": 2, "why": "\x00"}])

    found = written(ledger, operation, images)
    assert [(row["attempts"], row["reason"]) for row in found] == [(7, "a"), (0, None), (7, "\ufffd")]


def test_a_statement_with_a_list_of_values_cannot_be_prepared(database: str, open_ledger: OpenLedger) -> None:
    listed = Prepared(sa.update(images).where(images.c.idx.in_([1, 2])).values(reason=sa.bindparam("why")))
    with pytest.raises(AssertionError, match="list of values"):
        open_ledger(database).write(lambda connection: listed.run(connection, [{"why": "x"}]))


def test_a_row_that_lacks_a_name_is_refused(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    short = {name: value for name, value in item("2").items() if name != "prompt"}
    with pytest.raises(KeyError, match="prompt"):
        ledger.write(lambda connection: Prepared(sa.insert(items)).run(connection, [item("1"), short]))
    with ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(items)) == 0
