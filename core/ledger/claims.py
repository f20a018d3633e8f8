"""Taking items up: one atomic statement, so that of all who want an item exactly one gets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from .items import ItemKind
from .schema import calls, deliveries, images, items, rewrites, run_items
from .states import CallOutcome, ImageState, ItemState

__all__ = [
    "ClaimedItem",
    "WantedText",
    "claim",
    "first_row",
    "give_up",
    "give_up_unknown",
    "in_batches",
    "of_run",
    "pending",
    "release",
    "reply_lost",
    "resting_state",
    "rewrites_wanted",
    "rewritten",
    "states",
    "text_states",
    "undelivered",
]

T = TypeVar("T")
_BUYABLE = (ItemState.PLANNED, ItemState.FAILED)
_BATCH = 500


def in_batches(values: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    """Split into lists of at most `size` (SQLite takes a bounded number of parameters a statement)."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass(frozen=True, slots=True)
class WantedText:
    """How the text stands that an image is to be made from.

    Attributes:
        state: Of the rewrite; DELIVERED where there is a text.
        text: What was written.
        reason: Why there is no text.
    """

    state: ItemState
    text: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item that the caller now holds. `state` is CLAIMED where it is to be bought.

    `rewrite` is about the text its prompt is rewritten to, None where the prompt is sent as it is; `variation` is that
    of a rewrite.
    """

    id: str
    model: str
    prompt: str
    parameters: dict[str, Any]
    edition: str
    state: ItemState
    rewrite: WantedText | None = None
    variation: int | None = None
    repeat: int = 1


LOG = "log"
"""Cost source of a call whose reply was lost, and which the provider's log says was billed."""


def _buyable(unknown: UnknownPolicy, *, retry_refused: bool) -> tuple[ItemState, ...]:
    more = (ItemState.UNKNOWN,) if unknown is UnknownPolicy.RETRY else ()
    return (*_BUYABLE, *more, *((ItemState.REFUSED,) if retry_refused else ()))


def _to_buy(unknown: UnknownPolicy, *, retry_refused: bool) -> sa.ColumnElement[bool]:
    """Items that are to be bought. Who buys unknown ones again also wants those whose reply is known to be lost."""
    buyable: sa.ColumnElement[bool] = items.c.state.in_(_buyable(unknown, retry_refused=retry_refused))
    if unknown is UnknownPolicy.RETRY:
        return sa.or_(buyable, sa.and_(items.c.state == ItemState.LOST, reply_lost()))
    return buyable


def reply_lost() -> sa.ColumnElement[bool]:
    """Items with nothing to fetch and a call that the provider's log says was billed."""
    logged = sa.exists().where(
        calls.c.item_id == items.c.id, calls.c.outcome == CallOutcome.ANSWERED, calls.c.cost_source == LOG
    )
    return sa.and_(logged, ~sa.exists().where(images.c.item_id == items.c.id))


def resting_state(otherwise: ItemState = ItemState.PLANNED) -> sa.ColumnElement[str]:
    """The state of an item that was taken up and not bought: what its earlier calls make of it.

    An item that was taken up to be tried again after an unknown, lost or refused call is still that when nothing came
    of it; as a planned item it would be bought without the policy being asked.
    """
    mine = sa.exists().where(calls.c.item_id == items.c.id)
    return sa.case(
        (mine.where(calls.c.outcome == CallOutcome.UNKNOWN), ItemState.UNKNOWN.value),
        (
            mine.where(calls.c.outcome == CallOutcome.ANSWERED, calls.c.cost_source == LOG),
            ItemState.LOST.value,
        ),
        (mine.where(calls.c.outcome == CallOutcome.REFUSED), ItemState.REFUSED.value),
        else_=otherwise.value,
    )


def undelivered(destination: str | None) -> sa.ColumnElement[bool]:
    """Items with a stored image that is not at `destination` yet; none if the run wants its images nowhere."""
    if destination is None:
        return sa.false()
    at_destination = sa.exists().where(
        deliveries.c.call_id == images.c.call_id,
        deliveries.c.idx == images.c.idx,
        deliveries.c.destination == destination,
    )
    return sa.exists().where(images.c.item_id == items.c.id, images.c.state == ImageState.STORED, ~at_destination)


def _free(holder_id: str) -> sa.ColumnElement[bool]:
    """Held by nobody; or by the caller itself and paid for, so that taking it up again cannot buy it again."""
    paid = items.c.state.in_((ItemState.GENERATED, ItemState.DELIVERED))
    return sa.or_(items.c.holder_id.is_(None), sa.and_(items.c.holder_id == holder_id, paid))


