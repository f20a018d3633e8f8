"""Rows of a Parquet file, a batch at a time. Needs pyarrow, the extra `parquet`.

| Parquet | in templates |
|---|---|
| strings, integers, floats, booleans, null; lists and structs of these | the same |
| dates and times | text, as ISO 8601 |
| decimals, durations, UUIDs | text, every digit kept (`{{ price|float }}` calculates) |
| bytes, in columns of their own or within others, and the index that pandas saves (`__index_level_0__`) | left out |

A file of a few hundred bytes can stand for many gigabytes. So it is read in a confined process (`confined`), in small
batches, and the size of a batch is known before its values are made.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from .channel import Channel, Limits, NoMore
from .confined import Confined
from .errors import PromptFileError
from .seekable import SeekableFile

if TYPE_CHECKING:
    pass

MAX_ROW_BYTES = 4_000_000
"""Bytes of a row: as many as a line of a text file may have. Batches are cut to this size, too."""

MAX_DECODED = 20_000_000
"""Bytes that any file may hold; a larger one `MAX_RATIO` times its own size."""

MAX_RATIO = 1000

_BATCH = 32
_BUFFER = 1024 * 1024
_INDEX = "__index_level_"


class Read(NamedTuple):
    """What is read of a file: its columns, or its rows."""

    name: str
    rows: bool


class Columns(NamedTuple):
    """The columns of rows, and those of bytes that are left out."""

    usable: tuple[str, ...]
    binary: tuple[str, ...]


def read_columns(name: str, open_file: Callable[[], io.IOBase]) -> Columns:
    """What the file's footer says.

    Raises:
        PromptFileError: pyarrow is missing, or this is no Parquet file with distinct columns.
    """
    with closing(open_file()) as file:
        found = _confined(name, file, rows=False).result
    assert isinstance(found, Columns)  # noqa: S101 - for the type checker
    return found


def read_rows(name: str, open_file: Callable[[], io.IOBase]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, values) of every row; places count from 1.

    Raises:
        PromptFileError: As `read_columns`; or a row has too many bytes, or values that cannot be read.
    """
    with closing(open_file()) as file:
        yield from _confined(name, file, rows=True).run(None)


def _confined(name: str, file: Any, *, rows: bool) -> Confined:
    if find_spec("pyarrow") is None:
        raise PromptFileError(
            name, None, "Parquet is read with pyarrow, which is not installed: pip install 'prefect-imagen[parquet]'"
        )

    def read(asked: tuple[int, int]) -> bytes:
        file.seek(asked[0])
        return bytes(file.read(asked[1]))

    return Confined(name, ("parquet", Read(name, rows)), {"size": lambda _: (file.seek(0, io.SEEK_END),), "read": read})


class _Remote(SeekableFile):
    """The file, which is open on the other side."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(int(channel.ask("size")[0]))
        self._channel = channel
        self.broken = False

    def bytes_at(self, position: int, count: int) -> bytes:
        try:
            return bytes(self._channel.ask("read", (position, count)))
        except NoMore:
            self.broken = True
            raise


def convert(asked: Read, channel: Channel, limits: Limits) -> Columns | None:
    """Read a file, in the confined process."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Other allocators reserve more addresses than the limit allows.
    pa.set_memory_pool(pa.system_memory_pool())
    limits.memory()
    remote = _Remote(channel)
    place = decoded = 0
    try:
        schema = pq.read_schema(remote)
        columns = _columns(asked.name, schema)
        if not asked.rows:
            return columns
        channel.ready()
        channel.order()
        # A text that is there a thousand times in a dictionary stays there once.
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        with pq.ParquetFile(remote, buffer_size=_BUFFER, read_dictionary=texts) as parquet:
            for batch in parquet.iter_batches(_BATCH, columns=list(columns.usable), use_threads=False):
                decoded += sum(map(_decoded, batch.columns))
                if decoded > max(MAX_DECODED, MAX_RATIO * remote.size):
                    raise PromptFileError(
                        asked.name,
                        place + 1,
                        f"the file has {remote.size:,} bytes and holds over {decoded:,}: this is no list of prompts",
                    )
                for values in _rows(asked.name, batch, place + 1):
                    place += 1
                    limits.at(place)
                    channel.give((place, values), 100 + sum(map(_size, values.values())))
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, RecursionError) as error:
        if remote.broken:
            raise NoMore from None
        if isinstance(error, MemoryError | PromptFileError):
            raise
        raise PromptFileError(asked.name, None, f"cannot be read as Parquet: {str(error)[:500]}") from None
    return None


def _size(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(map(_size, value.values())) + 10
    if isinstance(value, list):
        return sum(map(_size, value)) + 10
    return len(value) if isinstance(value, str) else 10


def _columns(name: str, schema: Any) -> Columns:
    columns: list[str] = []
    binary: list[str] = []
    for column in schema:
        if column.name.startswith(_INDEX):
            continue
        if _is_binary(column.type):
            binary.append(column.name)
            continue
        if column.name in columns:
            raise PromptFileError(name, None, f"two columns are called {column.name!r}; rename one")
        columns.append(column.name)
    if not columns:
        raise PromptFileError(name, None, "it has no column that a template could use")
    return Columns(tuple(columns), tuple(binary))


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as kinds

    tests = ("is_binary", "is_large_binary", "is_fixed_size_binary", "is_binary_view")
    return any(getattr(kinds, test)(kind) for test in tests if hasattr(kinds, test))


def _rows(name: str, batch: Any, place: int) -> Iterator[dict[str, Any]]:
    """The rows of a batch, of which the first is at `place`; in parts that are no larger than a row may be."""
    if sum(_decoded(column) for column in batch.columns) <= MAX_ROW_BYTES:
        columns = [_values(name, batch.schema.field(at), column) for at, column in enumerate(batch.columns)]
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, map(_plain, values), strict=True))
    elif batch.num_rows == 1:
        raise PromptFileError(name, place, f"the row has more than {MAX_ROW_BYTES:,} bytes")
    else:
        half = batch.num_rows // 2
        yield from _rows(name, batch.slice(0, half), place)
        yield from _rows(name, batch.slice(half), place + half)


def _decoded(array: Any) -> int:
    """Bytes of the values of an array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary).take(array.indices)
    return (pc.sum(lengths).as_py() or 0) + len(array)


def _values(name: str, field: Any, array: Any) -> list[Any]:
    """The values of a column. What Python has no value for (nanoseconds, distant years) is text as Arrow writes it."""
    import pyarrow as pa

    try:
        if field.type != pa.time64("ns"):
            return list(array.to_pylist())
    except (pa.ArrowException, ValueError, OverflowError, KeyError, ImportError):
        pass
    try:
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            # A time zone that is not known here: the same instant in UTC.
            return [_zulu(text) for text in array.cast(pa.timestamp(field.type.unit)).cast(pa.string()).to_pylist()]
        if pa.types.is_timestamp(field.type):
            return [text and text.replace(" ", "T") for text in array.cast(pa.string()).to_pylist()]
        return list(array.cast(pa.string()).to_pylist())
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise PromptFileError(name, None, f"the column {field.name!r} cannot be read: {str(error)[:200]}") from None


def _zulu(text: str | None) -> str | None:
    return None if text is None else f"{text.replace(' ', 'T')}+00:00"


def _plain(value: Any) -> Any:
    """A value as JSON could hold it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items() if not isinstance(one, bytes)}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value if not isinstance(one, bytes)]
    return str(value)
