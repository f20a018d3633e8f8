"""The formats: each writes batches of rows and keeps none.

CSV is made for spreadsheets, which run a text that looks like a formula: an apostrophe before it keeps them from it,
and `core.values.from_spreadsheet` takes it off again.

| | text, numbers | times | JSON | null |
|---|---|---|---|---|
| CSV (RFC 4180, UTF-8) | text quoted, numbers not | ISO 8601, UTC, `Z` | its text | nothing (empty text: `""`) |
| JSON Lines | as they are | ISO 8601, UTC, `Z` | nested | `null` |
| Parquet | string, int64, double | timestamp of microseconds, UTC | string | null |
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, Protocol

from ..errors import BadInput
from ..values import to_spreadsheet
from .columns import Kind

Columns = Sequence[tuple[str, Kind]]
Row = Sequence[Any]


class Format(enum.StrEnum):
    """How a file is written; its value is also the ending of the file's name."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @classmethod
    def of(cls, name: str) -> Format:
        """By the ending of a name."""
        ending = name.rpartition(".")[2].lower()
        try:
            return cls(ending)
        except ValueError:
            known = ", ".join(f".{format_.value}" for format_ in cls)
            raise BadInput(f"{name}: the ending says the format ({known}); or name it with --format") from None


class Writer(Protocol):
    def write(self, rows: Sequence[Row]) -> None:
        """Write a batch; each row has a value for every column."""


@contextmanager
def open_writer(
    format_: Format, columns: Columns, file: IO[bytes], *, spreadsheet_safe: bool = True
) -> Iterator[Writer]:
    """A writer into an open binary file, which is left open.

    Args:
        spreadsheet_safe: Of CSV: write texts so that no spreadsheet takes one for a formula.
    """
    match format_:
        case Format.CSV:
            yield _Csv(columns, file, to_spreadsheet if spreadsheet_safe else str)
        case Format.JSONL:
            yield _JsonLines(columns, file)
        case Format.PARQUET:
            with _parquet(columns, file) as writer:
                yield writer


def _iso(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class _Csv:
    """The csv module cannot tell an empty text from a null before Python 3.12; here only a text is quoted."""

    def __init__(self, columns: Columns, file: IO[bytes], guard: Callable[[str], str]) -> None:
        self._file = file
        self._guard = guard
        file.write((",".join(name for name, _ in columns) + "\r\n").encode())

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write("".join(",".join(map(self._field, row)) + "\r\n" for row in rows).encode())

    def _field(self, value: Any) -> str:
        match value:
            case None:
                return ""
            case str():
                return '"' + self._guard(value).replace('"', '""') + '"'
            case datetime():
                return _iso(value)
            case float():
                return repr(value)
            case _:
                return str(value)


class _JsonLines:
    def __init__(self, columns: Columns, file: IO[bytes]) -> None:
        self._columns = columns
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write("".join(self._line(row) for row in rows).encode())

    def _line(self, row: Row) -> str:
        values = {name: self._value(kind, value) for (name, kind), value in zip(self._columns, row, strict=True)}
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"

    @staticmethod
    def _value(kind: Kind, value: Any) -> Any:
        if value is None:
            return None
        if kind is Kind.JSON:
            return json.loads(value)
        return _iso(value) if kind is Kind.TIME else value


@contextmanager
def _parquet(columns: Columns, file: IO[bytes]) -> Iterator[Writer]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise BadInput("Parquet needs pyarrow: pip install 'prefect-imagen[parquet]'") from None
    types = {
        Kind.TEXT: pa.string(),
        Kind.JSON: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.REAL: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns])

    class Rows:
        def write(self, rows: Sequence[Row]) -> None:
            arrays = [
                pa.array(values, type=field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield Rows()
