"""A ledger that an older package made becomes what this package would make, and keeps every row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState, Ledger, LedgerNotUsable, migrations
from prefect_imagen.core.ledger.engine import normalise_url
from prefect_imagen.core.ledger.schema import metadata

OpenLedger = Callable[..., Ledger]
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def version_1(database: str) -> str:
    """URL of a ledger that version 1 made, with rows."""
    url = normalise_url(database)
    script = (DATA / f"ledger-v1.{url.get_backend_name()}.sql").read_text()
    if url.get_backend_name() == "sqlite":
        sqlite3.connect(str(url.database)).executescript(script).connection.close()
        return database
    import psycopg

    with psycopg.connect(database) as connection:
        connection.execute(script)
    return database


def rows(ledger: Ledger, tables: dict[str, list[str]]) -> dict[str, list[tuple[Any, ...]]]:
    """What stands in the given columns, all but the version."""
    found = {}
    with ledger.read() as connection:
        for name, columns in tables.items():
            table = metadata.tables[name]
            query = sa.select(*(table.c[column] for column in columns)).order_by(*table.primary_key.columns)
            found[name] = [tuple(row) for row in connection.execute(query) if row[0] != "schema_version"]
    return found


def schema(ledger: Ledger) -> dict[str, Any]:
    """Everything about the schema but the order of the columns in tables."""
    with ledger.read() as connection:
        inspector = sa.inspect(connection)
        definition = (
            "SELECT sql FROM sqlite_master WHERE name = 'catalog'"
            if connection.dialect.name == "sqlite"
            else "SELECT pg_get_viewdef('catalog'::regclass)"
        )
        names = [name for name in inspector.get_table_names() if name.startswith("imagen_")]
        return {
            "view": [column["name"] for column in inspector.get_columns("catalog")],
            "definition": str(connection.scalar(sa.text(definition))).split(),
            **{
                name: {
                    "columns": {
                        c["name"]: (str(c["type"]), c["nullable"], c["default"], c.get("comment"))
                        for c in inspector.get_columns(name)
                    },
                    "key": inspector.get_pk_constraint(name)["constrained_columns"],
                    "indexes": sorted(
                        (str(i["name"]), *i["column_names"], i["unique"]) for i in inspector.get_indexes(name)
                    ),
                    "unique": sorted(tuple(u["column_names"]) for u in inspector.get_unique_constraints(name)),
                }
                for name in names
            },
        }


@pytest.fixture
def new(database: str, tmp_path: Path) -> str:
    """URL of an empty database of the same kind as `database`."""
    if database.startswith("sqlite"):
        return f"sqlite:///{tmp_path}/new.db"
    import psycopg

    base, _, name = database.rpartition("%3D")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}_new")
    return f"{base}%3D{name}_new"


def test_the_fixture_is_a_ledger_of_version_1(version_1: str) -> None:
    engine = sa.create_engine(normalise_url(version_1))
    with engine.connect() as connection:
        assert migrations.check_version(connection) == 1
        assert len(connection.execute(sa.text("SELECT * FROM catalog")).all()) == 4
    engine.dispose()


@pytest.mark.parametrize("create", [True, False])
def test_a_migrated_ledger_is_like_a_new_one(version_1: str, new: str, open_ledger: OpenLedger, create: bool) -> None:
    migrated = open_ledger(version_1, create=create)
    assert schema(migrated) == schema(open_ledger(new))
    with migrated.read() as connection:
        assert migrations.check_version(connection) == migrations.SCHEMA_VERSION


def test_rows_are_kept_and_can_be_worked_with(version_1: str, open_ledger: OpenLedger) -> None:
    engine = sa.create_engine(normalise_url(version_1))
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        tables = {
            name: [column["name"] for column in inspector.get_columns(name)]
            for name in inspector.get_table_names()
            if name.startswith("imagen_")
        }
        before = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in tables}
    engine.dispose()
    ledger = open_ledger(version_1)
    kept = rows(ledger, tables)
    assert {name: len(found) + (name == "imagen_meta") for name, found in kept.items()} == before
    assert ledger.id == "7af85de0d4db4a38828b50a55c8df475"
    assert ledger.origin == "https://api.aimlapi.com"
    items = ledger.runs.progress("run").items
    assert items[ItemState.DELIVERED] == items[ItemState.UNKNOWN] == items[ItemState.SENT] == 1
    assert ledger.costs.of().unknown.calls == 1
    assert ledger.costs.of().billed == 208_001 + 3 * 104_000
    # The process of the old ledger is dead: what it had in flight is unknown, what it had claimed is free.
    ledger.release_dead_workers()
    items = ledger.runs.progress("run").items
    assert (items[ItemState.UNKNOWN], items[ItemState.PLANNED], items[ItemState.SENT]) == (2, 2, 0)
    assert len(ledger.catalog.rows()) == 4


def test_steps_run_once_and_only_those_that_are_missing(
    version_1: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = sa.MetaData()
    added = sa.Table("imagen_notes", future, sa.Column("id", sa.Integer, primary_key=True))
    grown = sa.Table(
        "imagen_items",
        future,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("colour", sa.Text, nullable=False, server_default="red", index=True, comment="of the sky"),
        sa.Column("weight", sa.Integer, nullable=False),
    )
    ran = []

    def first(connection: sa.Connection) -> None:
        ran.append("first")
        migrations.add_table(connection, added)
        migrations.add_table(connection, added)
        migrations.add_column(connection, grown.c.colour)
        migrations.add_column(connection, grown.c.colour)

    open_ledger(version_1).close()
    known = migrations.SCHEMA_VERSION
    monkeypatch.setattr(migrations, "_STEPS", (*migrations._STEPS, first))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", known + 1)
    monkeypatch.setattr("prefect_imagen.core.ledger.ledger.SCHEMA_VERSION", known + 1)
    for _ in range(2):
        ledger = open_ledger(version_1)
        found = schema(ledger)
    assert ran == ["first"]
    assert found["imagen_notes"]["key"] == ["id"]
    assert found["imagen_items"]["columns"]["colour"][1] is False
    assert any("colour" in index for index in found["imagen_items"]["indexes"])
    with ledger.read() as connection:
        assert set(connection.scalars(sa.text("SELECT colour FROM imagen_items"))) == {"red"}
    with pytest.raises(ValueError, match=r"weight.*server_default"):
        ledger.write(lambda connection: migrations.add_column(connection, grown.c.weight))


def test_a_step_that_fails_leaves_the_ledger_as_it_was(
    version_1: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sa.Table("imagen_notes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))

    def breaks(connection: sa.Connection) -> None:
        migrations.add_table(connection, table)
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_STEPS", (*migrations._STEPS, breaks))
        patched.setattr(migrations, "SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
        patched.setattr("prefect_imagen.core.ledger.ledger.SCHEMA_VERSION", migrations.SCHEMA_VERSION)
        with pytest.raises(OSError, match="power cut"):
            open_ledger(version_1)
    assert "imagen_notes" not in schema(open_ledger(version_1))


def test_a_view_that_others_build_on_is_kept_or_named(postgres: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(postgres)
    ledger.write(lambda c: c.execute(sa.text("CREATE VIEW mine AS SELECT uri FROM catalog")))
    ledger.write(migrations.create_view)
    older = (
        "DROP VIEW mine; DROP VIEW catalog; CREATE VIEW catalog AS SELECT 1 AS gone; CREATE VIEW mine AS TABLE catalog"
    )
    for statement in older.split(";"):
        ledger.write(lambda c, statement=statement: c.execute(sa.text(statement)))  # type: ignore[misc]
    with pytest.raises(LedgerNotUsable, match="depends on it"):
        ledger.write(migrations.create_view)
