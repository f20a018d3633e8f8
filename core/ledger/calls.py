"""Paid calls: the intent to send one, and what became of it.

`begin` and `settle` are steps of a group commit: each writes many calls with the same few statements.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .budgets import Period, post, reserve
from .conditions import HAS_IMAGES, HAS_TEXT, LOG, items_and_rewrites_of_run, state_after_release
from .database import Part
from .identity import ItemKind
from .images import ImageTask, pending_images, settle_items
from .prepared import Prepared
from .schema import calls, fields, images, insert_new, items, rewrites, workers
from .states import UNSETTLED, CallOutcome, ImageState, ItemState

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class CallIntent:
    """A call that is about to be sent."""

    id: str  # also the client request id that goes with the call
    item_id: str
    run_id: str
    worker_id: str  # the worker that holds the item
    reserve: int  # highest price, in credits
    requested: int
    seed: int | None
    wire_model: str
    contract: str
    prompt: str | None = None  # as it is sent, where that is not the item's own
    provider: str | None = None
    origin: str | None = None  # the API
    key_fingerprint: str | None = None
    expected: int | None = None  # price by the price list, in credits
    recovery: Mapping[str, str] | None = None  # how its answer can be asked for once more


class BeginResult(enum.Enum):
    """Whether a call may be sent; if not, why."""

    YES = "yes"
    CLAIM_LOST = "claim lost"
    BUDGET_REACHED = "the run's budget is reached"
    DAY_BUDGET_REACHED = "the day's budget is reached"
    MONTH_BUDGET_REACHED = "the month's budget is reached"

    @property
    def period(self) -> Period | None:
        """The budget that is reached, if any."""
        return _REACHED.get(self)


_REACHED = {
    BeginResult.BUDGET_REACHED: Period.RUN,
    BeginResult.DAY_BUDGET_REACHED: Period.DAY,
    BeginResult.MONTH_BUDGET_REACHED: Period.MONTH,
}
_BEGUN = {period: begun for begun, period in _REACHED.items()}


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image of a reply; `blocked` says why if the provider's filter marked it."""

    index: int
    source_url: str | None
    content_type: str | None
    revised_prompt: str | None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A readable reply with images. `credits` is what was billed; `cost_source` names the source of that.

    Without images, the provider's log says that the call was billed, and its reply is lost; `reason` says so.
    """

    images: Sequence[NewImage]
    credits: int
    cost_source: str
    seed: int | None = None
    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A readable reply of a language model: a text, or None if it is not usable, for a `reason`.

    Both are paid. Without a text, `item_state` is the next state of the item: CLAIMED (try again) or REFUSED.
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
    """The provider refused. `credits` is what it billed nevertheless."""

    reason: str
    credits: int = 0
    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unbilled:
    """Surely not billed. `item_state` is the next state of the item: CLAIMED (try again), PLANNED or FAILED."""

    reason: str
    item_state: ItemState
    http_status: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, without a readable answer."""

    reason: str
    http_status: int | None = None
    request_id: str | None = None


Outcome = Answered | Rewritten | Refused | Unbilled | Unknown


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was recorded of a call that ended. True if anything was."""

    recorded: bool  # false if the ledger does not know the call, or its final outcome was recorded before
    images: tuple[ImageTask, ...] = ()  # the images that came with the outcome and are to be delivered

    def __bool__(self) -> bool:
        return self.recorded


NOT_RECORDED = Settlement(recorded=False)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call as the ledger has it, for whoever finds its reply."""

    is_open: bool  # whether a reply would be news
    is_alive: bool  # whether the process that sent it still works on it
    kind: ItemKind
    model: str
    parameters: Mapping[str, Any]
    requested: int
    reserved: int  # highest price, in credits
    expected: int | None  # price by the price list, in credits


@dataclass(frozen=True, slots=True)
class Recoverable:
    """A call whose answer was lost and can be asked for once more."""

    id: str
    item_id: str
    run_id: str
    provider: str
    origin: str
    key_fingerprint: str
    recovery: Mapping[str, str]
    contract: str
    seed: str | None
    model: str
    prompt: str  # as it was sent
    parameters: Mapping[str, Any]
    requested: int
    expected: int | None
    rewritten: bool


@dataclass(frozen=True, slots=True)
class Fruitless:
    """How many came to nothing since the last success, and why the latest of them did."""

    count: int
    reason: str | None


