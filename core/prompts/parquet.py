"""Rows of a Parquet file, a batch at a time. Needs pyarrow, the extra `parquet`.

| Parquet | in templates |
|---|---|
| strings, integers, floats, booleans, null; lists and structs of these | the same |
| dates and times | text, as ISO 8601 |
| decimals, durations, UUIDs | text, every digit kept (`{{ price|float }}` calculates) |
| binary columns, and the index that pandas saves (`__index_level_0__`) | left out |
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import ImagenError
from .errors import PromptFileError

_BATCH = 1000
_BUFFER = 1024 * 1024
_INDEX = "__index_level_"


def read_columns(name: str, open_file: Callable[[], io.IOBase]) -> tuple[str, ...]:
    """The columns that rows have, from the file's footer.

    Raises:
        PromptFileError: pyarrow is missing, or this is no Parquet file with distinct columns.
    """
    with _opened(name, open_file) as parquet:
        return _columns(name, parquet)


def read_rows(name: str, open_file: Callable[[], io.IOBase]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, values) of every row; places count from 1."""
    place = 0
    with _opened(name, open_file) as parquet:
        for batch in parquet.iter_batches(_BATCH, columns=list(_columns(name, parquet))):
            for row in batch.to_pylist():
                place += 1
                yield place, {column: _plain(value) for column, value in row.items()}


@contextmanager
def _opened(name: str, open_file: Callable[[], io.IOBase]) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise PromptFileError(
            name, None, "Parquet is read with pyarrow, which is not installed: pip install 'prefect-imagen[parquet]'"
        ) from error
    try:
        with open_file() as file, pq.ParquetFile(file, buffer_size=_BUFFER) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        # What the file underneath raises arrives as it was, or as the cause of what pyarrow makes of it.
        if isinstance(error.__cause__, ImagenError):
            raise error.__cause__ from None
        raise PromptFileError(name, None, f"cannot be read as Parquet: {error}") from error


def _columns(name: str, parquet: Any) -> tuple[str, ...]:
    import pyarrow.types as kinds

    columns: list[str] = []
    for column in parquet.schema_arrow:
        binary = kinds.is_binary(column.type) or kinds.is_large_binary(column.type)
        if binary or kinds.is_fixed_size_binary(column.type) or column.name.startswith(_INDEX):
            continue
        if column.name in columns:
            raise PromptFileError(name, None, f"two columns are called {column.name!r}; rename one")
        columns.append(column.name)
    if not columns:
        raise PromptFileError(name, None, "it has no column that a template could use")
    return tuple(columns)


def _plain(value: Any) -> Any:
    """A value as JSON could hold it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
