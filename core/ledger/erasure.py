"""Erasing items: what identifies them is removed, what was paid is kept.

An erased item keeps its id, so that it is not bought again by mistake, its model, edition and times. Its calls keep
their amounts, outcomes and request ids. Removed are its prompt and parameters, the rows that asked for it, its links,
keys and hashes, and what the provider wrote about it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .conditions import SAME_IMAGE, rows_among
from .database import Part
from .identity import ItemKind
from .schema import (
    archive_parts,
    archived_rows,
    calls,
    checks,
    deliveries,
    handovers,
    images,
    items,
    reviews,
    revisions,
    rewrites,
    run_items,
    runs,
    verdicts,
)
from .selection import Selection
from .states import CallOutcome, ImageState, ItemState

ERASED_REASON = "erased on request"
_AT_WORK = (ItemState.CLAIMED, ItemState.SENT)

# Objects of items: where images are stored, and where they were handed over to.
_OBJECTS = sa.union_all(
    sa.select(images.c.item_id, deliveries.c.destination, deliveries.c.key, images.c.sha256).join(images, SAME_IMAGE),
    sa.select(images.c.item_id, handovers.c.target.label("destination"), handovers.c.key, images.c.sha256).join(
        images, sa.and_(images.c.call_id == handovers.c.call_id, images.c.idx == handovers.c.idx)
    ),
)


@dataclass(frozen=True, slots=True)
class ErasurePreview:
    """What erasing would do."""

    items: int  # items that would be erased
    images: int  # stored images of theirs
    objects: dict[str, int]  # objects, copies included, by destination
    bytes: int  # of the stored images
    credits: int  # what they cost; this is kept
    unknown: int  # their calls with an unknown outcome, which stay reserved
    held: int  # selected items that a worker holds: not erased
    shared: int  # selected items that other runs ask for, too: not erased unless they are included
    archived: int  # selected items whose rows are in an archive: not erased


@dataclass(frozen=True, slots=True)
class ErasableObject:
    """An object of an item. `needed` if an item that stays has the same object (equal content under one key)."""

    item_id: str
    destination: str
    key: str
    needed: bool


class Erasure(Part):
    """Erases items of a ledger. Selected items that other runs ask for, too, are left out unless they are `shared`."""

    def preview(self, selection: Selection, *, shared: bool) -> ErasurePreview:
        """Count what erasing would do."""
        with self._database.read() as connection:
            mine = _erasable(connection, selection, shared=shared)

            def count(query: sa.Select[Any]) -> int:
                return int(connection.scalar(query) or 0)

            def number(query: sa.Select[Any]) -> int:
                return count(sa.select(sa.func.count()).select_from(query.subquery()))

            stored = sa.and_(images.c.item_id.in_(mine), images.c.state == ImageState.STORED)
            objects = _OBJECTS.subquery()
            places = connection.execute(
                sa.select(objects.c.destination, sa.func.count().label("number"))
                .where(objects.c.item_id.in_(mine))
                .group_by(objects.c.destination)
            )
            at_work = sa.or_(items.c.holder_id.is_not(None), items.c.state.in_(_AT_WORK))
            meant = _meant(connection, selection)
            others = _asked_for_by_others(connection, selection)
            mine_unknown = sa.and_(calls.c.item_id.in_(mine), calls.c.outcome == CallOutcome.UNKNOWN)
            return ErasurePreview(
                items=number(mine),
                images=number(sa.select(images.c.idx).where(stored)),
                objects={row.destination: row.number for row in places},
                bytes=count(sa.select(sa.func.sum(images.c.bytes)).where(stored)),
                credits=count(sa.select(sa.func.sum(calls.c.settled)).where(calls.c.item_id.in_(mine))),
                unknown=number(sa.select(calls.c.id).where(mine_unknown)),
                held=number(meant.where(at_work)),
                shared=number(meant.where(~at_work, others)) if others is not None and not shared else 0,
                archived=_archived(connection, selection),
            )

    def erasable(self, selection: Selection, *, shared: bool) -> list[str]:
        """Ids of the items that can be erased now."""
        with self._database.read() as connection:
            return list(connection.scalars(_erasable(connection, selection, shared=shared)))

    def lock(self, item_ids: Sequence[str]) -> list[str]:
        """Hold items so that no run delivers or copies them meanwhile. Returns those that nobody else holds."""
        free = (items.c.holder_id.is_(None), items.c.state.not_in((*_AT_WORK, ItemState.ERASED)))
        hold = sa.update(items).where(*free).values(holder_id=self._database.worker.id).returning(items.c.id)

        def operation(connection: Connection) -> list[str]:
            parts = (hold.where(items.c.id.in_(batch)) for batch in batched(item_ids))
            return [item_id for part in parts for item_id in connection.scalars(part)]

        return self._database.write(operation)

    def objects_of(self, item_ids: Sequence[str]) -> list[ErasableObject]:
        """Where the images of items are stored."""
        there, others = _OBJECTS.subquery(), _OBJECTS.subquery()
        found: list[ErasableObject] = []
        with self._database.read() as connection:
            has_archives = connection.scalar(sa.select(archive_parts.c.number).limit(1)) is not None
            for batch in batched(item_ids):
                needed = sa.exists().where(
                    others.c.destination == there.c.destination,
                    others.c.key == there.c.key,
                    others.c.item_id.not_in(batch),
                )
                query = sa.select(there.c.item_id, there.c.destination, there.c.key, needed, there.c.sha256)
                query = query.where(there.c.item_id.in_(batch))
                for item_id, destination, key, is_needed, sha256 in connection.execute(query):
                    # A key made of the content may be that of an archived item, too: that is not known here any more.
                    shared = has_archives and sha256 is not None and sha256 in key
                    found.append(ErasableObject(item_id, destination, key, bool(is_needed) or shared))
        return found

    def hashes_of(self, item_ids: Sequence[str]) -> set[str]:
        """Hashes of the images of items."""
        with self._database.read() as connection:
            query = sa.select(images.c.sha256).where(images.c.sha256.is_not(None))
            return {row.sha256 for row in rows_among(connection, query, images.c.item_id, item_ids)}

    def inputs_of(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        """Hashes of the pictures that went into items and into no others that stay, each with its items."""
        found: dict[str, list[str]] = {}
        with self._database.read() as connection:
            query = sa.select(items.c.id, items.c.inputs).where(items.c.inputs.is_not(None))
            for row in rows_among(connection, query, items.c.id, item_ids):
                for one in row.inputs:
                    found.setdefault(one["sha256"], []).append(row.id)
            if found:
                mine = set(item_ids)
                for item_id, inputs in connection.execute(query.execution_options(yield_per=2000)):
                    if item_id not in mine:
                        for one in inputs:
                            found.pop(one["sha256"], None)
        return found

    def flow_runs_of(self, item_ids: Sequence[str]) -> set[str]:
        """Prefect's ids of the flow runs that asked for items or bought them: their artifacts show prompts."""
        found: set[str] = set()
        with self._database.read() as connection:
            for batch in batched(item_ids):
                asked = sa.select(run_items.c.run_id).where(run_items.c.item_id.in_(batch))
                bought = sa.select(calls.c.run_id).where(calls.c.item_id.in_(batch))
                query = sa.select(runs.c.flow_run_id).where(sa.or_(runs.c.id.in_(asked), runs.c.id.in_(bought)))
                found.update(value for value in connection.scalars(query) if value is not None)
        return found

    def redact(self, item_ids: Sequence[str]) -> list[str]:
        """Remove what identifies items that this process holds and whose objects are deleted.

        Returns:
            Ids of their calls, whose replies may still be in a spool.
        """
        worker_id = self._database.worker.id

        def operation(connection: Connection) -> list[str]:
            return [call_id for batch in batched(item_ids) for call_id in _redact_batch(connection, batch, worker_id)]

        return self._database.write(operation)

    def scrub(self) -> bool | None:
        """Rewrite an SQLite file, so that nothing that was redacted is left in its free space.

        Returns:
            True if it is done, False if others use the file; None for a database server, which does so by itself.
        """
        engine = self._database.engine
        if engine.dialect.name != "sqlite":
            return None
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("VACUUM")
            # Earlier contents are also in the write-ahead log until it is truncated.
            (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
        finally:
            raw.close()
        return not busy


def _erasable(connection: Connection, selection: Selection, *, shared: bool) -> sa.Select[tuple[str]]:
    """Query for the ids of the items that can be erased now."""
    query = _meant(connection, selection).where(items.c.holder_id.is_(None), items.c.state.not_in(_AT_WORK))
    others = _asked_for_by_others(connection, selection)
    return query if shared or others is None else query.where(~others)


def _meant(connection: Connection, selection: Selection) -> sa.Select[tuple[str]]:
    here = items.c.archive_part.is_(None)
    return selection.items(connection).where(items.c.state != ItemState.ERASED, items.c.kind == ItemKind.IMAGE, here)


def _archived(connection: Connection, selection: Selection) -> int:
    """Selected items whose rows are in an archive; of runs, those that any of them asked for."""
    meant = selection.runs(connection)
    if meant is None:
        moved = selection.items(connection).where(items.c.archive_part.is_not(None), items.c.state != ItemState.ERASED)
        return connection.scalar(sa.select(sa.func.count()).select_from(moved.subquery())) or 0
    counted = sa.select(sa.func.sum(archived_rows.c["items"])).where(archived_rows.c.item_state != ItemState.ERASED)
    return sum(int(connection.scalar(counted.where(archived_rows.c.run_id.in_(some))) or 0) for some in batched(meant))


def _asked_for_by_others(connection: Connection, selection: Selection) -> sa.ColumnElement[bool] | None:
    """Condition on items that runs outside the selection ask for; None if the selection does not name runs."""
    meant = selection.runs(connection)
    if meant is None:
        return None
    others = (run_items.c.run_id.not_in(batch) for batch in batched(meant))
    return sa.exists().where(run_items.c.item_id == items.c.id, *others)


def _redact_batch(connection: Connection, batch: list[str], worker_id: str) -> list[str]:
    """Redact items that the worker holds, and rewrites that nobody uses any more. Returns their calls."""
    now = datetime.now(UTC)
    mine = sa.and_(items.c.id.in_(batch), items.c.holder_id == worker_id)
    texts = set(connection.scalars(sa.select(items.c.rewrite_id).where(mine, items.c.rewrite_id.is_not(None))))
    _redact_items(connection, mine, now)
    calls_of = sa.select(calls.c.id).where(calls.c.item_id.in_(batch))
    call_ids = list(connection.scalars(calls_of))
    connection.execute(sa.delete(deliveries).where(deliveries.c.call_id.in_(calls_of)))
    gone = ("reason", "source_url", "revised_prompt", "sha256", "destination", "key", "uri")
    erased = {"state": ImageState.ERASED, **dict.fromkeys(gone)}
    connection.execute(sa.update(images).where(images.c.item_id.in_(batch)).values(erased))
    _redact_calls(connection, calls.c.item_id.in_(batch))
    _redact_reviews(connection, batch, calls_of)
    _redact_rows(connection, batch)
    return call_ids + _redact_rewrites(connection, sorted(texts), now)


def _redact_items(connection: Connection, which: sa.ColumnElement[bool], now: datetime) -> None:
    connection.execute(
        sa.update(items)
        .where(which)
        .values(
            state=ItemState.ERASED,
            prompt="",
            parameters={},
            inputs=None,
            reason=ERASED_REASON,
            holder_id=None,
            updated_at=now,
        )
    )


def _redact_calls(connection: Connection, which: sa.ColumnElement[bool]) -> None:
    """Remove reasons, which may quote the prompt, and addresses of results. Amounts, times and request ids are kept."""
    connection.execute(sa.update(calls).where(which).values(reason=None, prompt=None, recovery=None))


def _redact_reviews(connection: Connection, batch: Sequence[str], calls_of: sa.Select[tuple[str]]) -> None:
    """Remove what people wrote about images, what was found in them, and the prompts of what was to replace them.

    Verdicts and stars are kept, as costs are.
    """
    for table in (verdicts, reviews):
        words = {"reason": None, "note": None, "sha256": None}
        connection.execute(sa.update(table).where(table.c.call_id.in_(calls_of)).values(words))
    connection.execute(sa.delete(checks).where(checks.c.call_id.in_(calls_of)))
    connection.execute(sa.delete(handovers).where(handovers.c.call_id.in_(calls_of)))
    mine = sa.or_(revisions.c.item_id.in_(batch), revisions.c.call_id.in_(calls_of))
    connection.execute(sa.update(revisions).where(mine).values(prompt="", parameters={}))


def _redact_rows(connection: Connection, batch: Sequence[str]) -> None:
    """Empty the rows that asked for items; and a run's name and parameters if all its items are erased."""
    connection.execute(sa.update(run_items).where(run_items.c.item_id.in_(batch)).values(source="", row={}, choices=[]))
    asked = sa.select(run_items.c.run_id).where(run_items.c.item_id.in_(batch))
    left = sa.exists().where(
        run_items.c.run_id == runs.c.id, items.c.id == run_items.c.item_id, items.c.state != ItemState.ERASED
    )
    moved = sa.exists().where(archived_rows.c.run_id == runs.c.id, archived_rows.c["items"] > 0)
    connection.execute(
        sa.update(runs).where(runs.c.id.in_(asked), ~left, ~moved).values(flow_run_name=None, parameters={})
    )


def _redact_rewrites(connection: Connection, rewrite_ids: Sequence[str], now: datetime) -> list[str]:
    """Redact rewrites that no item uses any more. Returns their calls."""
    image = items.alias()
    used = sa.exists().where(image.c.rewrite_id == items.c.id, image.c.state != ItemState.ERASED)
    free = sa.and_(items.c.id.in_(rewrite_ids), items.c.state.not_in(_AT_WORK), ~used)
    gone = list(connection.scalars(sa.select(items.c.id).where(free)))
    _redact_items(connection, items.c.id.in_(gone), now)
    connection.execute(sa.delete(rewrites).where(rewrites.c.item_id.in_(gone)))
    _redact_calls(connection, calls.c.item_id.in_(gone))
    return list(connection.scalars(sa.select(calls.c.id).where(calls.c.item_id.in_(gone))))