class Calls(Part):
    """The paid calls of a ledger."""

    def begin(self, intent: CallIntent) -> BeginResult:
        """Commit the intent of a call: only then may it be sent."""
        begun = self._database.write_together(record, intent)
        assert isinstance(begun, BeginResult)  # noqa: S101 - the result of an intent
        return begun

    def settle(self, call_id: str, outcome: Outcome, *, after: Callable[[], None] | None = None) -> Settlement:
        """Commit what became of a call. A reply is recorded once, whoever brings it.

        Args:
            after: Is called first, once for all that are committed together; it does not raise.
        """
        settled = self._database.write_together(record, (call_id, outcome), after=after)
        assert isinstance(settled, Settlement)  # noqa: S101 - the result of an outcome
        return settled

    def find(self, call_id: str) -> RecordedCall | None:
        """A call by its id; None if the ledger does not know it."""
        alive = sa.and_(workers.c.ended_at.is_(None), workers.c.id != self._database.worker.id)
        query = (
            sa.select(
                # A call that only the provider's log knew of can still get its reply.
                sa.or_(
                    calls.c.outcome.in_(UNSETTLED),
                    sa.and_(calls.c.outcome == CallOutcome.ANSWERED, calls.c.returned == 0),
                ),
                sa.func.coalesce(alive, sa.false()),
                items.c.kind,
                items.c.model,
                items.c.parameters,
                calls.c.requested,
                calls.c.reserved,
                calls.c.expected,
            )
            .join(items, items.c.id == calls.c.item_id)
            .outerjoin(workers, workers.c.id == calls.c.holder_id)
            .where(calls.c.id == call_id)
        )
        rows = self._rows(query)
        if not rows:
            return None
        is_open, is_alive, kind, *rest = rows[0]
        return RecordedCall(bool(is_open), bool(is_alive), ItemKind(kind), *rest)

    def remember(self, call_id: str, recovery: Mapping[str, str]) -> None:
        """Commit how the answer of a call in flight can be asked for once more."""
        self._database.write(
            lambda connection: connection.execute(
                sa.update(calls).where(calls.c.id == call_id).values(recovery=dict(recovery))
            )
        )

    def recoverable(self, *, run_id: str | None = None, item_ids: Sequence[str] | None = None) -> list[Recoverable]:
        """Calls without a known outcome whose answers can be asked for once more, the earliest first.

        If a run is named, these are the calls for its items, whichever run sent them.
        """
        query = (
            sa.select(
                *(calls.c[name] for name in ("id", "item_id", "run_id", "provider", "origin", "key_fingerprint")),
                calls.c.recovery,
                calls.c.contract,
                calls.c.seed,
                items.c.model,
                sa.func.coalesce(calls.c.prompt, items.c.prompt).label("prompt"),
                items.c.parameters,
                calls.c.requested,
                calls.c.expected,
                items.c.rewrite_id.is_not(None).label("rewritten"),
            )
            .join(items, items.c.id == calls.c.item_id)
            .where(calls.c.outcome == CallOutcome.UNKNOWN, calls.c.recovery.is_not(None))
            .order_by(calls.c.sent_at, calls.c.id)
        )
        if run_id is not None:
            query = query.where(calls.c.item_id.in_(items_and_rewrites_of_run(run_id)))
        rows = self._rows(query) if item_ids is None else self._rows_among(query, calls.c.item_id, item_ids)
        return [Recoverable(**row._mapping) for row in rows]

    def unknown(self, *, run_id: str | None = None, item_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Calls that were sent and have no known outcome, the latest first: what to ask the provider about.

        `item_state` is `unknown` if a decision is still to be made; any other state says what was decided since.
        If a run is named, these are the calls for its items, whichever run sent them.
        """
        query = (
            sa.select(
                calls.c.id.label("client_request_id"),
                *(calls.c[name] for name in ("provider", "run_id", "sent_at", "ended_at", "reserved", "http_status")),
                calls.c.request_id.label("provider_request_id"),
                calls.c.reason,
                calls.c.wire_model.label("model"),
                items.c.id.label("item_id"),
                items.c.state.label("item_state"),
                items.c.prompt,
            )
            .join(items, items.c.id == calls.c.item_id)
            .where(calls.c.outcome == CallOutcome.UNKNOWN)
        )
        if run_id is not None:
            query = query.where(calls.c.item_id.in_(items_and_rewrites_of_run(run_id)))
        rows = self._rows(query) if item_ids is None else self._rows_among(query, calls.c.item_id, item_ids)
        found = [dict(row._mapping) for row in rows]
        return sorted(found, key=lambda call: (call["sent_at"], call["client_request_id"]), reverse=True)

    def without_success(self, run_id: str) -> tuple[Fruitless, Fruitless]:
        """The calls of a run, and its images, that came to nothing since the last one that succeeded."""
        of_run = calls.c.run_id == run_id
        with_images = images.join(calls, calls.c.id == images.c.call_id)
        answers = (CallOutcome.ANSWERED, CallOutcome.REFUSED)
        return (
            self._fruitless(
                calls, calls.c.reason, of_run, calls.c.outcome.in_(answers), calls.c.outcome == CallOutcome.UNKNOWN
            ),
            self._fruitless(
                with_images,
                images.c.reason,
                of_run,
                images.c.state == ImageState.STORED,
                sa.and_(images.c.state != ImageState.STORED, images.c.reason.is_not(None)),
            ),
        )

    def _fruitless(
        self,
        table: sa.FromClause,
        reason: sa.ColumnElement[str],
        of_run: sa.ColumnElement[bool],
        good: sa.ColumnElement[bool],
        bad: sa.ColumnElement[bool],
    ) -> Fruitless:
        last = sa.select(sa.func.max(calls.c.sent_at)).select_from(table).where(of_run, good).scalar_subquery()
        since = sa.or_(last.is_(None), calls.c.sent_at > last)
        query = sa.select(reason).select_from(table).where(of_run, bad, since).order_by(calls.c.sent_at.desc())
        found = self._scalars(query)
        return Fruitless(len(found), found[0] if found else None)

    def sent_since(self, moment: datetime) -> tuple[int, int]:
        """Number of calls that this process sent since a moment and that may be billed, and what they cost."""
        mine = (calls.c.holder_id == self._database.worker.id, calls.c.sent_at >= moment)
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(calls.c.settled), 0)).where(
            *mine, calls.c.outcome != CallOutcome.UNBILLED
        )
        [(number, credits)] = self._rows(query)
        return int(number), int(credits)

    def reopen(self, call_ids: Sequence[str]) -> None:
        """Turn refusals that cost nothing and did not concern their items into unbilled calls.

        Their items are wanted as before, unless somebody has claimed them since.
        """

        def operation(connection: Connection) -> None:
            for batch in batched(call_ids):
                mine = sa.and_(calls.c.id.in_(batch), calls.c.outcome == CallOutcome.REFUSED, calls.c.settled == 0)
                of = set(connection.scalars(sa.select(calls.c.item_id).where(mine)))
                connection.execute(sa.update(calls).where(mine).values(outcome=CallOutcome.UNBILLED))
                connection.execute(
                    sa.update(items)
                    .where(items.c.id.in_(of), items.c.state == ItemState.REFUSED)
                    .values(state=state_after_release(), updated_at=datetime.now(UTC))
                )

        self._database.write(operation)


def record(connection: Connection, told: Sequence[CallIntent | tuple[str, Outcome]]) -> list[BeginResult | Settlement]:
    """Settle calls, then begin others.

    In this order, since all processes wait for the row with a run's money: it is locked from the end of `settle`, or
    the middle of `begin`, until the commit. Each statement in between is a round trip to the database.
    """
    settled = iter(settle(connection, [one for one in told if not isinstance(one, CallIntent)]))
    begun = iter(begin(connection, [one for one in told if isinstance(one, CallIntent)]))
    return [next(begun) if isinstance(one, CallIntent) else next(settled) for one in told]


def begin(connection: Connection, intents: Sequence[CallIntent]) -> list[BeginResult]:
    """Record intents and reserve their highest prices. This must be committed before the calls are sent.

    The statements that use claims and budgets also check them, so that none can change in between. A second run with
    the same intents returns YES for those that were recorded. There is a result for each intent, in order.
    """
    now = datetime.now(UTC)
    told = dict.fromkeys((intent.id for intent in intents), BeginResult.CLAIM_LOST)
    taken: list[CallIntent] = []
    for worker_id, mine in _grouped(intents, lambda intent: intent.worker_id).items():
        wanted = {intent.item_id: intent for intent in reversed(mine)}
        won = set(connection.scalars(_TAKE, {"ids": list(wanted), "worker": worker_id, "now": now}))
        taken += [intent for intent in mine if intent.item_id in won and wanted[intent.item_id] is intent]
    lost = told.keys() - {intent.id for intent in taken}
    if lost:
        # A commit that broke off may have succeeded: an intent is recorded once, however often it is written.
        told.update((call_id, BeginResult.YES) for call_id in connection.scalars(_ALREADY_SENT, {"ids": sorted(lost)}))
    paid: list[CallIntent] = []
    for (run_id, provider), mine in _grouped(taken, lambda intent: (intent.run_id, intent.provider)).items():
        reached = _reserve(connection, run_id, provider, mine, now)
        if reached:
            connection.execute(_UNTAKE, {"ids": [intent.item_id for intent in mine if intent.id in reached]})
            told.update((call_id, _BEGUN[period]) for call_id, period in reached.items())
        paid += [intent for intent in mine if intent.id not in reached]
    if paid:
        _INSERT_CALL.run(connection, [_call_row(intent, now) for intent in paid])
        told.update((intent.id, BeginResult.YES) for intent in paid)
    return [told[intent.id] for intent in intents]


def _grouped(values: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _reserve(
    connection: Connection, run_id: str, provider: str | None, intents: list[CallIntent], now: datetime
) -> dict[str, Period]:
    """Reserve the prices of all intents at once; near the end of a budget, one by one as far as it covers them.

    Returns:
        For each intent that is not covered, the budget that is reached.
    """
    if reserve(connection, run_id, provider, sum(intent.reserve for intent in intents), now) is None:
        return {}
    singly = ((intent.id, reserve(connection, run_id, provider, intent.reserve, now)) for intent in intents)
    return {call_id: period for call_id, period in singly if period is not None}


def _call_row(intent: CallIntent, now: datetime) -> dict[str, object]:
    return {
        **fields(intent, "id", "item_id", "run_id", "requested", "wire_model", "contract", "prompt"),
        **fields(intent, "provider", "origin", "key_fingerprint", "expected", "recovery"),
        "of_item": intent.item_id,
        "holder_id": intent.worker_id,
        "outcome": CallOutcome.SENT,
        "reserved": intent.reserve,
        "seed": None if intent.seed is None else str(intent.seed),
        "sent_at": now,
    }


def settle(connection: Connection, ended: Sequence[tuple[str, Outcome]]) -> list[Settlement]:
    """Record what became of calls, their money and their items, all at once. Returns what was recorded of each call."""
    done = [NOT_RECORDED] * len(ended)
    over: list[_Settled] = []
    waiting = list(enumerate(ended))
    while waiting:
        # Locked (where the database has row locks): a late reply and its replay by another process count once.
        ids = sorted({call_id for _, (call_id, _) in waiting})
        rows = {row.id: row for row in connection.execute(_OPEN_CALLS, {"ids": ids})}
        erased = _erased(connection, rows.values())
        # An item's calls act on each other: one call of an item at a time.
        round_: dict[str, _Settled] = {}
        places: dict[str, int] = {}
        later = []
        for place, (call_id, outcome) in waiting:
            call = rows.get(call_id)
            if call is None or not _says_more(call, outcome):
                continue
            if call.item_id in round_:
                later.append((place, (call_id, outcome)))
            else:
                judged = _judged(call, outcome)
                round_[call.item_id] = judged.without_words() if call.item_id in erased else judged
                places[call_id] = place
        if round_:
            _settle_round(connection, list(round_.values()))
            over += round_.values()
            images_of = pending_images(connection, [one.call.id for one in round_.values() if one.images])
            for call_id, place in places.items():
                done[place] = Settlement(recorded=True, images=tuple(images_of.get(call_id, ())))
        waiting = later
    for run_id, paid in _grouped(over, lambda one: one.call.run_id).items():
        billed = [(one.call.provider, one.call.sent_at, *one.payment) for one in paid if one.settled is not None]
        if billed:
            post(connection, run_id, billed)
    return done


def _says_more(call: sa.Row[tuple[object, ...]], told: Outcome) -> bool:
    """Whether an outcome is news. A call that was settled by the provider's log can still get its reply."""
    if call.outcome != CallOutcome.ANSWERED:
        return True
    return isinstance(told, Answered) and bool(told.images)


@dataclass(frozen=True, slots=True)
class _Settled:
    """A call, its outcome, and what follows for money and item. `settled` is None while it may be billed."""

    call: sa.Row[tuple[object, ...]]
    told: Outcome
    outcome: CallOutcome
    billed: bool | None
    settled: int | None
    item_state: ItemState
    erased: bool = False

    def without_words(self) -> _Settled:
        """The same for an item that was erased meanwhile: the money counts; texts and links are not kept."""
        told = self.told
        if isinstance(told, Answered):
            told = replace(told, images=[NewImage(image.index, None, None, None) for image in told.images])
        elif isinstance(told, Rewritten):
            told = replace(told, text=None, reason=None)
        else:
            told = replace(told, reason="")
        return replace(self, told=told, erased=True)

    @property
    def images(self) -> Sequence[NewImage]:
        return self.told.images if isinstance(self.told, Answered) else ()

    @property
    def payment(self) -> tuple[int, int]:
        """Credits to release from the reservation, and credits to add to what is spent."""
        if self.call.outcome == CallOutcome.ANSWERED:
            return 0, (self.settled or 0) - (self.call.settled or 0)
        return self.call.reserved, self.settled or 0

    @property
    def reason(self) -> str | None:
        return getattr(self.told, "reason", None)


def _erased(connection: Connection, rows: Iterable[sa.Row[tuple[object, ...]]]) -> set[str]:
    """Those items of the calls that are erased. No item in flight is erased, so only late replies are looked up."""
    late = sorted({row.item_id for row in rows if row.outcome != CallOutcome.SENT})
    return set(connection.scalars(_ERASED_ITEMS, {"ids": late})) if late else set()


def _judged(call: sa.Row[tuple[object, ...]], told: Outcome) -> _Settled:
    match told:
        case Answered():
            # Without images it comes from the log only, and does not undo what was decided about the item meanwhile.
            state = ItemState.GENERATED if told.images else ItemState.LOST
            return _Settled(call, told, CallOutcome.ANSWERED, True, told.credits, state)
        case Rewritten():
            state = told.item_state if told.text is None else ItemState.DELIVERED
            # A final answer without a text is a refusal, so that the item is refused again when a claim is released.
            outcome = CallOutcome.REFUSED if state is ItemState.REFUSED else CallOutcome.ANSWERED
            return _Settled(call, told, outcome, told.credits > 0, told.credits, state)
        case Refused():
            return _Settled(call, told, CallOutcome.REFUSED, told.credits > 0, told.credits, ItemState.REFUSED)
        case Unbilled():
            return _Settled(call, told, CallOutcome.UNBILLED, False, 0, told.item_state)
        case Unknown():
            return _Settled(call, told, CallOutcome.UNKNOWN, None, None, ItemState.UNKNOWN)


def _settle_round(connection: Connection, settled: list[_Settled]) -> None:
    now = datetime.now(UTC)
    _FINISH_CALL.run(connection, [_finished(one, now) for one in settled])
    _INSERT_IMAGE.run(connection, [_image_row(one, image) for one in settled for image in one.images])
    texts = [
        {"item_id": one.call.item_id, "call_id": one.call.id, "text": one.told.text, "created_at": now}
        for one in settled
        if isinstance(one.told, Rewritten) and one.told.text is not None
    ]
    if texts:
        # Only the first text of a rewrite is kept: images were bought with it.
        connection.execute(insert_new(connection, rewrites), texts)
    for state, moved in _grouped(settled, lambda one: one.item_state).items():
        _move_items(ItemState(state)).run(
            connection,
            [
                {
                    "item": one.call.item_id,
                    "call_number": one.call.number,
                    "call_worker": one.call.holder_id,
                    "why": one.reason,
                    "now": now,
                }
                for one in moved
            ],
        )
    # An item without images to fetch may be finished already.
    over_already = [
        one.call.item_id
        for one in settled
        if one.item_state is ItemState.GENERATED and all(image.blocked for image in one.images)
    ]
    if over_already:
        settle_items(connection, over_already)


def _finished(one: _Settled, now: datetime) -> dict[str, object]:
    call, told = one.call, one.told
    values: dict[str, object] = {
        **fields(one, "outcome", "billed", "settled", "reason"),
        **fields(told, "http_status", "request_id"),
        "inference_id": getattr(told, "inference_id", None),
        **fields(call, "returned", "cost_source", "seed"),
    }
    if isinstance(told, Answered):
        values |= {"returned": len(told.images), "cost_source": told.cost_source}
        if told.seed is not None and call.seed is None:
            values["seed"] = str(told.seed)
    elif isinstance(told, Rewritten):
        values |= {"returned": int(told.text is not None), "cost_source": told.cost_source}
    elif one.settled:
        values["cost_source"] = "reply"
    return {"call": call.id, "now": now, **{f"new_{name}": values[name] for name in _RESULT}}


def _image_row(one: _Settled, image: NewImage) -> dict[str, object]:
    state = ImageState.QUARANTINED if image.blocked else ImageState.PENDING
    return {
        "call_id": one.call.id,
        "idx": image.index,
        "item_id": one.call.item_id,
        "requested_at": one.call.sent_at,
        "state": ImageState.ERASED if one.erased else state,
        "reason": image.blocked,
        **fields(image, "source_url", "content_type", "revised_prompt"),
    }


# --- statements: built once, since building one costs more than running it --------------------------------------------


def _ids(column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam("ids", expanding=True))


_TAKE = (
    sa.update(items)
    .where(_ids(items.c.id), items.c.holder_id == sa.bindparam("worker"), items.c.state == ItemState.CLAIMED)
    .values(state=ItemState.SENT, reason=None, updated_at=sa.bindparam("now"))
    .returning(items.c.id)
)
_UNTAKE = sa.update(items).where(_ids(items.c.id)).values(state=ItemState.CLAIMED)
_ALREADY_SENT = sa.select(calls.c.id).where(_ids(calls.c.id), calls.c.outcome == CallOutcome.SENT)
_INSERT_CALL = Prepared(
    sa.insert(calls).values(
        number=sa.select(sa.func.coalesce(sa.func.max(calls.c.number), 0) + 1)
        .where(calls.c.item_id == sa.bindparam("of_item"))
        .scalar_subquery()
    )
)
_INSERT_IMAGE = Prepared(sa.insert(images))
_OF_CALL = (
    *("id", "item_id", "run_id", "number", "holder_id", "outcome", "reserved", "settled", "returned", "cost_source"),
    *("seed", "provider", "sent_at"),
)
_OPEN_CALLS = (
    sa.select(*(calls.c[name] for name in _OF_CALL))
    .where(
        _ids(calls.c.id),
        sa.or_(
            calls.c.outcome.in_(UNSETTLED),
            sa.and_(calls.c.outcome == CallOutcome.ANSWERED, calls.c.cost_source == LOG, calls.c.returned == 0),
        ),
    )
    .order_by(calls.c.id)
    .with_for_update()
)
_ERASED_ITEMS = sa.select(items.c.id).where(_ids(items.c.id), items.c.state == ItemState.ERASED)
_RESULT = (
    *("outcome", "billed", "settled", "reason", "http_status", "request_id", "inference_id"),
    *("returned", "cost_source", "seed"),
)
_FINISH_CALL = Prepared(
    sa.update(calls)
    .where(calls.c.id == sa.bindparam("call"))
    .values(ended_at=sa.bindparam("now"), **{name: sa.bindparam(f"new_{name}") for name in _RESULT})
)


@functools.cache
def _move_items(state: ItemState) -> Prepared:
    """Statement that moves items to their next state, unless they were claimed again since the call was sent.

    A late reply of an earlier call does not move an item with a newer call in flight; its images are paid, so they are
    kept and delivered. An item that has images or a text is never bought again, however a newer call ends.
    """
    newer = sa.exists().where(calls.c.item_id == items.c.id, calls.c.number > sa.bindparam("call_number"))
    if state is ItemState.GENERATED:
        movable = sa.and_(sa.not_(sa.and_(items.c.state == ItemState.SENT, newer)), items.c.state != ItemState.ERASED)
    else:
        movable = sa.and_(sa.or_(items.c.state == ItemState.SENT, items.c.state == ItemState.UNKNOWN), ~newer)
    if state is ItemState.CLAIMED:
        # If the sender was declared dead meanwhile, nobody holds the item: it cannot stay claimed.
        still_held = items.c.holder_id == sa.bindparam("call_worker")
        next_state: sa.ColumnElement[str] = sa.case((still_held, ItemState.CLAIMED.value), else_=state_after_release())
    elif state in (ItemState.PLANNED, ItemState.FAILED):
        next_state = state_after_release(state)
    else:
        next_state = sa.literal(state.value)
    return Prepared(
        sa.update(items)
        .where(items.c.id == sa.bindparam("item"), movable)
        .values(
            state=sa.case(
                (HAS_IMAGES, ItemState.GENERATED.value), (HAS_TEXT, ItemState.DELIVERED.value), else_=next_state
            ),
            reason=sa.case((sa.or_(HAS_IMAGES, HAS_TEXT), None), else_=sa.bindparam("why", type_=items.c.reason.type)),
            updated_at=sa.bindparam("now"),
        )
    )
