"""A consistent copy of a ledger that is in use."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from ..errors import BadInput
from ..files import AtomicFile
from .engine import describe_url, normalise_url
from .errors import LedgerMissing, LedgerNotUsable, LedgerUnavailable

_BUSY_SECONDS = 30.0


def back_up(url: str, dest: Path) -> int:
    """Copy an SQLite ledger to a file, in the state of one moment; runs go on meanwhile.

    Args:
        url: As for `Ledger`.
        dest: A new file. Only its owner may read it.

    Returns:
        Its size in bytes.

    Raises:
        LedgerNotUsable: There is no ledger, or it is not an SQLite database.
        LedgerUnavailable: The database cannot be read now.
        BadInput: The file exists, or cannot be written.
    """
    source = normalise_url(url)
    if source.get_backend_name() != "sqlite":
        raise LedgerNotUsable(
            f"{describe_url(source)} is not a file: pg_dump --format=custom --file={dest} makes a consistent copy of it"
        )
    path = Path(str(source.database))
    if not path.exists():
        raise LedgerMissing(f"there is no ledger at {path}")
    try:
        with AtomicFile(dest, sync=True) as out:
            _copy(path, out.file.name)
            out.commit(create_only=True)
    except FileExistsError:
        raise BadInput(f"{dest} exists: a backup replaces no file; give another name") from None
    except OSError as error:
        raise BadInput(f"{dest} cannot be written: {error.strerror or error}") from None
    return dest.stat().st_size


def _copy(path: Path, to: str) -> None:
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(to)) as target,
        ):
            if not source.execute("SELECT 1 FROM sqlite_master WHERE name = 'imagen_meta'").fetchone():
                raise LedgerMissing(f"there is no ledger in {path}")
            # All pages in one step: in several, each commit of a run would begin it anew.
            source.backup(target, pages=-1)
            # One file, without a log beside it that could be forgotten.
            target.execute("PRAGMA journal_mode=DELETE")
            [(found,)] = target.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"the catalog at {path} cannot be copied: {error}") from None
    if found != "ok":
        raise LedgerNotUsable(f"the catalog at {path} is damaged: {found}")
