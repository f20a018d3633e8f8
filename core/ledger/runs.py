"""Runs: the items that each asks for, its budget, and its progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from ..values import batched
from .conditions import archived_images, first_rows, is_first_row, rows_among
from .database import Part
from .identity import Item, ItemKind, Rewrite, inputs_of
from .items import states
from .prepared import Prepared
from .schema import (
    archive_parts,
    archived_rows,
    calls,
    fields,
    images,
    insert_new,
    items,
    meta,
    rewrites,
    run_items,
    runs,
)
from .states import ImageState, ItemState

REBUILT = "rebuilt"
"""Key in `imagen_meta` of a ledger that was rebuilt from objects: its items may lack what the objects do not say."""

_NOT_TAKEN = frozenset({ItemState.PLANNED, ItemState.FAILED, ItemState.CLAIMED})
"""States of items that were surely not billed."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run asks for."""

    id: str  # unique; a run that is started again under its id goes on
    model: str  # name of the model, with its contract if one was named
    parameters: Mapping[str, Any] = field(default_factory=dict)  # as given, for every item
    destination: str | None = None  # URI of the place where images are stored; None if the run only generates
    edition: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)  # free labels, for the cost by campaign
    budget: int | None = None  # highest spending of this run in credits, or None
    flow_run_id: str | None = None
    flow_run_name: str | None = None
    flow_run_url: str | None = None  # page of the flow run in Prefect's UI, if known
    mark: Mapping[str, Any] | None = None  # how its images are marked: mode, prompt, credit; None for not at all
    models: Sequence[Mapping[str, Any]] = ()  # the models that may be bought, as plain data of `core.run.models`


@dataclass(frozen=True, slots=True)
class RunItem:
    """One row of a run's source, and the item it asks for."""

    position: int
    item: Item  # the item of the wanted model
    source: str  # where the prompt came from
    line: int
    row: Mapping[str, Any] = field(default_factory=dict)  # all fields of that line
    choices: tuple[str, ...] = ()  # the variants that were chosen
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)  # where the pictures were found that go in
    alternatives: tuple[Item, ...] = ()  # the items of the fallback models
    active_index: int = 0  # which of them is bought, 0 for `item`, where none was bought before

    def settled(self, states: Mapping[str, ItemState]) -> Item:
        """Choose this row's item: the first candidate that was (or may have been) bought, otherwise the active one."""
        candidates = (self.item, *self.alternatives)
        taken = (one for one in candidates if states.get(one.id, ItemState.PLANNED) not in _NOT_TAKEN)
        return next(taken, candidates[self.active_index])


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Progress of a run."""

    rows: int  # source rows (duplicates included)
    items: Mapping[ItemState, int]  # distinct items, by state; every state is present
    owned: int  # items that were delivered before this run
    images: int  # stored images of the run's items
    spent: int  # credits billed for calls of this run
    reserved: int  # credits that calls in flight or unknown may still cost
    budget: int | None  # cap in credits, or None
    texts: int = 0  # distinct rewrites that its images wait for
    written: int = 0  # rewrites of these that have a text

    @property
    def total(self) -> int:
        """Distinct items."""
        return sum(self.items.values())


@dataclass(frozen=True, slots=True)
class RowProgress:
    """Progress of the items of some rows."""

    # items by state; only states that occur. An item belongs to the first row that asks for it
    items: Mapping[ItemState, int]
    held: int  # number of items that a worker holds

    @property
    def settled(self) -> int:
        """Number of items that a run cannot bring any further."""
        return sum(self.items.get(state, 0) for state in (ItemState.DELIVERED, ItemState.REFUSED, ItemState.LOST))


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that was not delivered, and why."""

    item_id: str
    state: str
    prompt: str
    source: str  # file and line that asked for it
    reason: str
    client_request_id: str | None  # of its last call, to ask the provider about
    reserved: int  # credits that the last call may have cost, where that is not known
    answer_lost: bool = False  # billed, and its answer never came: there is no image to fetch


