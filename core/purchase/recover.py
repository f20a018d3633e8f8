"""What a killed process left in the spool, recorded before anything new is bought."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..aimlapi import RawReply, list_price
from ..aimlapi.chat_models import ChatModel, resolve_chat_model
from ..aimlapi.errors import ApiError
from ..errors import BadInput
from ..ledger import CallOutcome, ItemKind, Ledger, Outcome
from ..ledger.schema import calls, items, workers
from .decision import classify_error, classify_reply
from .replies import ReplySpool
from .rewrite import classify_rewrite


def recover_replies(ledger: Ledger, replies: ReplySpool) -> int:
    """Record the replies of dead processes, and clear away those that are dealt with.

    Replies of processes that are alive are left to them.

    Returns:
        Replies that were recorded now.
    """
    recorded = 0
    for call_id in replies.call_ids():
        call = _call(ledger, call_id)
        if call is None or call.alive:
            continue
        raw = replies.load(call_id)
        if raw is not None and call.open:
            recorded += ledger.calls.settle(call_id, _outcome(raw, call)).recorded
        if not ledger.images.pending_calls([call_id]):
            replies.delete(call_id)
    return recorded


def _outcome(raw: RawReply, call: sa.Row[Any]) -> Outcome:
    if call.kind != ItemKind.REWRITE:
        return classify_reply(raw, list_price=list_price(call.model, call.requested)).outcome
    limit, model = int(call.parameters["limit"]), _chat_model(call.model)
    try:
        return classify_rewrite(raw, limit=limit, model=model, assumed=call.reserved)[0]
    except ApiError as error:
        return classify_error(error).outcome


def _call(ledger: Ledger, call_id: str) -> sa.Row[Any] | None:
    """Outcome, item and model of a call, and whether the process that sent it still works on it."""
    alive = sa.and_(workers.c.ended_at.is_(None), workers.c.id != ledger.worker.id)
    query = (
        sa.select(
            # Also what only the provider's log knew of until now.
            sa.or_(
                calls.c.outcome.in_((CallOutcome.SENT, CallOutcome.UNKNOWN)),
                sa.and_(calls.c.outcome == CallOutcome.ANSWERED, calls.c.returned == 0),
            ).label("open"),
            calls.c.requested,
            calls.c.reserved,
            items.c.kind,
            items.c.model,
            items.c.parameters,
            sa.func.coalesce(alive, sa.false()).label("alive"),
        )
        .join(items, items.c.id == calls.c.item_id)
        .outerjoin(workers, workers.c.id == calls.c.holder_id)
        .where(calls.c.id == call_id)
    )
    with ledger.read() as connection:
        return connection.execute(query).one_or_none()


def _chat_model(model: str) -> ChatModel | None:
    try:
        return resolve_chat_model(model)
    except BadInput:
        return None
