"""Bringing a database to the schema of this package.

A new database gets everything as `core.ledger.schema` has it. An older one runs the steps after its version; triggers
and the `catalog` view are made anew. A step is a function of a connection, written with the helpers below. They skip
what is there already, so a table that a step adds may get its later columns with it.

To change the schema: change the table in `schema.py`, append a step to `_STEPS`, and see `test_migrations.py` compare
a migrated database with a new one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .errors import LedgerNotUsable
from .runs import COUNTED_ITEMS
from .schema import (
    CALLS_BY_OUTCOME,
    CATALOG_VIEW,
    EXPECTED_ROWS,
    IMAGES_BY_STATE,
    IMAGES_BY_TIME,
    ONE_IN_FLIGHT,
    accounts,
    archive_parts,
    archive_work,
    archived_calls,
    archived_rows,
    archives,
    budget_windows,
    budgets,
    calls,
    checks,
    handovers,
    history,
    images,
    insert_new,
    items,
    marks,
    meta,
    metadata,
    quota_shares,
    quotas,
    reviews,
    revision_requests,
    revisions,
    rewrites,
    runs,
    verdicts,
)
from .states import CallOutcome

_ADVISORY_LOCK = 7_310_942_118

Step = Callable[[Connection], None]


def add_table(connection: Connection, table: sa.Table) -> None:
    """Create a table with its indexes."""
    table.create(connection, checkfirst=True)


def add_column(connection: Connection, column: sa.Column[object]) -> None:
    """Add a column to an existing table: one that may be null, or that has a server default.

    Example:
        `add_column(connection, calls.c.colour)`
    """
    if not column.nullable and column.server_default is None:
        raise ValueError(f"{column}: old rows need a value, so it must be nullable or have a server_default")
    there = {known["name"] for known in sa.inspect(connection).get_columns(column.table.name)}
    if column.name in there:
        return
    preparer = connection.dialect.identifier_preparer
    compiler: Any = connection.dialect.ddl_compiler(connection.dialect, sa.schema.CreateTable(column.table))
    definition = compiler.get_column_specification(column)
    connection.execute(sa.text(f"ALTER TABLE {preparer.format_table(column.table)} ADD COLUMN {definition}"))
    if column.comment is not None and connection.dialect.supports_comments:
        connection.execute(sa.schema.SetColumnComment(column))
    for index in column.table.indexes:
        if column.name in index.columns and set(index.columns.keys()) <= {*there, column.name}:
            add_index(connection, index)


def add_index(connection: Connection, index: sa.Index) -> None:
    """Create an index on an existing table."""
    index.create(connection, checkfirst=True)


def _checks(table: sa.Table) -> list[sa.CheckConstraint]:
    found = (constraint for constraint in table.constraints if isinstance(constraint, sa.CheckConstraint))
    return sorted(found, key=lambda check: str(check.name))


def add_checks(connection: Connection, table: sa.Table) -> None:
    """Give an existing table its CHECK constraints.

    SQLite cannot add constraints: a new table is made, filled and renamed, all within the caller's transaction.
    """
    if connection.dialect.name == "postgresql":
        there = {check["name"] for check in sa.inspect(connection).get_check_constraints(table.name)}
        for check in _checks(table):
            if check.name not in there:
                connection.execute(sa.schema.AddConstraint(check, isolate_from_table=False))
        return
    columns = ", ".join(f'"{column["name"]}"' for column in sa.inspect(connection).get_columns(table.name))
    query = "SELECT sql FROM sqlite_master WHERE tbl_name = :name AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    attached = connection.scalars(sa.text(query), {"name": table.name}).all()
    filled = table.to_metadata(sa.MetaData(), name=f"{table.name}_new")
    connection.execute(sa.schema.CreateTable(filled))
    connection.execute(sa.text(f"INSERT INTO {filled.name} ({columns}) SELECT {columns} FROM {table.name}"))
    connection.execute(sa.text(f"DROP TABLE {table.name}"))
    # Otherwise SQLite refuses the renaming while a view names a table that does not exist.
    connection.execute(sa.text("PRAGMA legacy_alter_table = ON"))
    connection.execute(sa.text(f"ALTER TABLE {filled.name} RENAME TO {table.name}"))
    connection.execute(sa.text("PRAGMA legacy_alter_table = OFF"))
    for statement in attached:  # whoever made them
        connection.exec_driver_sql(statement)


_NAMED = 20


def broken_rules(connection: Connection) -> list[str]:
    """Describe rows that break a rule of the schema, at most some of each kind."""
    found = []
    for table in (runs, items, calls, images):
        for check in _checks(table):
            query = sa.select(*table.primary_key.columns, table.c[check.info["column"]])
            for *key, value in connection.execute(query.where(sa.text(f"NOT ({check.sqltext})")).limit(_NAMED)):
                found.append(f"{table.name} {'-'.join(map(str, key))}: the {check.info['column']} {value!r}")
    several = (
        sa.select(calls.c.item_id)
        .where(calls.c.outcome == CallOutcome.SENT)
        .group_by(calls.c.item_id)
        .having(sa.func.count() > 1)
        .limit(_NAMED)
    )
    for item_id in connection.scalars(several):
        mine = sa.select(calls.c.id).where(calls.c.item_id == item_id, calls.c.outcome == CallOutcome.SENT)
        found.append(f"{items.name} {item_id}: several calls in flight, {', '.join(connection.scalars(mine))}")
    return found


def create_triggers(connection: Connection) -> None:
    """Make the triggers that write the history, in place of older ones."""
    for table, column, insert in ((items, "state", False), (calls, "outcome", True)):
        for event in ("UPDATE", "INSERT") if insert else ("UPDATE",):
            name = f"{table.name}_{event.lower()}_history"
            before = f"OLD.{column}" if event == "UPDATE" else "NULL"
            of = f"UPDATE OF {column}" if event == "UPDATE" else event
            when = f"WHEN (OLD.{column} <> NEW.{column})" if event == "UPDATE" else ""
            for statement in _TRIGGERS[connection.dialect.name]:
                sql = statement.format(name=name, table=table.name, of=of, when=when, before=before, column=column)
                connection.exec_driver_sql(sql)


_TRIGGERS = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS {name}",
        # Padded to microseconds, as SQLAlchemy writes and reads times.
        """CREATE TRIGGER {name} AFTER {of} ON {table} FOR EACH ROW {when} BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, {before}, NEW.{column}, strftime('%Y-%m-%d %H:%M:%f000', 'now')); END""",
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO imagen_history (subject, "before", "after", at)
    VALUES (NEW.id, {before}, NEW.{column}, clock_timestamp()); RETURN NULL; END $$""",
        "DROP TRIGGER IF EXISTS {name} ON {table}",
        "CREATE TRIGGER {name} AFTER {of} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION {name}()",
    ),
}


