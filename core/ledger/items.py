"""Items: what is wanted, who works on it, and where it stands.

A claim is one atomic statement, so of all who want an item exactly one gets it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from ..values import batched
from .conditions import (
    is_first_row,
    items_and_rewrites_of_run,
    items_of_run,
    reply_lost,
    rows_among,
    state_after_release,
    undelivered,
)
from .database import Part
from .identity import ItemKind
from .rewrites import RewriteStatus, rewrite_statuses
from .schema import calls, fields, history, items, run_items, runs, workers
from .states import ItemState, buyable_states

_PAID = (ItemState.GENERATED, ItemState.DELIVERED)
_OF_ITEM = ("id", "model", "prompt", "parameters", "edition", "variation", "repeat")
_CLAIMED = (*_OF_ITEM, "state", "rewrite_id")


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item that the caller now holds."""

    id: str
    model: str
    prompt: str
    parameters: dict[str, Any]
    edition: str
    state: ItemState  # CLAIMED if it is to be bought; else it is paid for and to be delivered
    rewrite: RewriteStatus | None = None  # the rewrite of its prompt; None if the prompt is sent as it is
    variation: int | None = None  # of a rewrite: which of several texts
    repeat: int = 1  # which of several images of the same prompt


@dataclass(frozen=True, slots=True)
class LeasedItem:
    """An item that a worker holds."""

    item_id: str
    state: ItemState
    host: str
    pid: int
    run: str | None  # what the worker runs, if known: the name of the flow run, or the run's id

    @property
    def worker(self) -> str:
        """The worker, described for a person."""
        what = f"run {self.run}" if self.run else "another run"
        return f"{what} (process {self.pid} on {self.host.split(' ', 1)[0]})"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an item's state, or of a call's outcome."""

    at: datetime
    call_id: str | None  # the call; None for the item itself
    before: str | None  # state or outcome before; None for a call that was just sent
    after: str  # state or outcome after


def describe_workers(leased: Sequence[LeasedItem]) -> str:
    """Name each worker once, with the number of items it holds."""
    counts = Counter(item.worker for item in leased)
    return ", ".join(f"{count} by {worker}" for worker, count in counts.items())


class Items(Part):
    """The items of a ledger.

    Of those that were asked for before, `unknown` says whether items with an unknown outcome are bought again, and
    `retry_refused` whether refused ones are asked for again. A `run_id` of None stands for the whole ledger.
    """

    def pending(
        self,
        run_id: str,
        *,
        destination: str | None,
        unknown: UnknownPolicy = UnknownPolicy.HOLD,
        retry_refused: bool = False,
        paid_only: bool = False,
        rows: range | None = None,
        page: int = 1000,
    ) -> Iterator[str]:
        """Ids of a run's items that are to be bought, fetched or copied, each once, in the order of its rows.

        Args:
            destination: Where the run wants its images; an owned item that is not there is to be copied.
            paid_only: Leave out items that would be bought.
            rows: Only items whose first row in the run is among these; None for all.
            page: Number of items read at once.
        """
        todo = sa.or_(
            sa.false() if paid_only else _to_buy(unknown, retry_refused=retry_refused),
            items.c.state == ItemState.GENERATED,
            sa.and_(items.c.state == ItemState.DELIVERED, undelivered(destination)),
        )
        query = (
            sa.select(run_items.c.position, run_items.c.item_id)
            .join(items, items.c.id == run_items.c.item_id)
            .where(run_items.c.run_id == run_id, _free(self._database.worker.id), todo, is_first_row(run_id))
            .order_by(run_items.c.position)
            .limit(page)
        )
        if rows is not None:
            query = query.where(run_items.c.position < rows.stop)
        after = -1 if rows is None else rows.start - 1
        while True:
            found = self._rows(query.where(run_items.c.position > after))
            yield from (row.item_id for row in found)
            if len(found) < page:
                return
            after = found[-1].position

    def claim(
        self, item_ids: Sequence[str], *, unknown: UnknownPolicy = UnknownPolicy.HOLD, retry_refused: bool = False
    ) -> list[ClaimedItem]:
        """Claim those of some items that no other worker holds, and return them in the same order.

        Items that are to be bought become `claimed`. Items that were bought before keep their state and are only held,
        so that two runs do not fetch them twice.
        """
        worker_id = self._database.worker.id
        to_buy = _to_buy(unknown, retry_refused=retry_refused)
        if retry_refused:
            # A rewrite that was billed and whose text is lost (the provider's log says so) is as good as refused.
            to_buy = sa.or_(to_buy, sa.and_(items.c.kind == ItemKind.REWRITE, items.c.state == ItemState.LOST))
        statement = (
            sa.update(items)
            .where(_free(worker_id), sa.or_(to_buy, items.c.state.in_(_PAID)))
            .values(
                holder_id=worker_id,
                state=sa.case((to_buy, ItemState.CLAIMED.value), else_=items.c.state),
                updated_at=datetime.now(UTC),
            )
            .returning(*(items.c[name] for name in _CLAIMED))
        )

        def operation(connection: Connection) -> dict[str, ClaimedItem]:
            rows = [
                row for batch in batched(item_ids) for row in connection.execute(statement.where(items.c.id.in_(batch)))
            ]
            rewrites = rewrite_statuses(connection, {row.rewrite_id for row in rows if row.rewrite_id is not None})
            return {
                row.id: ClaimedItem(
                    **fields(row, *_OF_ITEM),
                    state=ItemState(row.state),
                    rewrite=rewrites.get(row.rewrite_id),
                )
                for row in rows
            }

        won = self._database.write(operation)
        return [won[item_id] for item_id in item_ids if item_id in won]

    def release(self, item_ids: Sequence[str], *, keep_paid: bool = False) -> None:
        """Release items that this process holds, all or (with `keep_paid`) only those that are not to be delivered.

        One that was claimed and not sent gets its earlier state back; any other keeps its state.
        """
        mine = items.c.holder_id == self._database.worker.id
        kept = [ItemState.SENT, *(_PAID if keep_paid else ())]

        def operation(connection: Connection) -> None:
            for batch in batched(item_ids):
                these = sa.update(items).where(items.c.id.in_(batch), mine)
                connection.execute(these.where(items.c.state == ItemState.CLAIMED).values(state=state_after_release()))
                connection.execute(these.where(items.c.state.not_in(kept)).values(holder_id=None))

        self._database.write(operation)

    def fail(self, item_id: str, reason: str) -> None:
        """Mark a claimed item that cannot be asked for as failed. The next run claims it again."""
        mine = (items.c.id == item_id, items.c.holder_id == self._database.worker.id)
        self._execute(
            sa.update(items)
            .where(*mine, items.c.state == ItemState.CLAIMED)
            .values(state=state_after_release(ItemState.FAILED), reason=reason, updated_at=datetime.now(UTC))
        )

    def fail_unknown(self, run_id: str | None, item_ids: Sequence[str] | None = None) -> int:
        """Mark unknown items as failed: the next run buys them again, which may pay twice.

        Their calls stay unknown, and what was reserved for them stays reserved: only the bill can tell. Returns the
        number of items that were marked.
        """
        statement = (
            sa.update(items)
            .where(items.c.state == ItemState.UNKNOWN, items.c.holder_id.is_(None))
            .values(state=ItemState.FAILED, updated_at=datetime.now(UTC))
        )
        if run_id is not None:
            statement = statement.where(items.c.id.in_(items_and_rewrites_of_run(run_id)))

        def operation(connection: Connection) -> int:
            if item_ids is None:
                return connection.execute(statement).rowcount
            parts = (statement.where(items.c.id.in_(batch)) for batch in batched(item_ids))
            return sum(connection.execute(part).rowcount for part in parts)

        return self._database.write(operation)

    def leased(self, run_id: str, *, destination: str | None, but_worker: str | None = None) -> list[LeasedItem]:
        """Items of a run that a worker holds, and that are not yet where the run wants them.

        `but_worker` is left out: the run's own process, while it runs.
        """
        working = items.c.state.in_((ItemState.CLAIMED, ItemState.SENT, ItemState.GENERATED))
        query = (
            sa.select(items.c.id, items.c.state, workers.c.id.label("worker"), workers.c.host, workers.c.pid)
            .join(workers, workers.c.id == items.c.holder_id)
            .where(
                items.c.id.in_(items_of_run(run_id)),
                sa.or_(working, sa.and_(items.c.state == ItemState.DELIVERED, undelivered(destination))),
            )
            .order_by(items.c.id)
        )
        if but_worker is not None:
            query = query.where(items.c.holder_id != but_worker)
        found = self._rows(query)
        names = self._runs_of({row.worker for row in found}, run_id) if found else {}
        return [LeasedItem(row.id, ItemState(row.state), row.host, row.pid, names.get(row.worker)) for row in found]

    def _runs_of(self, worker_ids: set[str], but_run: str) -> dict[str, str]:
        """What each worker runs now: the latest of its runs that have not ended."""
        query = (
            sa.select(runs.c.holder_id, runs.c.id, runs.c.flow_run_name)
            .where(runs.c.holder_id.in_(sorted(worker_ids)), runs.c.id != but_run, runs.c.ended_at.is_(None))
            .order_by(runs.c.started_at)
        )
        return {row.holder_id: row.flow_run_name or row.id for row in self._rows(query)}

    def states(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """The states of items, by id."""
        return self._database.ask(lambda connection: states(connection, item_ids))

    def of_run_in(self, state: ItemState, run_id: str | None) -> list[str]:
        """Ids of images to be made that are in a state, the oldest first."""
        return self._images_where(items.c.state == state, run_id, None)

    def undecided(self, run_id: str | None, item_ids: Sequence[str] | None = None) -> list[str]:
        """Ids of images whose reply nobody has: unknown items, and lost ones whose reply was billed and is lost."""
        lost = sa.and_(items.c.state == ItemState.LOST, reply_lost())
        return self._images_where(sa.or_(items.c.state == ItemState.UNKNOWN, lost), run_id, item_ids)

    def _images_where(
        self, condition: sa.ColumnElement[bool], run_id: str | None, item_ids: Sequence[str] | None
    ) -> list[str]:
        query = (
            sa.select(items.c.id)
            .where(condition, items.c.kind == ItemKind.IMAGE)
            .order_by(items.c.created_at, items.c.id)
        )
        if run_id is not None:
            query = query.where(items.c.id.in_(items_of_run(run_id)))
        rows = self._rows(query) if item_ids is None else self._rows_among(query, items.c.id, item_ids)
        return [row.id for row in rows]

    def inputs_to_send(self, run_id: str) -> set[str]:
        """Hashes of the pictures that go into requests for a run's items which may still be bought."""
        over = (ItemState.DELIVERED, ItemState.GENERATED, ItemState.ERASED)
        query = sa.select(items.c.inputs).where(
            items.c.id.in_(items_of_run(run_id)), items.c.inputs.is_not(None), items.c.state.not_in(over)
        )
        return {one["sha256"] for row in self._rows(query) for one in row.inputs}

    def history(self, item_id: str) -> list[Transition]:
        """Changes of an item's state and of the outcomes of its calls, the oldest first.

        A ledger of an older version has none from before it was migrated.
        """
        mine = sa.or_(
            history.c.subject == item_id, history.c.subject.in_(sa.select(calls.c.id).where(calls.c.item_id == item_id))
        )
        query = sa.select(history.c.subject, history.c.before, history.c.after, history.c.at).where(mine)
        return [
            Transition(row.at, None if row.subject == item_id else row.subject, row.before, row.after)
            for row in self._rows(query.order_by(history.c.number))
        ]

    def used_models(self) -> list[str]:
        """Ids of the models that images were asked of, the latest first."""
        query = (
            sa.select(items.c.model, sa.func.max(items.c.updated_at).label("last"))
            .where(items.c.kind == ItemKind.IMAGE)
            .group_by(items.c.model)
            .order_by(sa.desc("last"))
        )
        return self._scalars(query)

    def matching(self, name: str) -> list[str]:
        """Up to two items whose id, or the id of one of whose calls, begins with a name."""
        begins = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        query = sa.union(
            sa.select(items.c.id).where(items.c.id.like(begins, escape="\\")),
            sa.select(calls.c.item_id).where(calls.c.id.like(begins, escape="\\")),
        ).limit(2)
        return self._scalars(query)


def _to_buy(unknown: UnknownPolicy, *, retry_refused: bool) -> sa.ColumnElement[bool]:
    """Condition on items that are to be bought. `retry` includes items whose reply is known to be lost."""
    buyable: sa.ColumnElement[bool] = items.c.state.in_(buyable_states(unknown, retry_refused=retry_refused))
    if unknown is UnknownPolicy.RETRY:
        return sa.or_(buyable, sa.and_(items.c.state == ItemState.LOST, reply_lost()))
    return buyable


def _free(worker_id: str) -> sa.ColumnElement[bool]:
    """Condition on items that a worker may claim: nobody holds them, or it does and they are paid for.

    Claiming a paid item again cannot buy it again.
    """
    paid = items.c.state.in_(_PAID)
    return sa.or_(items.c.holder_id.is_(None), sa.and_(items.c.holder_id == worker_id, paid))


def states(connection: Connection, item_ids: Sequence[str]) -> dict[str, ItemState]:
    """The states of items, by id."""
    rows = rows_among(connection, sa.select(items.c.id, items.c.state), items.c.id, item_ids)
    return {row.id: ItemState(row.state) for row in rows}
