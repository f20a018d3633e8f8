"""The files of an archive: a Parquet file for each table, and a manifest that is written last.

All but `runs`, `run_items` and `history` have the rows of the items in one order, so that they are read side by side.
Nothing is kept in memory but a few thousand rows of each table.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..export.columns import Kind
from ..export.formats import Format, Writer, open_writer
from ..ledger import ItemPage
from ..ledger.archives import PAGE, Archive
from ..ledger.item_rows import TABLES, Rows
from ..storage import ObjectStore
from ..storage.errors import ChecksumMismatch, ObjectMissing

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1

RUNS, RUN_ITEMS, HISTORY, ITEMS = "runs", "run_items", "history", "items"
OF_ITEMS = tuple(name for name in TABLES if name not in (RUNS, RUN_ITEMS, HISTORY))

_KINDS = {str: Kind.TEXT, int: Kind.INTEGER, bool: Kind.BOOLEAN, datetime: Kind.TIME, dict: Kind.JSON}
_ROW_GROUP = 5000
_CONTENT_TYPE = "application/vnd.apache.parquet"


class Files:
    """Files that are being written in a folder.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._writers: dict[str, Writer] = {}
        self._waiting: dict[str, Rows] = {name: [] for name in TABLES}
        self.rows = dict.fromkeys(TABLES, 0)

    def __enter__(self) -> Files:
        for name, columns in TABLES.items():
            file = self._stack.enter_context((self._folder / _name(name)).open("wb"))
            kinds = [(column, _KINDS[type_]) for column, type_ in columns.items()]
            self._writers[name] = self._stack.enter_context(open_writer(Format.PARQUET, kinds, file))
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            for name in TABLES:
                self._flush(name)
        self._stack.close()

    def add(self, name: str, rows: Rows) -> None:
        """Add rows to a table's file."""
        self._waiting[name] += rows
        self.rows[name] += len(rows)
        if len(self._waiting[name]) >= _ROW_GROUP:
            self._flush(name)

    def _flush(self, name: str) -> None:
        waiting, self._waiting[name] = self._waiting[name], []
        if waiting:
            self._writers[name].write([[row[column] for column in TABLES[name]] for row in waiting])


def _name(table: str) -> str:
    return f"{table}.parquet"


def key_of(archive_id: str, table: str) -> str:
    """The key of a table's file."""
    return f"{archive_id}/{_name(table)}"


def store_files(
    store: ObjectStore, archive_id: str, folder: Path, rows: Mapping[str, int]
) -> dict[str, dict[str, str | int]]:
    """Store files create-only. Returns rows, bytes and hash of each."""
    files: dict[str, dict[str, str | int]] = {}
    for table in TABLES:
        path = folder / _name(table)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stored = store.put(key_of(archive_id, table), path, sha256=sha256, content_type=_CONTENT_TYPE)
        files[table] = {"file": _name(table), "rows": rows[table], "bytes": stored.size, "sha256": sha256}
        path.unlink()
    return files


def fetch(store: ObjectStore, archive: Archive, table: str, folder: Path) -> Path:
    """Fetch a file and verify it: its hash, and the number of its rows.

    Raises:
        BadInput: It is not there, or is not what was stored.
    """
    path, known = folder / _name(table), archive.files[table]
    key = key_of(archive.id, table)
    try:
        fetched = store.get(key, path)
    except (ObjectMissing, ChecksumMismatch) as error:
        raise BadInput(f"{store.uri(key)} is not what was stored there: {error}. The ledger was not changed") from None
    rows = _rows_in(path) if fetched.sha256 == known["sha256"] else -1
    if rows != known["rows"]:
        raise BadInput(f"{store.uri(key)} is not what was stored there; the ledger was not changed")
    return path


def _rows_in(path: Path) -> int:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def read_pages(path: Path) -> Iterator[Rows]:
    """The rows of a file, some at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PAGE):
            yield batch.to_pylist()


def read_items(paths: Mapping[str, Path]) -> Iterator[ItemPage]:
    """All rows of some items at a time, from files that have them in one order."""
    others = {name: _Ahead(row for page in read_pages(paths[name]) for row in page) for name in OF_ITEMS}
    for page in read_pages(paths[ITEMS]):
        mine = {row["id"] for row in page}
        rows = {name: ahead.while_in(mine) for name, ahead in others.items() if name != ITEMS}
        yield ItemPage({ITEMS: page, **rows})


class _Ahead:
    """Rows, of which one is looked at before it is taken."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def while_in(self, item_ids: set[str]) -> Rows:
        taken: Rows = []
        while self._next is not None and self._next["item_id"] in item_ids:
            taken.append(self._next)
            self._next = next(self._rows, None)
        return taken


def write_manifest(store: ObjectStore, archive_id: str, facts: Mapping[str, Any]) -> None:
    """Write what the files are and what they amount to. It is there only if all files are."""
    text = json.dumps({"manifest": MANIFEST_VERSION, **facts}, indent=2, default=str) + "\n"
    store.write_text(f"{archive_id}/{MANIFEST}", text)