class Runs(Part):
    """The runs of a ledger."""

    def start(self, spec: RunSpec) -> None:
        """Write a run's row, or resume it: what it spent before counts against its budget."""
        values = {
            **fields(spec, "flow_run_id", "flow_run_name", "flow_run_url", "model", "destination", "edition", "budget"),
            "holder_id": self._database.worker.id,
            "parameters": dict(spec.parameters),
            "models": [dict(model) for model in spec.models] or None,
            "tags": dict(spec.tags),
            "mark": None if spec.mark is None else dict(spec.mark),
            "ended_at": None,
            "outcome": None,
            "items": None,
        }
        row = {"id": spec.id, "reserved": 0, "spent": 0, "started_at": datetime.now(UTC)}

        def operation(connection: Connection) -> None:
            connection.execute(insert_new(connection, runs), [{**row, **values}])
            connection.execute(sa.update(runs).where(runs.c.id == spec.id).values(**values))

        self._database.write(operation)

    def add_items(self, run_id: str, rows: Iterable[RunItem]) -> None:
        """Add source rows to a run, and their items to the ledger if they are new; a transaction per thousand rows."""
        for batch in batched(rows, 1000):
            self._database.write(lambda connection, batch=batch: add_run_items(connection, run_id, batch))  # type: ignore[misc]

    def switch_items(self, run_id: str, rows: Iterable[RunItem]) -> int:
        """Point rows whose item was not bought and cannot be any more at the item of a fallback model.

        Returns:
            Number of rows that have another item now.
        """
        return sum(
            self._database.write(lambda connection, batch=batch: _switch_run_items(connection, run_id, batch))  # type: ignore[misc]
            for batch in batched(rows, 500)
        )

    def set_models(self, run_id: str, models: Sequence[Mapping[str, Any]]) -> None:
        """Record what a run may buy from now on, as plain data of `core.run.models`."""
        values = [dict(model) for model in models]
        self._execute(sa.update(runs).where(runs.c.id == run_id).values(models=values))

    def finish(self, run_id: str, outcome: str) -> None:
        """Record how a run ended, and the number of its items."""
        this = sa.update(runs).where(runs.c.id == run_id)

        def operation(connection: Connection) -> None:
            connection.execute(this.values(ended_at=datetime.now(UTC), outcome=outcome))
            # Only now: the first statement has waited for those who add rows, and a later statement sees the rows.
            connection.execute(this.values(items=COUNTED_ITEMS))

        self._database.write(operation)

    def get(self, run_id: str) -> Mapping[str, Any]:
        """A run's row.

        Raises:
            KeyError: No such run.
        """
        rows = self._rows(sa.select(runs).where(runs.c.id == run_id))
        if not rows:
            raise KeyError(run_id)
        return dict(rows[0]._mapping)

    def latest(self, *, of_this_process: bool = False) -> str | None:
        """Id of the run (of this process, if only those are asked for) that was started last."""
        query = sa.select(runs.c.id).order_by(runs.c.started_at.desc()).limit(1)
        if of_this_process:
            worker = self._database.registered_worker
            if worker is None:
                return None
            query = query.where(runs.c.holder_id == worker.id)
        found: str | None = self._scalar(query)
        return found

    def find(self, name: str) -> str:
        """Id of the run whose id begins like that.

        Raises:
            BadInput: None, or more than one.
        """
        begins = runs.c.id.startswith(name, autoescape=True)
        # SQLite does not tell upper from lower case here.
        matching = [one for one in self._scalars(sa.select(runs.c.id).where(begins)) if one.startswith(name)]
        if len(matching) != 1:
            what = "more than one run's id begins" if matching else "no run's id begins"
            raise BadInput(f"{what} with {name!r}: `prefect-imagen status --all` lists them")
        return str(matching[0])

    def all(self, *, only: str | None = None) -> list[dict[str, Any]]:
        """All runs, the latest first, or one, each with the number of its items."""
        known = sa.func.coalesce(runs.c["items"], COUNTED_ITEMS)
        return self._listed(known.label("items"), *([runs.c.id == only] if only is not None else []))

    def brief(self) -> list[dict[str, Any]]:
        """All runs, the latest first, each with the number of its rows in place of that of its items.

        It is quick for runs that have not ended, too: their items are counted row by row.
        """
        mine = run_items.c.run_id == runs.c.id
        last = sa.select(sa.func.max(run_items.c.position)).where(mine).scalar_subquery()
        # Of a run whose rows were moved out, few are left to be counted.
        left = sa.select(sa.func.count()).select_from(run_items).where(mine).scalar_subquery()
        moved = sa.cast(_moved("rows"), sa.BigInteger)
        return self._listed(sa.case((moved > 0, left + moved), else_=sa.func.coalesce(last, -1) + 1).label("rows"))

    def _listed(self, size: sa.ColumnElement[int], *which: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        query = sa.select(
            runs.c.id.label("run_id"),
            *(runs.c[name] for name in ("started_at", "ended_at", "outcome", "model")),
            *(runs.c[name] for name in ("edition", "tags", "destination")),
            size,
            *(runs.c[name].label(f"{name}_credits") for name in ("budget", "spent", "reserved")),
            *(runs.c[name] for name in ("flow_run_id", "flow_run_name", "flow_run_url")),
        ).order_by(runs.c.started_at.desc())
        return [dict(row._mapping) for row in self._rows(query.where(*which))]

    def by_delivery(self, item_ids: Sequence[str], run_id: str | None = None) -> dict[str, list[str]]:
        """Items grouped by the run they are delivered for: the latest run that wants them and has a destination.

        If a run is named, only that one counts.
        """
        query = (
            sa.select(run_items.c.item_id, runs.c.id)
            .join(runs, runs.c.id == run_items.c.run_id)
            .order_by(runs.c.destination.is_not(None), runs.c.started_at)
        )
        if run_id is not None:
            query = query.where(runs.c.id == run_id)
        best = {row.item_id: row.id for row in self._rows_among(query, run_items.c.item_id, item_ids)}
        grouped: dict[str, list[str]] = {}
        for item_id in item_ids:
            if item_id in best:
                grouped.setdefault(best[item_id], []).append(item_id)
        return grouped

    def open_items(self, run_id: str, *, limit: int) -> list[OpenItem]:
        """The first items of a run that are not delivered, in the order of its rows."""
        first = first_rows(run_id)
        other = calls.alias()
        last = sa.select(sa.func.max(other.c.number)).where(other.c.item_id == items.c.id).scalar_subquery()
        own_images = images.c.item_id == items.c.id
        image_reason = sa.select(sa.func.min(images.c.reason)).where(own_images).scalar_subquery()
        query = (
            sa.select(
                *(items.c[name] for name in ("id", "state", "prompt", "reason")),
                image_reason.label("image_reason"),
                sa.exists().where(own_images).label("has_images"),
                run_items.c.source,
                run_items.c.line,
                calls.c.id.label("call_id"),
                calls.c.reserved,
                calls.c.settled,
            )
            .join(first, first.c.item_id == items.c.id)
            .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.position == first.c.position))
            .outerjoin(calls, sa.and_(calls.c.item_id == items.c.id, calls.c.number == last))
            .where(items.c.state != ItemState.DELIVERED)
            .order_by(first.c.position)
            .limit(limit)
        )
        return [
            OpenItem(
                item_id=row.id,
                state=row.state,
                prompt=row.prompt,
                source=f"{row.source}:{row.line}",
                reason=row.reason or row.image_reason or "",
                client_request_id=row.call_id,
                reserved=row.reserved if row.call_id is not None and row.settled is None else 0,
                answer_lost=row.state == ItemState.LOST and not row.has_images,
            )
            for row in self._rows(query)
        ]

    def progress(self, run_id: str) -> RunProgress:
        """Count a run's items by state, its images and its money.

        Raises:
            KeyError: No such run.
        """
        of_run = run_items.c.run_id == run_id
        mine = sa.select(run_items.c.item_id).where(of_run).distinct().subquery()
        is_mine = mine.c.item_id == items.c.id
        owned_item = sa.case((run_items.c.owned, run_items.c.item_id))
        counted_rows = sa.select(sa.func.count(), sa.func.count(sa.distinct(owned_item))).where(of_run)
        by_state = sa.select(items.c.state, sa.func.count()).join(mine, is_mine).group_by(items.c.state)
        stored = (
            sa.select(sa.func.count())
            .select_from(images)
            .join(mine, mine.c.item_id == images.c.item_id)
            .where(images.c.state == ImageState.STORED)
            .scalar_subquery()
        )
        moved = sa.select(archived_rows).where(archived_rows.c.run_id == run_id)
        counted_texts = (
            sa.select(sa.func.count(sa.distinct(items.c.rewrite_id)), sa.func.count(sa.distinct(rewrites.c.item_id)))
            .select_from(items)
            .join(mine, is_mine)
            .outerjoin(rewrites, rewrites.c.item_id == items.c.rewrite_id)
            .where(items.c.rewrite_id.is_not(None))
        )
        money = sa.select(runs.c.spent, runs.c.reserved, runs.c.budget).where(runs.c.id == run_id)

        def question(connection: Connection) -> RunProgress:
            run = connection.execute(money).one_or_none()
            if run is None:
                raise KeyError(run_id)
            rows, owned = connection.execute(counted_rows).one()
            states = Counter({ItemState(state): count for state, count in connection.execute(by_state)})
            for line in connection.execute(moved).mappings():
                states[ItemState(line["item_state"])] += line["items"]
                rows, owned = rows + line["rows"], owned + line["owned"]
            texts, written = connection.execute(counted_texts).one()
            return RunProgress(
                rows=rows,
                items={**dict.fromkeys(ItemState, 0), **states},
                owned=owned,
                images=int(connection.scalar(sa.select(stored + archived_images(run_id, "stored"))) or 0),
                **fields(run, "spent", "reserved", "budget"),
                texts=texts,
                written=written,
            )

        return self._database.ask(question)

    def row_progress(self, run_id: str, rows: range) -> RowProgress:
        """Count the items whose first row in a run is among some rows: those that `Items.pending` gives to a shard."""
        query = (
            sa.select(items.c.state, sa.func.count(), sa.func.count(items.c.holder_id))
            .join(run_items, run_items.c.item_id == items.c.id)
            .where(
                run_items.c.run_id == run_id,
                run_items.c.position >= rows.start,
                run_items.c.position < rows.stop,
                is_first_row(run_id),
            )
            .group_by(items.c.state)
        )
        counted = self._rows(query)
        return RowProgress(
            {ItemState(state): count for state, count, _ in counted}, sum(held for _, _, held in counted)
        )


