"""Runs: who asked for which items, within which budget, and how far each run is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .claims import first_row, in_batches
from .items import Item, ItemKind, Rewrite
from .rebuilt import fill_in
from .schema import calls, images, insert_new, items, rewrites, run_items, runs
from .states import ImageState, ItemState

__all__ = [
    "RowProgress",
    "RunItem",
    "RunProgress",
    "RunSpec",
    "add_run_items",
    "finish_run",
    "progress",
    "start_run",
    "switch_run_items",
]


_NOT_TAKEN = frozenset({ItemState.PLANNED, ItemState.FAILED, ItemState.CLAIMED})
"""States of items that were not bought, and surely not billed."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run asks for.

    Attributes:
        id: Unique; a run that is started again under its id goes on.
        model: Name that resolves to model and contract.
        parameters: As given, for every item.
        models: What may be bought: plain data of `core.run.models`.
        destination: URI of the place the images go to; None where the run only generates.
        edition: Of all its items.
        tags: Free labels, for the cost by campaign.
        budget: Highest spending of this run in credits, or None.
        flow_run_id: Prefect's id of the flow run.
        flow_run_name: And its name.
        flow_run_url: And its page in Prefect's UI, where that is known.
    """

    id: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    destination: str | None = None
    edition: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    budget: int | None = None
    flow_run_id: str | None = None
    flow_run_name: str | None = None
    flow_run_url: str | None = None
    models: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class RunItem:
    """One row of a run's source, and the item it asks for.

    Attributes:
        position: Its place in the run.
        item: What is wanted.
        source: Where the prompt came from.
        line: And on which line.
        row: All of that line.
        choices: What was chosen of its variants.
        alternatives: The same from models that may stand in for the wanted one.
        buy: Which of them is bought, 0 for `item`, where none was bought before.
    """

    position: int
    item: Item
    source: str
    line: int
    row: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    alternatives: tuple[Item, ...] = ()
    buy: int = 0

    def settled(self, states: Mapping[str, ItemState]) -> Item:
        """The item that this row is: the first of its candidates that was bought or may have been, else the one to buy.

        Args:
            states: Of the candidates, as far as the ledger knows them.
        """
        candidates = (self.item, *self.alternatives)
        taken = (one for one in candidates if states.get(one.id, ItemState.PLANNED) not in _NOT_TAKEN)
        return next(taken, candidates[self.buy])


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is.

    Attributes:
        rows: Source rows (duplicates included).
        items: Distinct items, by state; every state is present.
        owned: Items that were delivered before this run.
        images: Stored images of the run's items.
        spent: Credits billed for calls of this run.
        reserved: Credits that calls in flight or unknown may still cost.
        budget: Cap in credits, or None.
        texts: Distinct texts that its prompts are to be rewritten to.
        written: Texts of these that are there.
    """

    rows: int
    items: Mapping[ItemState, int]
    owned: int
    images: int
    spent: int
    reserved: int
    budget: int | None
    texts: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        """Distinct items."""
        return sum(self.items.values())


def start_run(connection: Connection, spec: RunSpec, holder_id: str) -> None:
    """Write a run's row, or take it up again: what it spent so far goes on counting against its budget."""
    values = {
        "holder_id": holder_id,
        "flow_run_id": spec.flow_run_id,
        "flow_run_name": spec.flow_run_name,
        "flow_run_url": spec.flow_run_url,
        "model": spec.model,
        "parameters": dict(spec.parameters),
        "models": [dict(model) for model in spec.models] or None,
        "destination": spec.destination,
        "edition": spec.edition,
        "tags": dict(spec.tags),
        "budget": spec.budget,
        "ended_at": None,
        "outcome": None,
    }
    row = {"id": spec.id, "reserved": 0, "spent": 0, "started_at": datetime.now(UTC)}
    connection.execute(insert_new(connection, runs), [{**row, **values}])
    connection.execute(sa.update(runs).where(runs.c.id == spec.id).values(**values))


