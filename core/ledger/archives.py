"""Moving rows of finished items out of the ledger, and back, so that nothing is lost, forgotten or counted twice.

An item whose rows are moved keeps its own row, without prompt and parameters: its id and state are what a plan, a claim
and a call look at, so it stays owned. What its calls cost is added to sums, in the transaction that deletes them, and
whatever adds up money adds these.

    writing    rows are read into files; a hash of the rows of each item is kept as work to do
    written    the files are stored and verified: items are moved, a few in a transaction, each only if its rows still
               have that hash; then the rows of the runs that asked for them, and their history
    moved

Each step can be interrupted anywhere and begun again. Putting rows back goes the other way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .archivable import REASONS, selected, wanted_now, why_stays
from .conditions import rows_among
from .database import Part
from .item_rows import (
    BY_ITEM,
    NAMES,
    PLAIN,
    ItemPage,
    Rows,
    delete_rows,
    digests,
    insert_rows,
    of_items,
    read_rows,
)
from .rollups import add_calls, add_run_rows, count_items, facts_of, make_parts, parts_of
from .schema import (
    archive_parts,
    archive_work,
    archived_calls,
    archived_rows,
    archives,
    calls,
    fields,
    history,
    images,
    insert_new,
    items,
    run_items,
    runs,
    workers,
)
from .selection import Selection
from .states import FINISHED, ArchiveState, ImageState
from .workers import dead_workers

PAGE = 500
"""Items, or rows, that are read or moved at once."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Rows that were moved out, or are about to be."""

    id: str
    destination: str  # URI of the place of its files
    state: ArchiveState
    selection: Mapping[str, Any]  # which items were meant, as it is shown
    files: Mapping[str, Mapping[str, Any]]  # by table: `rows`, `bytes` and `sha256`; empty until all are stored
    created_at: datetime
    items: int = 0  # items whose rows are moved now


@dataclass(frozen=True, slots=True)
class ArchivePreview:
    """What moving rows out would do."""

    items: int  # items whose rows would be moved
    images: int  # stored images of theirs
    calls: int
    credits: int  # what they cost: this stays in every sum
    stay: Mapping[str, int]  # items that would stay, by the reason
    archived: int  # selected items that were moved before


