"""A ledger that an older package made becomes what this package would make, and keeps every row."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState, Ledger, LedgerNotUsable, Verdict, migrations
from prefect_imagen.core.ledger.engine import normalise_url
from prefect_imagen.core.ledger.schema import metadata, runs

FAL = ("fal", "https://queue.fal.run")
RENAMED = {"imagen_caps": "imagen_budgets", "imagen_spending": "imagen_budget_windows"}
OpenLedger = Callable[..., Ledger]
DATA = Path(__file__).parents[2] / "data"
ACCOUNT = [{"provider": "aimlapi", "origin": "https://api.aimlapi.com", "address": None}]
REVIEW = tuple(
    f"imagen_{name}" for name in ("verdicts", "reviews", "checks", "revisions", "revision_requests", "handovers")
)
ARCHIVES = tuple(
    f"imagen_{name}" for name in ("archives", "archive_parts", "archive_work", "archived_calls", "archived_rows")
)


@pytest.fixture
def version_1(database: str) -> str:
    """URL of a ledger that version 1 made, with rows."""
    return load(database, 1)


@pytest.fixture
def version_6(database: str) -> str:
    """URL of a ledger that version 6 made, with items, calls and images in every state."""
    return load(database, 6)


def load(database: str, version: int) -> str:
    url = normalise_url(database)
    script = (DATA / f"ledger-v{version}.{url.get_backend_name()}.sql").read_text()
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
        triggers = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
            if connection.dialect.name == "sqlite"
            else "SELECT tgname, tgtype, proname, prosrc FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = current_schema()::regnamespace ORDER BY 1"
        )
        return {
            "triggers": [tuple(row) for row in connection.execute(sa.text(triggers))],
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
                    "checks": sorted((str(c["name"]), c["sqltext"]) for c in inspector.get_check_constraints(name)),
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


@pytest.mark.parametrize(("version", "create"), [(1, True), (1, False), *((n, True) for n in range(6, 18))])
def test_a_migrated_ledger_is_like_a_new_one(
    database: str, new: str, open_ledger: OpenLedger, version: int, create: bool
) -> None:
    migrated = open_ledger(load(database, version), create=create)
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


def everything(ledger_url: str, known: dict[str, list[dict[str, Any]]] | None = None) -> dict[str, list[Any]]:
    """All rows of all tables, as the database has them; of `known` ones only the columns that they had."""
    engine = sa.create_engine(normalise_url(ledger_url))
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        names = [name for name in inspector.get_table_names() if name.startswith("imagen_")]
        found: dict[str, list[Any]] = {}
        assert known is None or not set(names) & set(RENAMED)
        for name in (*names, "catalog"):
            rows_there = connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()
            had = (known or {}).get(name, [])
            columns = had[0].keys() if had else rows_there.keys()
            found[RENAMED.get(name, name)] = sorted(
                ({column: row[column] for column in columns} for row in rows_there), key=repr
            )
    engine.dispose()
    return found


def test_a_ledger_of_version_6_keeps_every_row_and_goes_on(version_6: str, open_ledger: OpenLedger) -> None:
    before = everything(version_6)
    ledger = open_ledger(version_6)
    after = everything(version_6, before)
    assert after.pop("imagen_history") == []
    assert all(after.pop(name) == [] for name in ("imagen_marks", *REVIEW, *ARCHIVES))
    assert after.pop("imagen_accounts") == ACCOUNT
    for found in (before, after):
        found["imagen_meta"] = [row for row in found["imagen_meta"] if row["key"] != "schema_version"]
    assert after == before
    progress = ledger.runs.progress("first")
    assert {state: count for state, count in progress.items.items() if count} == {
        ItemState.PLANNED: 2,
        ItemState.CLAIMED: 1,
        ItemState.SENT: 1,
        ItemState.GENERATED: 2,
        ItemState.DELIVERED: 1,
        ItemState.LOST: 3,
        ItemState.REFUSED: 1,
        ItemState.FAILED: 1,
        ItemState.UNKNOWN: 1,
        ItemState.ERASED: 1,
    }
    assert ledger.release_dead_workers() == 1
    (call,) = [call for call in ledger.calls.unknown() if call["reason"].startswith("the process stopped")]
    changes = [(one.call_id, one.before, one.after) for one in ledger.items.history(call["item_id"])]
    assert changes == [(call["client_request_id"], "sent", "unknown"), (None, "sent", "unknown")]


def test_a_ledger_of_version_7_keeps_every_row_and_gets_marks(database: str, open_ledger: OpenLedger) -> None:
    load(database, 7)
    before = everything(database)
    ledger = open_ledger(database)
    after = everything(database, before)
    assert all(after.pop(name) == [] for name in ("imagen_marks", *REVIEW, *ARCHIVES))
    assert after.pop("imagen_accounts") == ACCOUNT
    for found in (before, after):
        found["imagen_meta"] = [row for row in found["imagen_meta"] if row["key"] != "schema_version"]
    assert after == before
    with ledger.read() as connection:
        timed = "SELECT count(*) FROM imagen_images JOIN imagen_calls c ON c.id = call_id WHERE requested_at = sent_at"
        assert connection.scalar(sa.text(timed)) == len(before["imagen_images"]) > 0
    assert ledger.marks.number("file:///a") == 0
    assert [ledger.marks.advance("file:///a", seen) for seen in (0, 1, 3, 2)] == [1, 2, None, 3]
    ledger.marks.catch_up("file:///a", 9)
    ledger.marks.catch_up("file:///a", 4)
    assert (ledger.marks.number("file:///a"), ledger.marks.number("file:///b")) == (9, 0)


@pytest.mark.parametrize("version", [8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
def test_a_ledger_of_a_later_version_keeps_every_row_and_goes_on(
    database: str, open_ledger: OpenLedger, version: int
) -> None:
    load(database, version)
    before = everything(database)
    ledger = open_ledger(database)
    after = everything(database, before)
    new = {name: after.pop(name) for name in set(after) - set(before)}
    assert new.pop("imagen_accounts", ACCOUNT) == ACCOUNT
    assert set(new) == {*(REVIEW if version < 10 else ()), *(ARCHIVES if version < 16 else ())}
    assert not any(new.values())
    for found in (before, after):
        found["imagen_meta"] = [row for row in found["imagen_meta"] if row["key"] != "schema_version"]
    if version == 16:  # where a note was lost that somebody had said before something else
        [review] = [row for row in before["imagen_reviews"] if row["idx"] == 1]
        [image] = [row for row in before["catalog"] if row["image_id"] == "pi-00000000000000000000000000000001-1"]
        assert (review["note"], image["review_note"]) == (None, None)
        review["note"] = image["review_note"] = "too dark"
    assert after == before
    asked = {(row["run_id"], row["item_id"]) for row in before["imagen_run_items"]}
    counted = Counter(run_id for run_id, _ in asked)
    ended = {row["id"] for row in before["imagen_runs"] if row["ended_at"] is not None}
    with ledger.read() as connection:
        kept = dict(map(tuple, connection.execute(sa.select(runs.c.id, runs.c["items"]))))
    assert kept == {run_id: counted[run_id] if run_id in ended else None for run_id in kept}
    assert {row["run_id"]: row["items"] for row in ledger.runs.all()} == {run_id: counted[run_id] for run_id in kept}
    with ledger.read() as connection:
        sellers = {(ACCOUNT[0]["provider"], ACCOUNT[0]["origin"]), *([FAL] if version > 12 else ())}
        assert set(connection.execute(sa.text("SELECT provider, origin FROM imagen_calls"))) == sellers
    assert {row["api_origin"] for row in ledger.catalog.rows()} <= {origin for _, origin in sellers}
    assert {budget.provider for budget in ledger.budgets.states()} == {None, *(["fal"] if version > 13 else [])}
    assert ledger.marks.number("file:///a") == 3
    assert ledger.marks.advance("s3://bucket/b", 40) == 41
    first, second = (f"pi-00000000000000000000000000000001-{index}" for index in (0, 1))
    assert {row["image_id"] for row in ledger.catalog.rows() if row["damage"]} == ({second} if version > 8 else set())
    assert ledger.images.count_damaged("first") == (version > 8)
    row = next(row for row in ledger.catalog.rows() if row["image_id"] == first)
    assert row["c2pa_issuer"] == ("Provider" if version > 10 else None)
    assert row["inputs"] == (f'{{"image": "{"cd" * 32}"}}' if version > 11 else None)
    known = ledger.verdicts.latest([first, second])
    assert {image: (str(one.verdict), one.stars, one.note) for image, one in known.items()} == (
        {first: ("approved", 4, "for the cover"), second: ("rejected", 0, "too dark" if version > 15 else None)}
        if version >= 10
        else {}
    )
    ledger.verdicts.record([Verdict(first, "eve", stars=1)])
    assert [one.stars for one in ledger.verdicts.of(first)][-1] == 1
    assert [one.reviewers for one in ledger.revisions.open()] == ([("bob",)] if version >= 10 else [])


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (
            "UPDATE imagen_items SET state = 'bogus' WHERE prompt = 'fox 0'",
            "imagen_items [0-9a-f]{64}: the state 'bogus'",
        ),
        ("UPDATE imagen_images SET state = '' WHERE idx = 1", "imagen_images pi-0+1-1: the state ''"),
        ("UPDATE imagen_calls SET outcome = 'lost' WHERE id LIKE '%1'", "imagen_calls pi-0+1: the outcome 'lost'"),
        ("UPDATE imagen_runs SET outcome = 'over' WHERE id = 'second'", "imagen_runs second: the outcome 'over'"),
        (
            "UPDATE imagen_calls SET outcome = 'sent' WHERE id LIKE '%8' OR id LIKE '%9'",
            "imagen_items [0-9a-f]{64}: several calls in flight, pi-0+8, pi-0+9",
        ),
    ],
)
def test_a_ledger_that_breaks_a_rule_is_refused_and_not_changed(
    version_6: str, open_ledger: OpenLedger, broken: str, named: str
) -> None:
    engine = sa.create_engine(normalise_url(version_6))
    with engine.begin() as connection:
        connection.execute(sa.text(broken))
    engine.dispose()
    before = everything(version_6)
    with pytest.raises(LedgerNotUsable, match=named):
        open_ledger(version_6)
    assert everything(version_6) == before


def test_a_process_that_is_killed_in_the_middle_leaves_the_old_ledger(version_6: str, open_ledger: OpenLedger) -> None:
    before = everything(version_6)
    code = (
        "import os, signal\n"
        "from prefect_imagen.core.ledger import Ledger, migrations\n"
        "migrations.add_index = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Ledger({version_6!r})"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert everything(version_6) == before
    assert open_ledger(version_6).runs.progress("first").total == 14


def test_what_others_made_of_the_tables_is_kept(sqlite: str, open_ledger: OpenLedger) -> None:
    load(sqlite, 6)
    made = {
        "mine": "CREATE INDEX mine ON imagen_items (prompt)",
        "seen": "CREATE TRIGGER seen AFTER DELETE ON imagen_items BEGIN SELECT 1; END",
        "uris": "CREATE VIEW uris AS SELECT uri FROM catalog JOIN imagen_items USING (item_id)",
    }
    with contextlib.closing(sqlite3.connect(str(normalise_url(sqlite).database))) as connection:
        connection.executescript(";".join(made.values()))
    ledger = open_ledger(sqlite)
    with ledger.read() as connection:
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE name IN ('mine', 'seen', 'uris')")
        assert dict(connection.execute(query).all()) == made


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