def add_run_items(connection: Connection, run_id: str, rows: Iterable[RunItem]) -> None:
    """Add source rows to a run, and their items to the ledger as far as they are new."""
    batch = _settled(connection, rows)
    if not batch:
        return
    now = datetime.now(UTC)
    planned = {"state": ItemState.PLANNED, "created_at": now, "updated_at": now}
    texts = {row.item.rewrite.id: row.item.rewrite for row in batch if row.item.rewrite is not None}
    connection.execute(
        insert_new(connection, items),
        [{**_rewrite_values(rewrite), **planned} for rewrite in texts.values()]
        + [{**_image_values(row.item), **planned} for row in batch],
    )
    fill_in(connection, [_image_values(row.item) for row in batch])
    if texts:
        _follow_limits(connection, batch)
        _write_anew(connection, batch)
    connection.execute(
        insert_new(connection, run_items),
        [
            {
                "run_id": run_id,
                "position": row.position,
                "item_id": row.item.id,
                "source": row.source,
                "line": row.line,
                "row": dict(row.row),
                "choices": list(row.choices),
                "owned": False,
            }
            for row in batch
        ],
    )
    delivered = sa.select(items.c.id).where(items.c.state == ItemState.DELIVERED)
    connection.execute(
        sa.update(run_items)
        .where(
            run_items.c.run_id == run_id,
            run_items.c.position.between(batch[0].position, batch[-1].position),
            run_items.c.item_id.in_(delivered),
            ~sa.exists().where(calls.c.run_id == run_id, calls.c.item_id == run_items.c.item_id),
        )
        .values(owned=True)
    )


def _write_anew(connection: Connection, batch: list[RunItem]) -> None:
    """Rewrites that were erased are planned again where images ask for them that were not (another edition)."""
    wanted = {row.item.id: row.item.rewrite for row in batch if row.item.rewrite is not None}
    ids = sorted({rewrite.id for rewrite in wanted.values()})
    erased: set[str] = set()
    for part in in_batches(ids):
        erased.update(
            connection.scalars(sa.select(items.c.id).where(items.c.id.in_(part), items.c.state == ItemState.ERASED))
        )
    if not erased:
        return
    alive = sa.select(items.c.id).where(items.c.rewrite_id.in_(erased), items.c.state != ItemState.ERASED)
    asking = {wanted[item_id].id: wanted[item_id] for item_id in connection.scalars(alive) if item_id in wanted}
    for rewrite in asking.values():
        values = {"prompt": rewrite.source, "parameters": rewrite.parameters, "reason": None}
        connection.execute(
            sa.update(items)
            .where(items.c.id == rewrite.id, items.c.state == ItemState.ERASED)
            .values(state=ItemState.PLANNED, updated_at=datetime.now(UTC), **values)
        )


def _settled(connection: Connection, rows: Iterable[RunItem]) -> list[RunItem]:
    """Rows with the one item that each of them is."""
    batch = list(rows)
    if not any(row.alternatives for row in batch):
        return batch
    ids = {item.id for row in batch for item in (row.item, *row.alternatives)}
    states: dict[str, ItemState] = {}
    for some in in_batches(ids):
        found = connection.execute(sa.select(items.c.id, items.c.state).where(items.c.id.in_(some)))
        states.update((one.id, ItemState(one.state)) for one in found)
    return [replace(row, item=row.settled(states), alternatives=(), buy=0) for row in batch]


def switch_run_items(connection: Connection, run_id: str, rows: Iterable[RunItem]) -> int:
    """Let rows whose item was not bought, and cannot be any more, be the item of a model that stands in.

    Returns:
        Rows that are another item now.
    """
    asked = list(rows)
    batch = _settled(connection, asked)
    if not batch:
        return 0
    places = run_items.c.position.between(batch[0].position, batch[-1].position)
    present = dict(
        connection.execute(
            sa.select(run_items.c.position, run_items.c.item_id).where(run_items.c.run_id == run_id, places)
        ).all()
    )
    changed = [
        row
        for row, wanted in zip(batch, asked, strict=True)
        # A source that was changed meanwhile says something else at this place: then the row stays what it was.
        if present.get(row.position) in {item.id for item in (wanted.item, *wanted.alternatives)} - {row.item.id}
    ]
    if changed:
        connection.execute(
            sa.delete(run_items).where(
                run_items.c.run_id == run_id, run_items.c.position.in_([row.position for row in changed])
            )
        )
        add_run_items(connection, run_id, changed)
    return len(changed)


def _image_values(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": ItemKind.IMAGE,
        "model": item.model,
        "prompt": item.prompt,
        "parameters": dict(item.parameters),
        "edition": item.edition,
        "repeat": item.repeat,
        "rewrite_id": item.rewrite.id if item.rewrite is not None else None,
        "variation": item.rewrite.variation if item.rewrite is not None else None,
    }


