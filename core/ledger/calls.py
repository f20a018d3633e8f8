"""The life of a paid call: its intent, and what became of it. Each function is one step of one transaction."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .claims import resting_state
from .images import settle_items
from .schema import calls, images, insert_new, items, rewrites, runs
from .states import CallOutcome, ImageState, ItemState

__all__ = [
    "Answered",
    "Begun",
    "CallIntent",
    "NewImage",
    "Outcome",
    "Refused",
    "Rewritten",
    "Unbilled",
    "Unknown",
    "begin",
    "settle",
]


@dataclass(frozen=True, slots=True)
class CallIntent:
    """What is about to be sent.

    Attributes:
        id: Also the client request id that goes with the call.
        item_id: The item.
        run_id: The run that pays.
        holder_id: The process that holds the item.
        reserve: Highest price, in credits.
        requested: Images asked for.
        seed: Sent along, if any.
        wire_model: The body's model.
        contract: The contract's name.
        prompt: As it is sent, where that is not the item's own.
    """

    id: str
    item_id: str
    run_id: str
    holder_id: str
    reserve: int
    requested: int
    seed: int | None
    wire_model: str
    contract: str
    prompt: str | None = None


class Begun(enum.Enum):
    """Whether a call may be sent."""

    YES = "yes"
    CLAIM_LOST = "claim lost"
    BUDGET_REACHED = "budget reached"


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image as the reply tells of it; `blocked` where the provider's filter marked it."""

    index: int
    source_url: str | None
    content_type: str | None
    revised_prompt: str | None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A readable reply with images. `credits` is what was billed, `cost_source` who says so."""

    images: Sequence[NewImage]
    credits: int
    cost_source: str
    seed: int | None = None
    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A readable reply of a language model: a text, or (None) nothing of use, for a `reason`.

    Either way it is paid. Without a text, `item_state` says where that leaves the item: CLAIMED (again) or REFUSED.
    """

    text: str | None
    credits: int
    cost_source: str
    reason: str | None = None
    item_state: ItemState = ItemState.REFUSED
    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no. `credits` is what it billed all the same."""

    reason: str
    credits: int = 0
    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unbilled:
    """Surely not billed. `item_state` says where that leaves the item: CLAIMED (again), PLANNED or FAILED."""

    reason: str
    item_state: ItemState
    http_status: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, and no readable answer came."""

    reason: str
    http_status: int | None = None
    request_id: str | None = None


Outcome = Answered | Rewritten | Refused | Unbilled | Unknown


def begin(connection: Connection, intent: CallIntent) -> Begun:
    """Record the intent and reserve its highest price: must be committed before the call is sent.

    The claim and the budget are checked by the statements that use them, so neither can change in between. It may be
    run again with the same intent, which is then begun already.
    """
    now = datetime.now(UTC)
    mine = sa.and_(items.c.id == intent.item_id, items.c.holder_id == intent.holder_id)
    taken = connection.execute(
        sa.update(items)
        .where(mine, items.c.state == ItemState.CLAIMED)
        .values(state=ItemState.SENT, reason=None, updated_at=now)
    )
    if taken.rowcount != 1:
        # A commit that broke off may have been one: this very intent is begun once, however often it is written.
        begun = sa.select(calls.c.outcome).where(calls.c.id == intent.id)
        return Begun.YES if connection.scalar(begun) == CallOutcome.SENT else Begun.CLAIM_LOST
    within = sa.or_(runs.c.budget.is_(None), runs.c.reserved + runs.c.spent + intent.reserve <= runs.c.budget)
    paid = connection.execute(
        sa.update(runs).where(runs.c.id == intent.run_id, within).values(reserved=runs.c.reserved + intent.reserve)
    )
    if paid.rowcount != 1:
        connection.execute(sa.update(items).where(mine).values(state=ItemState.CLAIMED))
        return Begun.BUDGET_REACHED
    number = sa.select(sa.func.coalesce(sa.func.max(calls.c.number), 0) + 1).where(calls.c.item_id == intent.item_id)
    connection.execute(
        sa.insert(calls).values(
            id=intent.id,
            item_id=intent.item_id,
            number=number.scalar_subquery(),
            run_id=intent.run_id,
            holder_id=intent.holder_id,
            outcome=CallOutcome.SENT,
            reserved=intent.reserve,
            requested=intent.requested,
            seed=None if intent.seed is None else str(intent.seed),
            wire_model=intent.wire_model,
            contract=intent.contract,
            prompt=intent.prompt,
            sent_at=now,
        )
    )
    return Begun.YES


