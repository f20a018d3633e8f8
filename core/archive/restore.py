"""From the files back into the ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..ledger import Archive, ArchiveState, Ledger
from ..storage import open_place
from .archive import Say
from .files import HISTORY, OF_ITEMS, RUN_ITEMS, fetch, read_items, read_pages


@dataclass(frozen=True, slots=True)
class Restored:
    """Rows that were put back.

    Attributes:
        id: Of the archive.
        uri: Its files, which stay where they are.
        items: Whose rows were put back now.
    """

    id: str
    uri: str
    items: int


def find(ledger: Ledger, name: str) -> Archive:
    """An archive of a ledger by its id or the address of its folder.

    Raises:
        BadInput: There is none, or it is not complete.
    """
    found = ledger.archives.find(name.rstrip("/").rpartition("/")[2])
    if found is None:
        raise BadInput(f"{name} is no archive of {ledger.description}: `prefect-imagen archive` lists them")
    if found.state is ArchiveState.RESTORED:
        raise BadInput(f"archive {found.id} was put back already")
    if found.state not in (ArchiveState.MOVED, ArchiveState.RESTORING):
        raise BadInput(f"archive {found.id} is not finished: first give the command that began it once more")
    return found


def restore(
    ledger: Ledger, name: str, *, store_options: Mapping[str, Any] | None = None, say: Say = lambda _: None
) -> Restored:
    """Put the rows of an archive back, or go on with that where it broke off. The files stay.

    Args:
        ledger: Open; the one that made the archive.
        name: Id of the archive, or the address of its folder, if that was moved.
        store_options: Fields of `S3Options` for a place in S3.
        say: Told what is being done.

    Raises:
        BadInput: No such archive; another process works on it; a file is not what was stored.
        Unavailable: Store or ledger do not answer. The same command goes on.
    """
    found = find(ledger, name)
    uri = name.rstrip("/") if "/" in name else found.destination
    place = uri.rpartition("/")[0]
    store = open_place(place, store_options or {})
    ledger.release_dead_workers()
    if not ledger.archives.take_over(found):
        raise BadInput(f"another process works on archive {found.id}")
    with tempfile.TemporaryDirectory(prefix="imagen-archive-") as folder:
        say("fetching the files")
        paths = {table: fetch(store, found, table, Path(folder)) for table in (*OF_ITEMS, RUN_ITEMS, HISTORY)}
        say("putting rows back")
        ledger.archives.restoring(found.id)
        for rows in read_pages(paths[RUN_ITEMS]):
            ledger.archives.restore_run_rows(found.id, rows)
        items = sum(ledger.archives.restore_items(found.id, page) for page in read_items(paths))
        for rows in read_pages(paths[HISTORY]):
            ledger.archives.restore_history(rows)
    ledger.archives.restored(found.id)
    return Restored(found.id, store.uri(found.id), items)
