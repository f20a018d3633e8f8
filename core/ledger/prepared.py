"""Statements for many rows.

SQLAlchemy compiles a statement once, but looks up for each row again what its parameters are and how a driver takes
them. That takes longer than the database does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as a driver takes it: its parameters with what makes a driver's value of one, and its constants."""

    text: str
    parameters: Sequence[tuple[str, _Convert | None]]
    constants: Mapping[str, Any]
    positional: bool

    def values_of(self, row: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        if self.constants:
            row = {**self.constants, **row}
        if self.positional:
            return tuple([row[name] if convert is None else convert(row[name]) for name, convert in self.parameters])
        return {name: row[name] if convert is None else convert(row[name]) for name, convert in self.parameters}


class Prepared:
    """An insert or update that is run for many rows at once, and returns nothing.

    Args:
        statement: With a parameter for each name in a row; or what makes it for a kind of database.
    """

    def __init__(self, statement: sa.Executable | Callable[[Connection], sa.Executable]) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for rows, all with the same names."""
        if not rows:
            return
        key = (connection.dialect.name, *rows[0])
        if key not in self._compiled:
            self._compiled[key] = self._compile(connection, list(rows[0]))
        compiled = self._compiled[key]
        connection.exec_driver_sql(compiled.text, [compiled.values_of(row) for row in rows])

    def _compile(self, connection: Connection, names: list[str]) -> _Compiled:
        statement: Any = self._statement if isinstance(self._statement, sa.Executable) else self._statement(connection)
        dialect = connection.dialect
        compiled: Any = statement.compile(dialect=dialect, column_keys=names)
        assert not compiled.post_compile_params, "a list of values is written into a statement each time"  # noqa: S101
        converts = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        defaults = {column.key: column.default.arg for column in compiled.insert_prefetch}
        constants = {name: value for name, value in {**compiled.params, **defaults}.items() if name not in names}
        parameters = compiled.positiontup if compiled.positional else [*names, *constants]
        return _Compiled(
            str(compiled), [(name, converts.get(name)) for name in parameters], constants, compiled.positional
        )
