"""From the catalog to a file: whole or not at all, in flat memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import BadInput, Unavailable
from ..files import AtomicFile, make_private_folder
from ..ledger import Ledger, Selection
from ..storage import KeyTaken, ObjectStore, open_store
from .columns import COLUMNS, plain
from .formats import Format, open_writer

_CHUNK = 1024 * 1024
_CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSONL: "application/jsonl",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of the catalog."""

    uri: str
    format: Format
    rows: int
    bytes: int


def export_stream(
    ledger: Ledger,
    file: IO[bytes],
    format_: Format,
    selection: Selection | None = None,
    *,
    spreadsheet_safe: bool = True,
) -> int:
    """Write rows of the catalog into an open binary file."""
    written = 0
    kinds = list(COLUMNS.values())
    with (
        ledger.catalog.batches(list(COLUMNS), selection or Selection()) as batches,
        open_writer(format_, list(COLUMNS.items()), file, spreadsheet_safe=spreadsheet_safe) as writer,
    ):
        for batch in batches:
            writer.write([[plain(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in batch])
            written += len(batch)
    return written


def export_catalog(
    ledger: Ledger,
    target: str,
    selection: Selection | None = None,
    *,
    format_: Format | None = None,
    overwrite: bool = False,
    spreadsheet_safe: bool = True,
    **store_options: Any,
) -> Exported:
    """Write rows of the catalog to a file or an object, which appears whole or not at all.

    Args:
        format_: The file's format; None to tell it from the target's extension.
        spreadsheet_safe: Write the texts of a CSV so that no spreadsheet takes one for a formula.

    Raises:
        BadInput: No such format or place; something is there already.
        Unavailable: Store or ledger do not answer; the disk is full.

    Example:
        >>> from prefect_imagen.core.ledger import Ledger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_catalog(Ledger(f"{folder}/ledger.db"), f"{folder}/images.csv").rows
        0
    """
    format_ = format_ or Format.of(target)

    def write(file: IO[bytes]) -> int:
        return export_stream(ledger, file, format_, selection, spreadsheet_safe=spreadsheet_safe)

    if "://" not in target:
        return _to_file(write, Path(target).expanduser(), format_, overwrite=overwrite)
    place, _, name = target.rpartition("/")
    store = open_store(place, **store_options)
    if not name or place.endswith(":/"):
        raise BadInput(f"{target}: name the object, too: s3://bucket/images.{format_.value}")
    if not overwrite and store.head(name) is not None:
        raise BadInput(f"{target} exists; --overwrite replaces it")
    with tempfile.TemporaryDirectory(prefix="imagen-export-") as folder:
        path = Path(folder) / name
        exported = _to_file(write, path, format_, overwrite=False)
        _put(store, name, path, format_, overwrite=overwrite)
    return Exported(store.uri(name), format_, exported.rows, exported.bytes)


def _put(store: ObjectStore, name: str, path: Path, format_: Format, *, overwrite: bool) -> None:
    content_type = _CONTENT_TYPES[format_]
    try:
        store.put(name, path, sha256=_sha256(path), content_type=content_type, overwrite=overwrite)
    except KeyTaken as error:
        raise BadInput(f"{error.uri} exists; --overwrite replaces it") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_file(write: Callable[[IO[bytes]], int], path: Path, format_: Format, *, overwrite: bool) -> Exported:
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name the file, too")
    if not overwrite and path.exists():
        raise BadInput(f"{path} exists; --overwrite replaces it")
    with _whole(path, overwrite=overwrite) as file:
        rows = write(file)
    return Exported(path.absolute().as_uri(), format_, rows, path.stat().st_size)


@contextmanager
def _whole(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is complete and on the disk."""
    try:
        make_private_folder(path.parent)
        with AtomicFile(path, sync=True) as out:
            yield out.file
            out.commit(create_only=not overwrite)
    except FileExistsError:
        raise BadInput(f"{path} exists; --overwrite replaces it") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from error