def settle(connection: Connection, call_id: str, outcome: Outcome) -> bool:
    """Record what became of a call, its money and its item, all at once.

    Returns:
        False if the call is unknown to the ledger or has a final outcome already: a reply is recorded once.
    """
    now = datetime.now(UTC)
    # Locked (where the database has row locks): a late reply and its replay by another process count once.
    call = connection.execute(sa.select(calls).where(calls.c.id == call_id).with_for_update()).one_or_none()
    if call is None or call.outcome not in (CallOutcome.SENT, CallOutcome.UNKNOWN):
        return False
    if isinstance(outcome, Unknown):
        _finish(connection, call, CallOutcome.UNKNOWN, outcome, now)
        _move_item(connection, call, ItemState.UNKNOWN, outcome.reason, now)
        return True
    if isinstance(outcome, Answered):
        settled, state, reason = outcome.credits, ItemState.GENERATED, None
        _finish(connection, call, CallOutcome.ANSWERED, outcome, now, billed=True, settled=settled)
        _add_images(connection, call, outcome.images)
    elif isinstance(outcome, Rewritten):
        settled, reason = outcome.credits, outcome.reason
        state = outcome.item_state if outcome.text is None else ItemState.DELIVERED
        _finish(connection, call, CallOutcome.ANSWERED, outcome, now, billed=settled > 0, settled=settled)
        if outcome.text is not None:
            _add_text(connection, call, outcome.text, now)
    elif isinstance(outcome, Refused):
        settled, state, reason = outcome.credits, ItemState.REFUSED, outcome.reason
        _finish(connection, call, CallOutcome.REFUSED, outcome, now, billed=settled > 0, settled=settled)
    else:
        settled, state, reason = 0, outcome.item_state, outcome.reason
        _finish(connection, call, CallOutcome.UNBILLED, outcome, now, billed=False, settled=0)
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == call.run_id)
        .values(reserved=runs.c.reserved - call.reserved, spent=runs.c.spent + settled)
    )
    _move_item(connection, call, state, reason, now)
    if state is ItemState.GENERATED:
        settle_items(connection, [call.item_id])
    return True


def _finish(
    connection: Connection,
    call: sa.Row[tuple[object, ...]],
    outcome: CallOutcome,
    told: Outcome,
    now: datetime,
    *,
    billed: bool | None = None,
    settled: int | None = None,
) -> None:
    values: dict[str, object] = {
        "outcome": outcome,
        "billed": billed,
        "settled": settled,
        "reason": getattr(told, "reason", None),
        "http_status": told.http_status,
        "request_id": told.request_id,
        "inference_id": getattr(told, "inference_id", None),
        "ended_at": now,
    }
    if isinstance(told, Answered):
        values |= {"returned": len(told.images), "cost_source": told.cost_source}
        if told.seed is not None and call.seed is None:
            values["seed"] = str(told.seed)
    elif isinstance(told, Rewritten):
        values |= {"returned": int(told.text is not None), "cost_source": told.cost_source}
    elif settled:
        values["cost_source"] = "reply"
    connection.execute(sa.update(calls).where(calls.c.id == call.id).values(**values))


def _add_images(connection: Connection, call: sa.Row[tuple[object, ...]], new: Sequence[NewImage]) -> None:
    if not new:  # known to be billed, but there is nothing to fetch
        return
    connection.execute(
        sa.insert(images),
        [
            {
                "call_id": call.id,
                "idx": image.index,
                "item_id": call.item_id,
                "state": ImageState.QUARANTINED if image.blocked else ImageState.PENDING,
                "reason": image.blocked,
                "source_url": image.source_url,
                "content_type": image.content_type,
                "revised_prompt": image.revised_prompt,
            }
            for image in new
        ],
    )


def _add_text(connection: Connection, call: sa.Row[tuple[object, ...]], text: str, now: datetime) -> None:
    """Keep the first text of a rewrite: the images that were bought by it go on belonging to it."""
    row = {"item_id": call.item_id, "call_id": call.id, "text": text, "created_at": now}
    connection.execute(insert_new(connection, rewrites), [row])


def _move_item(
    connection: Connection, call: sa.Row[tuple[object, ...]], state: ItemState, reason: str | None, now: datetime
) -> None:
    """Move the item along, unless somebody has taken it up again since this call was sent.

    A late reply of an earlier call leaves an item to a newer call that is in flight; its images are kept and delivered
    all the same, since they are paid. And an item that has images or a text once is never to be bought again, however a
    newer call ends.
    """
    newer = sa.exists().where(calls.c.item_id == call.item_id, calls.c.number > call.number)
    has_images = sa.exists().where(images.c.item_id == call.item_id)
    has_text = sa.exists().where(rewrites.c.item_id == call.item_id)
    if state is ItemState.GENERATED:
        movable = sa.not_(sa.and_(items.c.state == ItemState.SENT, newer))
    else:
        movable = sa.and_(items.c.state.in_((ItemState.SENT, ItemState.UNKNOWN)), ~newer)
    if state is ItemState.CLAIMED:
        # Where the sender was declared dead meanwhile, nobody holds the item any more: it cannot stay claimed.
        still_held = items.c.holder_id == call.holder_id
        next_state: sa.ColumnElement[str] = sa.case((still_held, ItemState.CLAIMED.value), else_=resting_state())
    elif state in (ItemState.PLANNED, ItemState.FAILED):
        next_state = resting_state(state)
    else:
        next_state = sa.literal(state.value)
    connection.execute(
        sa.update(items)
        .where(items.c.id == call.item_id, movable)
        .values(
            state=sa.case(
                (has_images, ItemState.GENERATED.value), (has_text, ItemState.DELIVERED.value), else_=next_state
            ),
            reason=sa.case((sa.or_(has_images, has_text), None), else_=sa.literal(reason, items.c.reason.type)),
            updated_at=now,
        )
    )