class Archives(Part):
    """Moves rows of finished items out of a ledger, and back."""

    # --- looking ------------------------------------------------------------------------------------------------------

    def all(self) -> list[Archive]:
        """All archives, the latest first."""
        count = sa.select(sa.func.coalesce(sa.func.sum(archive_parts.c["items"]), 0))
        mine = count.where(archive_parts.c.archive_id == archives.c.id).scalar_subquery().label("moved")
        return [_archive(row) for row in self._rows(sa.select(archives, mine).order_by(_LATEST))]

    def unfinished(self) -> Archive | None:
        """The archive that a process began and did not finish."""
        over = (ArchiveState.MOVED, ArchiveState.RESTORED)
        rows = self._rows(sa.select(archives).where(archives.c.state.not_in(over)).order_by(_LATEST).limit(1))
        return _archive(rows[0]) if rows else None

    def find(self, name: str) -> Archive | None:
        """An archive by its id."""
        rows = self._rows(sa.select(archives).where(archives.c.id == name))
        return _archive(rows[0]) if rows else None

    def preview(self, selection: Selection) -> ArchivePreview:
        """Count what would be moved and what would stay."""
        with self._database.read() as connection:
            why = why_stays(connection)
            mine = selected(connection, selection)
            counts = sa.select(why.label("why"), sa.func.count()).where(mine).group_by(sa.text("why"))
            counted = dict(connection.execute(counts).all())
            free = sa.select(items.c.id).where(mine, why.is_(None))
            of_calls = sa.select(sa.func.count(), sa.func.sum(calls.c.settled)).where(calls.c.item_id.in_(free))
            number, credits_ = connection.execute(of_calls).one()
            stored = (images.c.item_id.in_(free), images.c.state == ImageState.STORED)
            return ArchivePreview(
                items=counted.pop(None, 0),
                images=connection.scalar(sa.select(sa.func.count()).select_from(images).where(*stored)) or 0,
                calls=number,
                credits=int(credits_ or 0),
                archived=counted.pop("archived", 0),
                stay={reason: counted[reason] for reason in REASONS if reason in counted},
            )

    def places(self, item_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Those of some items whose rows are moved out, each with the destinations where all its images are."""
        query = sa.select(items.c.id, archive_parts.c.destinations)
        query = query.join(archive_parts, archive_parts.c.number == items.c.archive_part)
        return {row.id: tuple(row.destinations) for row in self._rows_among(query, items.c.id, item_ids)}

    @property
    def exist(self) -> bool:
        """Whether rows of any item are moved out."""
        return self._scalar(sa.select(archive_parts.c.number).limit(1)) is not None

    def holding(self, item_id: str) -> Archive | None:
        """The archive that the rows of an item were moved to; None if they are here."""
        query = sa.select(archives).join(archive_parts, archive_parts.c.archive_id == archives.c.id)
        rows = self._rows(
            query.join(items, items.c.archive_part == archive_parts.c.number).where(items.c.id == item_id)
        )
        return _archive(rows[0]) if rows else None

    def elsewhere(self, run_id: str, destination: str | None) -> dict[str, int]:
        """Items that a run wants at a destination and whose rows are moved out, by archive, if they are not there."""
        if destination is None or not self.exist:
            return {}
        wanted = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)
        query = (
            sa.select(archives.c.id, archive_parts.c.destinations, archive_parts.c.stored, sa.func.count())
            .select_from(items)
            .join(archive_parts, archive_parts.c.number == items.c.archive_part)
            .join(archives, archives.c.id == archive_parts.c.archive_id)
            .where(items.c.id.in_(wanted))
            .group_by(archives.c.id, archive_parts.c.number, archive_parts.c.destinations, archive_parts.c.stored)
        )
        found: Counter[str] = Counter()
        for archive_id, places, stored, count in self._rows(query):
            found[archive_id] += count if stored and destination not in places else 0
        return dict(+found)

    def of_runs(self, run_ids: Sequence[str]) -> int:
        """Items that runs asked for, and whose rows are moved out."""
        query = sa.select(archived_rows.c["items"].label("moved"))
        return sum(row.moved for row in self._rows_among(query, archived_rows.c.run_id, run_ids))

    # --- writing ------------------------------------------------------------------------------------------------------

    def begin(self, archive_id: str, destination: str, selection: Mapping[str, Any]) -> None:
        """Record that rows of an archive are being written into files."""
        now = datetime.now(UTC)
        row: dict[str, Any] = {
            "id": archive_id,
            "destination": destination,
            "holder_id": self._database.worker.id,
            "files": None,
        }
        row |= {"selection": dict(selection), "state": ArchiveState.WRITING, "created_at": now, "changed_at": now}
        self._database.write(lambda connection: connection.execute(insert_new(connection, archives), [row]))

    def take_over(self, archive: Archive) -> bool:
        """Go on with what another process began. False if that process is alive."""
        me = self._database.worker

        def operation(connection: Connection) -> bool:
            held = sa.select(archives.c.holder_id).where(archives.c.id == archive.id).with_for_update()
            holder = str(connection.scalar(held))
            if holder != me.id and holder not in dead_workers(connection, me, {holder}):
                ended = sa.select(workers.c.ended_at).where(workers.c.id == holder)
                if connection.scalar(ended) is None:
                    return False
            connection.execute(sa.update(archives).where(archives.c.id == archive.id).values(holder_id=me.id))
            return True

        return self._database.write(operation)

    def abandon(self, archive_id: str) -> None:
        """Forget an archive whose files are not complete. The ledger has all its rows."""
        some = sa.select(archive_work.c.item_id).where(archive_work.c.archive_id == archive_id).limit(PAGE)
        while self._database.write(
            lambda connection: (
                connection.execute(
                    sa.delete(archive_work).where(archive_work.c.item_id.in_(some.scalar_subquery()))
                ).rowcount
            )
        ):
            pass
        self._execute(sa.delete(archives).where(archives.c.id == archive_id, archives.c.state == ArchiveState.WRITING))

    def pages(self, archive_id: str, selection: Selection) -> Iterator[ItemPage]:
        """The rows of all selected items that can be moved, some items at a time. Each page is noted as work."""
        with self._database.read() as connection:
            wanted = sa.select(items.c.id).where(selected(connection, selection), why_stays(connection).is_(None))
            # Not in an order: whatever index there is, a page after the other would search and sort all of them anew.
            streaming = connection.execution_options(stream_results=True, yield_per=PAGE)
            with streaming.execute(wanted) as found:
                for some in found.scalars().partitions(PAGE):
                    yield self._page(archive_id, some)

    def _page(self, archive_id: str, item_ids: Sequence[str]) -> ItemPage:
        with self._database.read() as connection:
            free = (items.c.id.in_(item_ids), why_stays(connection).is_(None))
            read = read_rows(
                connection, list(connection.scalars(sa.select(items.c.id).where(*free).order_by(items.c.id)))
            )
        work = [{"item_id": name, "archive_id": archive_id, "digest": one} for name, one in digests(read).items()]

        def operation(connection: Connection) -> set[str]:
            if work:
                connection.execute(insert_new(connection, archive_work), work)
            return _work_of(connection, archive_id, [row["item_id"] for row in work])

        mine = self._database.write(operation)
        return ItemPage({NAMES[table]: of_items(mine, table, rows) for table, rows in read.items()})

    def run_rows(self, archive_id: str) -> Iterator[Rows]:
        """The rows by which runs asked for items of an archive, in order."""
        table = PLAIN[run_items]
        for run_id in self._scalars(sa.select(runs.c.id).order_by(runs.c.id)):
            query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.position).limit(PAGE)
            last = -1
            while found := self._rows(query.where(table.c.position > last)):
                last = found[-1].position
                yield self._work_among(archive_id, [dict(row._mapping) for row in found])

    def history_rows(self, archive_id: str) -> Iterator[Rows]:
        """The history of items of an archive and of their calls, in order."""
        table = PLAIN[history]
        query = sa.select(table).order_by(table.c.number).limit(PAGE)
        of_calls = sa.select(calls.c.id, calls.c.item_id)
        last = 0
        while found := self._rows(query.where(table.c.number > last)):
            last = found[-1].number
            known = {row.id: row.item_id for row in self._rows_among(of_calls, calls.c.id, {r.subject for r in found})}
            rows = [{"item_id": known.get(row.subject, row.subject), **row._mapping} for row in found]
            yield self._work_among(archive_id, rows)

    def _work_among(self, archive_id: str, rows: Rows) -> Rows:
        names = [row["item_id"] for row in rows]
        mine = self._database.ask(lambda connection: _work_of(connection, archive_id, names))
        return [row for row in rows if row["item_id"] in mine]

    def run_records(self, run_ids: Iterable[str]) -> Rows:
        """The rows of runs themselves, which stay in the ledger."""
        table = PLAIN[runs]
        return [dict(row._mapping) for row in self._rows_among(sa.select(table), table.c.id, sorted(run_ids))]

    # --- moving -------------------------------------------------------------------------------------------------------

    def written(self, archive_id: str, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Record that all files are stored and verified."""
        self._set(archive_id, state=ArchiveState.WRITTEN, files=dict(files))

    def moved(self, archive_id: str) -> None:
        """Record that all rows are moved."""
        self._set(archive_id, state=ArchiveState.MOVED)

    def _set(self, archive_id: str, **values: Any) -> None:
        this = sa.update(archives).where(archives.c.id == archive_id)
        self._execute(this.values(changed_at=datetime.now(UTC), **values))

    def move_items(self, archive_id: str) -> tuple[int, int] | None:
        """Move some items whose rows are in verified files.

        Returns:
            How many were moved, and how many stay since their rows were changed meanwhile; None if none are left.

        Raises:
            LedgerUnavailable: Rows were added in that moment; nothing was changed.
        """

        def operation(connection: Connection) -> tuple[int, int] | None:
            query = sa.select(archive_work.c.item_id, archive_work.c.digest).where(
                archive_work.c.archive_id == archive_id
            )
            wanted = dict(connection.execute(query.order_by(archive_work.c.item_id).limit(PAGE)).all())
            if not wanted:
                return None
            free = (items.c.holder_id.is_(None), items.c.archive_part.is_(None), items.c.state.in_(FINISHED))
            lock = sa.select(items.c.id).where(items.c.id.in_(wanted), *free).order_by(items.c.id).with_for_update()
            read = read_rows(connection, list(connection.scalars(lock)), lock=True)
            mine = {name for name, digest in digests(read).items() if digest == wanted[name]}
            mine -= wanted_now(connection, mine)
            _move(connection, archive_id, {table: of_items(mine, table, rows) for table, rows in read.items()})
            connection.execute(sa.delete(archive_work).where(archive_work.c.item_id.in_(wanted)))
            return len(mine), len(wanted) - len(mine)

        return self._database.write(operation)

    def move_run_rows(self, archive_id: str, rows: Rows) -> None:
        """Delete rows that are in a verified file, of the items that were moved, and add them to the sums."""

        def operation(connection: Connection) -> None:
            parts = parts_of(connection, archive_id, {row["item_id"] for row in rows})
            for run_id, positions in _by_run(rows, parts).items():
                here = (run_items.c.run_id == run_id, run_items.c.position.in_(positions))
                query = sa.select(run_items.c.position, run_items.c.item_id, run_items.c.owned).where(*here)
                there = [row for row in connection.execute(query) if positions[row.position] == row.item_id]
                gone = [row.position for row in there]
                deleted = sa.delete(run_items).where(run_items.c.run_id == run_id, run_items.c.position.in_(gone))
                connection.execute(deleted)
                add_run_rows(connection, archive_id, run_id, [(row.item_id, row.owned) for row in there], parts, 1)

        self._database.write(operation)

    def move_history(self, archive_id: str, rows: Rows) -> None:
        """Delete history that is in a verified file, of the items that were moved. The newest row of all stays.

        Otherwise SQLite would give its number away again, and the row could not be put back.
        """

        def operation(connection: Connection) -> None:
            parts = parts_of(connection, archive_id, {row["item_id"] for row in rows})
            numbers = [row["number"] for row in rows if row["item_id"] in parts]
            newest = sa.select(sa.func.max(history.c.number)).scalar_subquery()
            connection.execute(sa.delete(history).where(history.c.number.in_(numbers), history.c.number < newest))

        self._database.write(operation)

    # --- putting back -------------------------------------------------------------------------------------------------

    def restoring(self, archive_id: str) -> None:
        """Record that rows are being put back."""
        self._set(archive_id, state=ArchiveState.RESTORING)

    def restored(self, archive_id: str) -> None:
        """Record that all rows are back; the sums are those of the rows again."""

        def operation(connection: Connection) -> None:
            for table in (archived_rows, archived_calls, archive_parts):
                connection.execute(sa.delete(table).where(table.c.archive_id == archive_id))
            done = {"state": ArchiveState.RESTORED, "changed_at": datetime.now(UTC)}
            connection.execute(sa.update(archives).where(archives.c.id == archive_id).values(done))

        self._database.write(operation)

    def restore_run_rows(self, archive_id: str, rows: Rows) -> None:
        """Put back rows by which runs asked for items. Rows that are there stay as they are."""

        def operation(connection: Connection) -> None:
            parts = parts_of(connection, archive_id, {row["item_id"] for row in rows})
            for run_id, positions in _by_run(rows, parts).items():
                here = (run_items.c.run_id == run_id, run_items.c.position.in_(positions))
                taken = set(connection.scalars(sa.select(run_items.c.position).where(*here)))
                back = [row for row in rows if row["run_id"] == run_id and row["position"] in positions.keys() - taken]
                add_run_rows(connection, archive_id, run_id, [(r["item_id"], r["owned"]) for r in back], parts, -1)
                insert_rows(connection, run_items, back)

        self._database.write(operation)

    def restore_items(self, archive_id: str, page: ItemPage) -> int:
        """Put back all rows of some items, and take them out of the sums. Returns the number of items."""

        def operation(connection: Connection) -> int:
            parts = parts_of(connection, archive_id, [row["id"] for row in page.rows[NAMES[items]]], lock=True)
            for number, count in Counter(part.number for part in parts.values()).items():
                count_items(connection, number, -count)
            mine = set(parts)
            read = {table: of_items(mine, table, page.rows[NAMES[table]]) for table in BY_ITEM}
            _put_back(connection, archive_id, read)
            return len(mine)

        return self._database.write(operation)

    def restore_history(self, rows: Rows) -> None:
        """Put back history."""
        self._database.write(lambda connection: insert_rows(connection, history, rows))


_LATEST = archives.c.created_at.desc()


def _archive(row: sa.Row[Any]) -> Archive:
    return Archive(
        **fields(row, "id", "destination", "selection", "created_at"),
        state=ArchiveState(row.state),
        files=row.files or {},
        items=int(getattr(row, "moved", 0)),
    )


def _work_of(connection: Connection, archive_id: str, item_ids: Iterable[str]) -> set[str]:
    query = sa.select(archive_work.c.item_id).where(archive_work.c.archive_id == archive_id)
    return {row.item_id for row in rows_among(connection, query, archive_work.c.item_id, set(item_ids))}


def _move(connection: Connection, archive_id: str, read: Mapping[sa.Table, Rows]) -> None:
    """Delete all rows of items that are locked, and add them to the sums."""
    if not read[items]:
        return
    facts = facts_of(read)
    parts = make_parts(connection, archive_id, {one.part for one in facts.values()})
    delete_rows(connection, read)
    by_part: dict[int, list[str]] = defaultdict(list)
    for name, one in facts.items():
        by_part[parts[one.part]].append(name)
    for number, mine in by_part.items():
        # State, edition, rewrite and inputs stay: other parts of the ledger look at them.
        slim: dict[str, Any] = {"prompt": "", "parameters": {}, "reason": None, "archive_part": number}
        connection.execute(sa.update(items).where(items.c.id.in_(mine)).values(slim))
        count_items(connection, number, len(mine))
    add_calls(connection, archive_id, read, facts, 1)


def _by_run(rows: Rows, parts: Mapping[str, Any]) -> dict[str, dict[int, str]]:
    """Items of rows by run and position, without those that were not moved."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        if row["item_id"] in parts:
            found[row["run_id"]][row["position"]] = row["item_id"]
    return found


def _put_back(connection: Connection, archive_id: str, read: Mapping[sa.Table, Rows]) -> None:
    facts = facts_of(read)
    newest = connection.scalar(sa.select(sa.func.max(history.c.number))) or 0
    for table, rows in read.items():
        if table is not items:
            insert_rows(connection, table, rows)
    # The trigger takes a call that is put back for one that was just sent.
    for some in batched([row["id"] for row in read[calls]]):
        connection.execute(sa.delete(history).where(history.c.number > newest, history.c.subject.in_(some)))
    plain = PLAIN[items]
    texts = ("prompt", "parameters", "reason")
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in texts}
    back = sa.update(plain).where(plain.c.id == sa.bindparam("this")).values({**values, "archive_part": None})
    if read[items]:
        told = [{"this": row["id"], **{f"new_{name}": row[name] for name in texts}} for row in read[items]]
        connection.execute(back, told)
    add_calls(connection, archive_id, read, facts, -1)
