"""Bringing a database to the schema of this package.

A new database gets everything as `core.ledger.schema` has it. An older one runs the steps after its own version, and
gets the `catalog` view anew. A step is a function of a connection, written with the helpers below; they leave alone
what is there already, so a table that a step adds may get its later columns with it.

To change the schema: change the table in `schema.py`, append a step to `_STEPS`, and see `test_migrations.py` compare a
migrated database with a new one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .errors import LedgerNotUsable
from .schema import (
    CATALOG_VIEW,
    budget_windows,
    budgets,
    calls,
    items,
    meta,
    metadata,
    quota_shares,
    quotas,
    rewrites,
    runs,
)

_ADVISORY_LOCK = 7_310_942_118

Step = Callable[[Connection], None]


def add_table(connection: Connection, table: sa.Table) -> None:
    """Create a table with its indexes."""
    table.create(connection, checkfirst=True)


def add_column(connection: Connection, column: sa.Column[object]) -> None:
    """Add a column to a table that is there: one that may be null, or has a default of the server's.

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
    """Create an index on a table that is there."""
    index.create(connection, checkfirst=True)


def create_view(connection: Connection) -> None:
    """Make the `catalog` view, in place of an older one.

    Raises:
        LedgerNotUsable: Something that others made depends on columns that are no more.
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


# The step at index n leads from version n + 1 to n + 2. Never change or reorder what was released.
_STEPS: tuple[Step, ...] = (_rewrites, _flow_run_url, _budgets, _shared_limits, _models)

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
    else:
        for step in _STEPS[version - 1 :]:
            step(connection)
    create_view(connection)
    connection.execute(sa.delete(meta).where(meta.c.key == "schema_version"))
    connection.execute(sa.insert(meta), [{"key": "schema_version", "value": str(SCHEMA_VERSION)}])