def _moved(name: str) -> sa.ScalarSelect[int]:
    """SQL expression for a run's rows, or what else of it, in archives."""
    sums = sa.func.coalesce(sa.func.sum(archived_rows.c[name]), 0)
    return sa.select(sums).where(archived_rows.c.run_id == runs.c.id).scalar_subquery()


_ASKED = sa.select(sa.func.count(sa.distinct(run_items.c.item_id))).where(run_items.c.run_id == runs.c.id)
COUNTED_ITEMS = sa.cast(_ASKED.scalar_subquery() + _moved("items"), sa.BigInteger)
"""SQL expression for the number of a run's items, for which all its rows are read."""


_INSERT_ITEM = Prepared(lambda connection: insert_new(connection, items))
_INSERT_RUN_ITEM = Prepared(lambda connection: insert_new(connection, run_items))


def add_run_items(connection: Connection, run_id: str, rows: Iterable[RunItem]) -> None:
    """Add source rows to a run, and their items to the ledger as far as they are new."""
    batch = _not_archived(connection, run_id, _settled(connection, rows))
    if not batch:
        return
    now = datetime.now(UTC)
    planned = {"state": ItemState.PLANNED, "created_at": now, "updated_at": now}
    texts = {row.item.rewrite.id: row.item.rewrite for row in batch if row.item.rewrite is not None}
    asked = [_image_values(row.item) for row in batch]
    _INSERT_ITEM.run(connection, [{**values, **planned} for values in (*map(_rewrite_values, texts.values()), *asked)])
    _fill_in(connection, asked)
    if texts:
        _follow_limits(connection, batch)
        _write_anew(connection, batch)
    _INSERT_RUN_ITEM.run(
        connection,
        [
            {
                **fields(row, "position", "source", "line"),
                "run_id": run_id,
                "item_id": row.item.id,
                "row": dict(row.row),
                "choices": list(row.choices),
                "owned": False,
            }
            for row in batch
        ],
    )
    delivered = sa.exists().where(items.c.id == run_items.c.item_id, items.c.state == ItemState.DELIVERED)
    connection.execute(
        sa.update(run_items)
        .where(
            run_items.c.run_id == run_id,
            run_items.c.position.between(batch[0].position, batch[-1].position),
            delivered,
            ~sa.exists().where(calls.c.run_id == run_id, calls.c.item_id == run_items.c.item_id),
        )
        .values(owned=True)
    )
    count_anew(connection, run_id)