def create_statistics(connection: Connection) -> None:
    """Tell SQLite what to expect of indexes, in place of what it guesses. PostgreSQL counts by itself."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql(f"ANALYZE {meta.name}")  # makes the table of statistics
    for index, rows in EXPECTED_ROWS.items():
        connection.execute(sa.text("DELETE FROM sqlite_stat1 WHERE idx = :index"), {"index": index})
        there = "SELECT tbl_name, name, :rows FROM sqlite_master WHERE type = 'index' AND name = :index"
        connection.execute(sa.text(f"INSERT INTO sqlite_stat1 {there}"), {"rows": rows, "index": index})
    connection.exec_driver_sql("ANALYZE sqlite_master")  # reads the table anew


def create_view(connection: Connection) -> None:
    """Make the `catalog` view, in place of an older one.

    Raises:
        LedgerNotUsable: A view of somebody else depends on columns that are gone.
    """
    if connection.dialect.name == "postgresql":
        try:
            with connection.begin_nested():
                connection.execute(sa.text(f"CREATE OR REPLACE VIEW catalog AS{CATALOG_VIEW}"))
        except sa.exc.ProgrammingError:
            _drop_view(connection)
        else:
            return
    else:
        _drop_view(connection)
    connection.execute(sa.text(f"CREATE VIEW catalog AS{CATALOG_VIEW}"))


def _drop_view(connection: Connection) -> None:
    try:
        connection.execute(sa.text("DROP VIEW IF EXISTS catalog"))
    except sa.exc.DBAPIError as error:
        raise LedgerNotUsable(
            "the catalog view has to be made anew, and something in the database depends on it; drop that, run again, "
            f"and make it again: {str(error.orig).strip()}"
        ) from None


def fill_request_times(connection: Connection) -> None:
    """Give images the time of their call: those of older versions, whose processes may still be at work."""
    sent = sa.select(calls.c.sent_at).where(calls.c.id == images.c.call_id).scalar_subquery()
    missing = images.c.requested_at.is_(None)
    if connection.scalar(sa.select(images.c.call_id).where(missing).limit(1)) is not None:
        connection.execute(sa.update(images).where(missing).values(requested_at=sent))


def _rewrites(connection: Connection) -> None:
    """Prompts that a language model rewrites first."""
    for column in (items.c.kind, items.c.rewrite_id, items.c.variation, calls.c.prompt):
        add_column(connection, column)
    add_table(connection, rewrites)


def _flow_run_url(connection: Connection) -> None:
    add_column(connection, runs.c.flow_run_url)


def _budgets(connection: Connection) -> None:
    """Budgets of the day and the month."""
    add_table(connection, budgets)
    add_table(connection, budget_windows)
    add_column(connection, runs.c.warned)


def _shared_limits(connection: Connection) -> None:
    """Rates and slots that processes share."""
    add_table(connection, quotas)
    add_table(connection, quota_shares)


def _models(connection: Connection) -> None:
    """Models that may stand in for the one a run wants."""
    add_column(connection, runs.c.models)


def _rules(connection: Connection) -> None:
    """Rules that the database holds: known states and outcomes, one call of an item in flight. And the history.

    Raises:
        LedgerNotUsable: A row breaks a rule.
    """
    broken = broken_rules(connection)
    if broken:
        raise LedgerNotUsable(
            "the ledger cannot be brought to this package's schema, since rows break its rules; nothing was changed: "
            + "; ".join(broken)
        )
    _drop_view(connection)
    for table in (runs, items, calls, images):
        add_checks(connection, table)
    add_index(connection, ONE_IN_FLIGHT)
    add_table(connection, history)


def _marks(connection: Connection) -> None:
    """How far the markers at destinations are."""
    add_table(connection, marks)


def _damage(connection: Connection) -> None:
    """What is wrong with a picture that is stored all the same."""
    add_column(connection, images.c.damage)


def _reviews(connection: Connection) -> None:
    """What people and checks say about images, what is made anew, and what was handed over."""
    for table in (verdicts, reviews, checks, revisions, revision_requests, handovers):
        add_table(connection, table)
    add_column(connection, images.c.requested_at)
    add_index(connection, IMAGES_BY_TIME)
    fill_request_times(connection)


def _provenance(connection: Connection) -> None:
    """What images say of their origin, and how they are marked."""
    for column in (images.c.c2pa, images.c.c2pa_issuer, images.c.digital_source_type, images.c.marked, runs.c.mark):
        add_column(connection, column)


def _inputs(connection: Connection) -> None:
    """Pictures that go into requests."""
    add_column(connection, items.c.inputs)


def _accounts(connection: Connection) -> None:
    """Several providers on one ledger; calls whose answers can be asked for again."""
    add_table(connection, accounts)
    for name in ("provider", "origin", "key_fingerprint", "expected", "recovery"):
        add_column(connection, calls.c[name])
    known = {row.key: row.value for row in connection.execute(sa.select(meta.c.key, meta.c.value))}
    if (origin := known.get("api_origin")) is not None:
        row = {"provider": "aimlapi", "origin": origin, "address": known.get("api_address")}
        connection.execute(insert_new(connection, accounts), [row])
        connection.execute(sa.update(calls).values(provider="aimlapi", origin=origin))


def _account_budgets(connection: Connection) -> None:
    """Budgets of single providers."""
    for table, old in ((budgets, "imagen_caps"), (budget_windows, "imagen_spending")):
        add_table(connection, table)
        if not sa.inspect(connection).has_table(old):
            continue  # in a ledger that is older than budgets, the step for them has made the new tables
        before = sa.table(old, *(sa.column(column.name) for column in table.c if column.name != "provider"))
        columns = [before.c[column.name] if column.name in before.c else sa.literal("") for column in table.c]
        connection.execute(sa.insert(table).from_select(list(table.c), sa.select(*columns)))
        connection.execute(sa.text(f"DROP TABLE {old}"))


def _large(connection: Connection) -> None:
    """Indexes without which a large ledger is searched row by row: for an edition, for what a day has cost."""
    for table, column in ((items, "edition"), (calls, "sent_at")):
        for index in table.indexes:
            if index.columns.keys() == [column]:
                add_index(connection, index)


def _archives(connection: Connection) -> None:
    """Rows of finished items that were moved out."""
    for table in (archives, archive_parts, archive_work, archived_calls, archived_rows):
        add_table(connection, table)
    add_column(connection, items.c.archive_part)


def _note_times(connection: Connection) -> None:
    """When the note of an image was said. Before, a note was lost here if something else was said later."""
    add_column(connection, reviews.c.note_at)
    mine = (verdicts.c.call_id == reviews.c.call_id, verdicts.c.idx == reviews.c.idx, verdicts.c.note.is_not(None))
    last = sa.select(verdicts).where(*mine).order_by(verdicts.c.at.desc(), verdicts.c.number.desc()).limit(1)
    note, said = (last.with_only_columns(column).scalar_subquery() for column in (verdicts.c.note, verdicts.c.at))
    connection.execute(sa.update(reviews).where(sa.exists().where(*mine)).values(note=note, note_at=said))


def _sums(connection: Connection) -> None:
    """What all calls and images add up to, from indexes; and the items of runs that ended."""
    add_index(connection, CALLS_BY_OUTCOME)
    add_index(connection, IMAGES_BY_STATE)
    connection.execute(sa.text("DROP INDEX IF EXISTS ix_imagen_calls_outcome"))
    add_column(connection, runs.c["items"])
    connection.execute(sa.update(runs).where(runs.c.ended_at.is_not(None)).values(items=COUNTED_ITEMS))


# The step at index n leads from version n + 1 to n + 2. Never change or reorder what was released.
_STEPS: tuple[Step, ...] = (
    *(_rewrites, _flow_run_url, _budgets, _shared_limits, _models, _rules),
    *(_marks, _damage, _reviews, _provenance, _inputs, _accounts, _account_budgets, _large, _archives),
    *(_note_times, _sums),
)

SCHEMA_VERSION = 1 + len(_STEPS)


def check_version(connection: Connection) -> int:
    """The version of the schema that is there, 0 for none.

    Raises:
        LedgerNotUsable: It is newer than this package.
    """
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    version = int(connection.scalar(sa.select(meta.c.value).where(meta.c.key == "schema_version")) or 0)
    if version > SCHEMA_VERSION:
        raise LedgerNotUsable(
            f"the ledger's schema is version {version}, this package knows {SCHEMA_VERSION}: upgrade prefect-imagen"
        )
    return version


def migrate(connection: Connection) -> None:
    """Bring a database to the current schema, within the caller's transaction. Safe to call from many processes.

    Raises:
        LedgerNotUsable: The schema is newer than this package.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    version = check_version(connection)
    if version == SCHEMA_VERSION:
        return
    if version == 0:
        metadata.create_all(connection)
        connection.execute(sa.insert(meta), [{"key": "ledger_id", "value": uuid.uuid4().hex}])
        # Not in a ledger of an older version: there, images in folders keep the names that they would have had.
        connection.execute(sa.insert(meta), [{"key": "folder_names", "value": "readable"}])
    else:
        for step in _STEPS[version - 1 :]:
            step(connection)
    create_triggers(connection)
    create_view(connection)
    create_statistics(connection)
    connection.execute(sa.delete(meta).where(meta.c.key == "schema_version"))
    connection.execute(sa.insert(meta), [{"key": "schema_version", "value": str(SCHEMA_VERSION)}])