def first_row(run_id: str) -> sa.ColumnElement[bool]:
    """Whether no earlier row of the run asks for the same item. The item belongs to that row, and to its shard."""
    earlier = run_items.alias()
    return ~sa.exists().where(
        earlier.c.run_id == run_id,
        earlier.c.item_id == run_items.c.item_id,
        # "+ 0" keeps SQLite from looking through all earlier rows, instead of through those of the item.
        earlier.c.position + 0 < run_items.c.position,
    )


def pending(
    connection: Connection,
    run_id: str,
    holder_id: str,
    *,
    destination: str | None,
    unknown: UnknownPolicy = UnknownPolicy.HOLD,
    retry_refused: bool = False,
    paid_only: bool = False,
    after: int = -1,
    before: int | None = None,
    limit: int = 1000,
) -> list[tuple[int, str]]:
    """Items of a run that there is something to do for: to buy, to fetch and store, or to copy.

    Args:
        connection: Any.
        run_id: The run.
        holder_id: The process that asks.
        destination: Where the run wants its images; an owned item that is not there is to be copied.
        unknown: Whether unknown items are bought again.
        retry_refused: Whether refused items are asked for again.
        paid_only: Nothing that is to be bought.
        after: Only positions behind this one (a page at a time).
        before: Only positions before this one: a shard of the run.
        limit: Items a page.

    Returns:
        `(position, item id)`, by first position.
    """
    here = [run_items.c.run_id == run_id, run_items.c.position > after]
    if before is not None:
        here.append(run_items.c.position < before)
    todo = sa.or_(
        sa.false() if paid_only else _to_buy(unknown, retry_refused=retry_refused),
        items.c.state == ItemState.GENERATED,
        sa.and_(items.c.state == ItemState.DELIVERED, undelivered(destination)),
    )
    query = (
        sa.select(run_items.c.position, run_items.c.item_id)
        .join(items, items.c.id == run_items.c.item_id)
        .where(*here, _free(holder_id), todo, first_row(run_id))
        .order_by(run_items.c.position)
        .limit(limit)
    )
    return [(row.position, row.item_id) for row in connection.execute(query)]


def claim(
    connection: Connection,
    item_ids: Sequence[str],
    holder_id: str,
    *,
    unknown: UnknownPolicy = UnknownPolicy.HOLD,
    retry_refused: bool = False,
) -> list[ClaimedItem]:
    """Take up the given items, as far as nobody else holds them.

    What is to be bought becomes `claimed`; what was bought before keeps its state and is only held, so that two runs
    do not fetch it twice.

    Returns:
        The items this caller won, in the order given.
    """
    to_buy = _to_buy(unknown, retry_refused=retry_refused)
    if retry_refused:
        # Billed, and the text is lost (the provider's log knows of it): as good as refused.
        to_buy = sa.or_(to_buy, sa.and_(items.c.kind == ItemKind.REWRITE, items.c.state == ItemState.LOST))
    won: dict[str, ClaimedItem] = {}
    texts: dict[str, WantedText] = {}
    for batch in in_batches(item_ids):
        statement = (
            sa.update(items)
            .where(
                items.c.id.in_(batch),
                _free(holder_id),
                sa.or_(to_buy, items.c.state.in_((ItemState.GENERATED, ItemState.DELIVERED))),
            )
            .values(
                holder_id=holder_id,
                state=sa.case((to_buy, ItemState.CLAIMED.value), else_=items.c.state),
                updated_at=datetime.now(UTC),
            )
            .returning(items)
        )
        rows = connection.execute(statement).all()
        if wanted := {row.rewrite_id for row in rows if row.rewrite_id is not None}:
            texts |= rewritten(connection, wanted)
        for row in rows:
            won[row.id] = ClaimedItem(
                row.id,
                row.model,
                row.prompt,
                row.parameters,
                row.edition,
                ItemState(row.state),
                texts.get(row.rewrite_id),
                row.variation,
                row.repeat,
            )
    return [won[item_id] for item_id in item_ids if item_id in won]


def rewritten(connection: Connection, rewrite_ids: Iterable[str]) -> dict[str, WantedText]:
    """How rewrites stand, by id."""
    found: dict[str, WantedText] = {}
    for batch in in_batches(rewrite_ids):
        query = (
            sa.select(items.c.id, items.c.state, items.c.reason, rewrites.c.text)
            .outerjoin(rewrites, rewrites.c.item_id == items.c.id)
            .where(items.c.id.in_(batch))
        )
        for row in connection.execute(query):
            found[row.id] = WantedText(ItemState(row.state), row.text, row.reason)
    return found