def count_anew(connection: Connection, run_id: str) -> None:
    """Forget how many items a run asks for, once rows were added. Whoever counts them waits until they are there."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(items=None))


_TEXTS_UNKNOWN = sa.and_(items.c.state != ItemState.ERASED, items.c.archive_part.is_(None))


def _fill_in(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Complete items of a rebuilt ledger with the rows that a run would insert: the same id is the same item."""
    if connection.scalar(sa.select(meta.c.value).where(meta.c.key == REBUILT)) is None:
        return
    names = ("model", "prompt", "parameters", "inputs", "edition", "repeat", "rewrite_id", "variation")
    connection.execute(
        sa.update(items)
        .where(items.c.id == sa.bindparam("this"), items.c.prompt == "", _TEXTS_UNKNOWN)
        .values({items.c[name]: sa.bindparam(f"new_{name}", type_=items.c[name].type) for name in names}),
        [{"this": row["id"], **{f"new_{name}": row.get(name) for name in names}} for row in rows],
    )


def _write_anew(connection: Connection, batch: list[RunItem]) -> None:
    """Re-plan erased rewrites that a non-erased image (e.g. of another edition) still needs."""
    wanted = {row.item.id: row.item.rewrite for row in batch if row.item.rewrite is not None}
    query = sa.select(items.c.id).where(items.c.state == ItemState.ERASED)
    erased = {row.id for row in rows_among(connection, query, items.c.id, {text.id for text in wanted.values()})}
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
    """Rows with their alternatives resolved to one item each."""
    batch = list(rows)
    if not any(row.alternatives for row in batch):
        return batch
    ids = {item.id for row in batch for item in (row.item, *row.alternatives)}
    known = states(connection, sorted(ids))
    return [replace(row, item=row.settled(known), alternatives=(), active_index=0) for row in batch]