def _rewrite_values(rewrite: Rewrite) -> dict[str, Any]:
    return {
        "id": rewrite.id,
        "kind": ItemKind.REWRITE,
        "model": rewrite.model,
        "prompt": rewrite.source,
        "parameters": rewrite.parameters,
        "edition": "",
        "repeat": 1,
        "rewrite_id": None,
        "variation": rewrite.variation,
    }


def _follow_limits(connection: Connection, batch: Sequence[RunItem]) -> None:
    """Items that an earlier run left unbought, with another contract's limit, wait for the text of this run's."""
    wanted = {row.item.id: row.item.rewrite.id for row in batch if row.item.rewrite is not None}
    left = sa.and_(
        items.c.holder_id.is_(None), items.c.state.in_((ItemState.PLANNED, ItemState.FAILED, ItemState.REFUSED))
    )
    for ids in in_batches(wanted):
        rows = connection.execute(sa.select(items.c.id, items.c.rewrite_id).where(items.c.id.in_(ids), left)).all()
        for item_id in (row.id for row in rows if row.rewrite_id != wanted[row.id]):
            connection.execute(sa.update(items).where(items.c.id == item_id, left).values(rewrite_id=wanted[item_id]))


def finish_run(connection: Connection, run_id: str, outcome: str) -> None:
    """Note how a run ended."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(ended_at=datetime.now(UTC), outcome=outcome))


def progress(connection: Connection, run_id: str) -> RunProgress:
    """Count a run's items by state, its images and its money.

    Raises:
        KeyError: No such run.
    """
    run = connection.execute(
        sa.select(runs.c.spent, runs.c.reserved, runs.c.budget).where(runs.c.id == run_id)
    ).one_or_none()
    if run is None:
        raise KeyError(run_id)
    mine = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id).distinct().subquery()
    counts = dict.fromkeys(ItemState, 0)
    for state, count in connection.execute(
        sa.select(items.c.state, sa.func.count()).join(mine, mine.c.item_id == items.c.id).group_by(items.c.state)
    ):
        counts[ItemState(state)] = count
    rows, owned = connection.execute(
        sa.select(sa.func.count(), sa.func.count(sa.distinct(sa.case((run_items.c.owned, run_items.c.item_id))))).where(
            run_items.c.run_id == run_id
        )
    ).one()
    stored = connection.scalar(
        sa.select(sa.func.count())
        .select_from(images)
        .join(mine, mine.c.item_id == images.c.item_id)
        .where(images.c.state == ImageState.STORED)
    )
    texts, written = connection.execute(
        sa.select(sa.func.count(sa.distinct(items.c.rewrite_id)), sa.func.count(sa.distinct(rewrites.c.item_id)))
        .select_from(items)
        .join(mine, mine.c.item_id == items.c.id)
        .outerjoin(rewrites, rewrites.c.item_id == items.c.rewrite_id)
        .where(items.c.rewrite_id.is_not(None))
    ).one()
    return RunProgress(rows, counts, owned, stored or 0, run.spent, run.reserved, run.budget, texts, written)


@dataclass(frozen=True, slots=True)
class RowProgress:
    """How far the items of some rows are.

    Attributes:
        items: Items by state; only states that occur. An item belongs to the first row that asks for it.
        held: Items that somebody works on now.
    """

    items: Mapping[ItemState, int]
    held: int

    @property
    def settled(self) -> int:
        """Items that are as done as any run can make them by itself."""
        return sum(self.items.get(state, 0) for state in (ItemState.DELIVERED, ItemState.REFUSED, ItemState.LOST))


def row_progress(connection: Connection, run_id: str, rows: range) -> RowProgress:
    """Count the items that some rows of a run ask for, and no row before them: what `pending` gives to a shard."""
    query = (
        sa.select(items.c.state, sa.func.count(), sa.func.count(items.c.holder_id))
        .join(run_items, run_items.c.item_id == items.c.id)
        .where(
            run_items.c.run_id == run_id,
            run_items.c.position >= rows.start,
            run_items.c.position < rows.stop,
            first_row(run_id),
        )
        .group_by(items.c.state)
    )
    counted = connection.execute(query).all()
    return RowProgress({ItemState(state): count for state, count, _ in counted}, sum(held for _, _, held in counted))
