"""What archives hold, added up: the sums that stay in the ledger for rows that left it.

Whatever adds up money or counts images adds these to the rows that are there.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .conditions import rows_among
from .item_rows import Rows
from .schema import (
    archive_parts,
    archived_calls,
    archived_rows,
    calls,
    deliveries,
    images,
    insert_new,
    insert_or_add,
    items,
    run_items,
)
from .states import ImageState

_QUARTER = timedelta(minutes=15)


@dataclass(slots=True)
class Facts:
    """What the sums need to know of the rows of an item."""

    state: str = ""
    stored: int = 0
    quarantined: int = 0
    damaged: int = 0
    images: set[tuple[str, int]] = field(default_factory=set)  # stored ones
    places: dict[str, set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))

    @property
    def destinations(self) -> list[str]:
        """Where all stored images are."""
        return sorted(place for place, there in self.places.items() if self.images <= there)

    @property
    def part(self) -> tuple[str, int, int, int]:
        """Items that are alike in this are counted together."""
        return json.dumps(self.destinations), self.stored, self.quarantined, self.damaged


def parts_of(
    connection: Connection, archive_id: str, item_ids: Iterable[str], *, lock: bool = False
) -> dict[str, sa.Row[Any]]:
    """Those of some items whose rows are moved into an archive: how each stood."""
    query = sa.select(items.c.id, items.c.state, archive_parts).join(
        archive_parts, archive_parts.c.number == items.c.archive_part
    )
    query = query.where(archive_parts.c.archive_id == archive_id)
    query = query.with_for_update(of=items) if lock else query
    return {row.id: row for row in rows_among(connection, query, items.c.id, set(item_ids))}


def facts_of(read: Mapping[sa.Table, Rows]) -> dict[str, Facts]:
    """The facts of items, from all their rows."""
    facts = {row["id"]: Facts(row["state"]) for row in read[items]}
    for row in read[images]:
        one = facts[row["item_id"]]
        one.quarantined += row["state"] == ImageState.QUARANTINED
        if row["state"] == ImageState.STORED:
            one.images.add((row["call_id"], row["idx"]))
            one.stored += 1
            one.damaged += row["damage"] is not None
    for row in read[deliveries]:
        facts[row["item_id"]].places[row["destination"]].add((row["call_id"], row["idx"]))
    return facts


def make_parts(
    connection: Connection, archive_id: str, wanted: set[tuple[str, int, int, int]]
) -> dict[tuple[str, int, int, int], int]:
    """The numbers of parts of an archive. Those that are wanted and not there are made, without items."""
    names = ("destinations", "stored", "quarantined", "damaged")
    rows = [
        {"archive_id": archive_id, "items": 0, **dict(zip(names, (json.loads(one[0]), *one[1:]), strict=True))}
        for one in wanted
    ]
    connection.execute(insert_new(connection, archive_parts), rows)
    there = connection.execute(sa.select(archive_parts).where(archive_parts.c.archive_id == archive_id))
    return {(json.dumps(r.destinations), r.stored, r.quarantined, r.damaged): r.number for r in there}


def count_items(connection: Connection, number: int, more: int) -> None:
    """Add items to a part, or take them out."""
    this = sa.update(archive_parts).where(archive_parts.c.number == number)
    connection.execute(this.values({archive_parts.c["items"]: archive_parts.c["items"] + more}))


def add_calls(
    connection: Connection, archive_id: str, read: Mapping[sa.Table, Rows], facts: Mapping[str, Facts], sign: int
) -> None:
    """Add calls to the sums, or take them out."""
    stored = Counter(call_id for one in facts.values() for call_id, _ in one.images)
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in read[calls]:
        begun = row["sent_at"]
        quarter = begun - (begun - datetime(1970, 1, 1, tzinfo=UTC)) % _QUARTER
        account = (row["provider"] or "", row["origin"] or "", row["key_fingerprint"] or "")
        key = (row["run_id"], *account, row["outcome"], bool(row["billed"]), facts[row["item_id"]].state, quarter)
        for place, value in enumerate((1, row["settled"] or 0, stored[row["id"]])):
            sums[key][place] += sign * value
    names = [column.name for column in archived_calls.c]
    rows = [dict(zip(names, (archive_id, *key, *values), strict=True)) for key, values in sorted(sums.items())]
    if rows:
        connection.execute(insert_or_add(connection, archived_calls), rows)


def add_run_rows(
    connection: Connection,
    archive_id: str,
    run_id: str,
    rows: Sequence[tuple[str, bool]],
    parts: Mapping[str, sa.Row[Any]],
    sign: int,
) -> None:
    """Add rows of a run that are not in the ledger to the sums, or take them out before they are put back.

    An item counts with the row that leaves last, and comes back first: in between it counts in the ledger.
    """
    owned = dict(rows)
    query = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id).distinct()
    left = {row.item_id for row in rows_among(connection, query, run_items.c.item_id, owned)}
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for item_id, _ in rows:
        sums[parts[item_id].state]["rows"] += sign
    for item_id in owned.keys() - left:
        part, line = parts[item_id], sums[parts[item_id].state]
        line.update({"items": sign, "owned": sign * owned[item_id], "images": sign * part.stored})
        line.update({"quarantined": sign * part.quarantined, "damaged": sign * part.damaged})
    names = [column.name for column in archived_rows.c if not column.primary_key]
    values: Rows = [
        {"archive_id": archive_id, "run_id": run_id, "item_state": state, **{name: line[name] for name in names}}
        for state, line in sums.items()
    ]
    if values:
        connection.execute(insert_or_add(connection, archived_rows), values)