def _not_archived(connection: Connection, run_id: str, batch: list[RunItem]) -> list[RunItem]:
    """Rows without those that an archive has of the same run, which goes on: they are counted already."""
    mine = sa.select(archived_rows.c.archive_id).where(archived_rows.c.run_id == run_id, archived_rows.c["items"] > 0)
    if connection.scalar(mine.limit(1)) is None:
        return batch
    query = sa.select(items.c.id).join(archive_parts, archive_parts.c.number == items.c.archive_part)
    query = query.where(archive_parts.c.archive_id.in_(mine))
    gone = {row.id for row in rows_among(connection, query, items.c.id, {row.item.id for row in batch})}
    return [row for row in batch if row.item.id not in gone]


def _switch_run_items(connection: Connection, run_id: str, rows: Iterable[RunItem]) -> int:
    asked = list(rows)
    batch = _settled(connection, asked)
    if not batch:
        return 0
    places = run_items.c.position.between(batch[0].position, batch[-1].position)
    query = sa.select(run_items.c.position, run_items.c.item_id).where(run_items.c.run_id == run_id, places)
    present = {row.position: row.item_id for row in connection.execute(query)}
    changed = [
        row
        for row, wanted in zip(batch, asked, strict=True)
        # If the source was changed meanwhile, this position holds another row: it keeps its item.
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
        **fields(item, "id", "model", "prompt", "edition", "repeat"),
        "kind": ItemKind.IMAGE,
        "parameters": dict(item.parameters),
        "inputs": inputs_of(item.parameters),
        "rewrite_id": item.rewrite.id if item.rewrite is not None else None,
        "variation": item.rewrite.variation if item.rewrite is not None else None,
    }


def _rewrite_values(rewrite: Rewrite) -> dict[str, Any]:
    return {
        **fields(rewrite, "id", "model", "parameters", "variation"),
        "kind": ItemKind.REWRITE,
        "prompt": rewrite.source,
        "edition": "",
        "repeat": 1,
        "inputs": None,
        "rewrite_id": None,
    }


def _follow_limits(connection: Connection, batch: Sequence[RunItem]) -> None:
    """Point items left unbought by an earlier run at this run's rewrite, whose length limit may differ."""
    wanted = {row.item.id: row.item.rewrite.id for row in batch if row.item.rewrite is not None}
    left = sa.and_(
        items.c.holder_id.is_(None), items.c.state.in_((ItemState.PLANNED, ItemState.FAILED, ItemState.REFUSED))
    )
    query = sa.select(items.c.id, items.c.rewrite_id).where(left)
    for row in list(rows_among(connection, query, items.c.id, wanted)):
        if row.rewrite_id != wanted[row.id]:
            connection.execute(sa.update(items).where(items.c.id == row.id, left).values(rewrite_id=wanted[row.id]))
