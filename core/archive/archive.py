"""From the ledger into files: nothing is deleted before its copy was read back.

Rows are written into Parquet files, these are stored, read back and compared; only then are rows deleted, some items in
a transaction. Where it breaks off, the same command goes on: before the files are complete it begins anew, after that
it moves what is left.
"""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..ledger import Archive, ArchivePreview, ArchiveState, Ledger, Selection
from ..ledger.item_rows import TABLES
from ..ledger.migrations import SCHEMA_VERSION
from ..storage import ObjectStore, open_place
from .files import HISTORY, MANIFEST, RUN_ITEMS, RUNS, Files, fetch, key_of, read_pages, store_files, write_manifest

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Archived:
    """Rows that were moved out.

    Attributes:
        id: Of the archive; None where there was nothing to move.
        uri: The folder of its files.
        items: Whose rows were moved now.
        changed: Items that stayed, since something changed in them after their rows were written.
        bytes: Of all files.
    """

    id: str | None
    uri: str
    items: int
    changed: int
    bytes: int


def preview(ledger: Ledger, selection: Selection) -> ArchivePreview:
    """Count what `archive` would move.

    Raises:
        BadInput: Nothing says what is meant.
    """
    _check_meant(selection)
    return ledger.archives.preview(selection)


def archive(
    ledger: Ledger,
    selection: Selection,
    to: str,
    *,
    store_options: Mapping[str, Any] | None = None,
    say: Say = lambda _: None,
) -> Archived:
    """Move the rows of finished items into files, or go on with that where it broke off.

    Args:
        ledger: Open.
        selection: Which items.
        to: Where the files go: `s3://bucket/prefix` or a folder. Each archive has a folder of its own there.
        store_options: Fields of `S3Options` for a place in S3.
        say: Told what is being done.

    Raises:
        BadInput: Nothing says what is meant; another archive is not finished; the place cannot be used.
        Unavailable: Store or ledger do not answer. The same command goes on.
    """
    _check_meant(selection)
    store = open_place(to, store_options or {})
    ledger.release_dead_workers()
    meant = _meant(selection)
    begun = _begun(ledger, store, meant)
    store.preflight()
    with tempfile.TemporaryDirectory(prefix="imagen-archive-") as name:
        folder = Path(name)
        if begun is None:
            begun = _write(ledger, store, selection, meant, folder, say)
        if begun is None:
            return Archived(None, store.destination, 0, 0, 0)
        items, changed = _move(ledger, store, begun, folder, say)
    return Archived(begun.id, store.uri(begun.id), items, changed, sum(one["bytes"] for one in begun.files.values()))


def _check_meant(selection: Selection) -> None:
    if selection.everything:
        raise BadInput("say what to archive: --edition, --older-than, --run or --tag")


def _meant(selection: Selection) -> dict[str, Any]:
    before = selection.before.isoformat() if selection.before is not None else None
    meant = {"run": selection.run_id, "edition": selection.edition, "tags": dict(selection.tags), "older_than": before}
    return {name: value for name, value in meant.items() if value not in (None, {})}


def _begun(ledger: Ledger, store: ObjectStore, meant: Mapping[str, Any]) -> Archive | None:
    """The archive to go on with. One whose files are not complete is given up.

    Raises:
        BadInput: It is another one, or a live process works on it.
    """
    begun = ledger.archives.unfinished()
    if begun is None:
        return None
    if begun.state is ArchiveState.RESTORING:
        raise BadInput(f"archive {begun.id} is being put back: finish that first, with --restore {begun.id} --yes")
    # An age is another moment each time.
    names = {name for name in (*begun.selection, *meant) if name != "older_than"}
    same = all(begun.selection.get(name) == meant.get(name) for name in names)
    if begun.destination != store.uri(begun.id) or not same:
        place = begun.destination.removesuffix(f"/{begun.id}")
        what = ", ".join(f"{name} {value}" for name, value in begun.selection.items())
        raise BadInput(f"archive {begun.id} ({what}, --to {place}) is not finished: first give its command once more")
    if not ledger.archives.take_over(begun):
        raise BadInput(f"another process works on archive {begun.id}")
    if begun.state is ArchiveState.WRITTEN:
        return begun
    store.delete([*(key_of(begun.id, table) for table in TABLES), f"{begun.id}/{MANIFEST}"])
    ledger.archives.abandon(begun.id)
    return None


def _write(
    ledger: Ledger, store: ObjectStore, selection: Selection, meant: Mapping[str, Any], folder: Path, say: Say
) -> Archive | None:
    """Write, store and verify all files. None if there is nothing to move."""
    now = datetime.now(UTC)
    archive_id = f"archive-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    ledger.archives.begin(archive_id, store.uri(archive_id), meant)
    say("writing rows into files")
    sums: Counter[str] = Counter()
    run_ids: set[str] = set()
    with Files(folder) as files:
        for page in ledger.archives.pages(archive_id, selection):
            for table, rows in page.rows.items():
                files.add(table, rows)
            for call in page.rows["calls"]:
                run_ids.add(call["run_id"])
                sums[call["provider"] or "not known"] += call["settled"] or 0
        for rows in ledger.archives.run_rows(archive_id):
            files.add(RUN_ITEMS, rows)
            run_ids.update(row["run_id"] for row in rows)
        for rows in ledger.archives.history_rows(archive_id):
            files.add(HISTORY, rows)
        files.add(RUNS, ledger.archives.run_records(run_ids))
    if not files.rows["items"]:
        ledger.archives.abandon(archive_id)
        return None
    say("storing the files")
    stored = store_files(store, archive_id, folder, files.rows)
    written = Archive(archive_id, store.uri(archive_id), ArchiveState.WRITTEN, meant, stored, now)
    say("reading them back")
    for table in TABLES:
        fetch(store, written, table, folder).unlink()
    facts = {
        "archive": archive_id,
        "ledger": ledger.id,
        "schema": SCHEMA_VERSION,
        "created_at": now,
        "selection": meant,
        "credits": sums.total(),
        "credits_by_provider": dict(sums),
        "files": stored,
    }
    write_manifest(store, archive_id, facts)
    ledger.archives.written(archive_id, stored)
    return written


def _move(ledger: Ledger, store: ObjectStore, begun: Archive, folder: Path, say: Say) -> tuple[int, int]:
    """Delete what the files have."""
    say("moving rows out")
    items = changed = 0
    while (some := ledger.archives.move_items(begun.id)) is not None:
        items += some[0]
        changed += some[1]
    for table, move in ((RUN_ITEMS, ledger.archives.move_run_rows), (HISTORY, ledger.archives.move_history)):
        for rows in read_pages(fetch(store, begun, table, folder)):
            move(begun.id, rows)
    ledger.archives.moved(begun.id)
    return items, changed