def rewrites_wanted(
    connection: Connection,
    item_ids: Sequence[str],
    *,
    unknown: UnknownPolicy = UnknownPolicy.HOLD,
    retry_refused: bool = False,
) -> list[str]:
    """Rewrites without a text that the given items wait for, of those that are still to be bought, each once.

    A rewrite that came to nothing before is among them only where it would be asked for again.
    """
    image, text = items.alias(), items.alias()
    buyable = _buyable(unknown, retry_refused=retry_refused)
    # See `claim`.
    again = (*buyable, ItemState.LOST) if retry_refused else buyable
    found: dict[str, None] = {}
    for batch in in_batches(item_ids):
        query = (
            sa.select(text.c.id)
            .join(image, image.c.rewrite_id == text.c.id)
            .where(
                image.c.id.in_(batch),
                image.c.state.in_(buyable),
                text.c.state.in_((*again, ItemState.CLAIMED, ItemState.SENT)),
            )
        )
        found |= dict.fromkeys(connection.scalars(query))
    return list(found)


def text_states(connection: Connection, item_ids: Sequence[str]) -> dict[str, ItemState]:
    """States of the rewrites of images, by the rewrite's id."""
    image, text = items.alias(), items.alias()
    found: dict[str, ItemState] = {}
    for batch in in_batches(item_ids):
        query = sa.select(text.c.id, text.c.state).join(image, image.c.rewrite_id == text.c.id)
        rows = connection.execute(query.where(image.c.id.in_(batch)))
        found.update((row.id, ItemState(row.state)) for row in rows)
    return found


def give_up(connection: Connection, item_id: str, holder_id: str, reason: str) -> None:
    """Let a claimed item fail that cannot be asked for. The next run takes it up again."""
    connection.execute(
        sa.update(items)
        .where(items.c.id == item_id, items.c.holder_id == holder_id, items.c.state == ItemState.CLAIMED)
        .values(state=resting_state(ItemState.FAILED), reason=reason, updated_at=datetime.now(UTC))
    )


def release(connection: Connection, item_ids: Sequence[str], holder_id: str, *, keep_paid: bool = False) -> None:
    """Let go of items: what was claimed and not sent is what it was before, everything else keeps its state.

    Args:
        connection: Within a write transaction.
        item_ids: Items; those that somebody else holds are left alone.
        holder_id: The caller.
        keep_paid: Go on holding what is to be delivered.
    """
    for batch in in_batches(item_ids):
        mine = sa.and_(items.c.id.in_(batch), items.c.holder_id == holder_id)
        connection.execute(
            sa.update(items).where(mine, items.c.state == ItemState.CLAIMED).values(state=resting_state())
        )
        kept = [ItemState.SENT, *((ItemState.GENERATED, ItemState.DELIVERED) if keep_paid else ())]
        connection.execute(sa.update(items).where(mine, items.c.state.not_in(kept)).values(holder_id=None))


def of_run(run_id: str) -> sa.CompoundSelect[tuple[str]]:
    """Ids of a run's items, and of the texts they are made from."""
    mine = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)
    return sa.union(mine, sa.select(items.c.rewrite_id).where(items.c.id.in_(mine), items.c.rewrite_id.is_not(None)))


def give_up_unknown(connection: Connection, run_id: str | None, item_ids: Sequence[str] | None = None) -> int:
    """Count unknown items as failed: the next run buys them again, which may pay twice.

    Their calls stay unknown, and what was reserved for them stays reserved: the bill alone knows.

    Args:
        connection: Within a write transaction.
        run_id: Of this run's items; None for the whole ledger.
        item_ids: Of these items only.

    Returns:
        Items that were given up.
    """
    statement = (
        sa.update(items)
        .where(items.c.state == ItemState.UNKNOWN, items.c.holder_id.is_(None))
        .values(state=ItemState.FAILED, updated_at=datetime.now(UTC))
    )
    if run_id is not None:
        statement = statement.where(items.c.id.in_(of_run(run_id)))
    if item_ids is None:
        return connection.execute(statement).rowcount
    return sum(connection.execute(statement.where(items.c.id.in_(batch))).rowcount for batch in in_batches(item_ids))


def states(connection: Connection, item_ids: Sequence[str]) -> dict[str, ItemState]:
    """The states of items, by id."""
    found: dict[str, ItemState] = {}
    for batch in in_batches(item_ids):
        rows = connection.execute(sa.select(items.c.id, items.c.state).where(items.c.id.in_(batch)))
        found.update((row.id, ItemState(row.state)) for row in rows)
    return found
