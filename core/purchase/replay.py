"""What a killed process left in the spool, recorded before anything new is bought."""

from __future__ import annotations

import sqlalchemy as sa

from ..aimlapi import load_registry
from ..errors import BadInput
from ..ledger import CallOutcome, Ledger
from ..ledger.schema import calls, holders, items
from .replies import ReplySpool
from .verdict import judge_reply

__all__ = ["replay"]


def replay(ledger: Ledger, replies: ReplySpool) -> int:
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
        if raw is not None and call.outcome in (CallOutcome.SENT, CallOutcome.UNKNOWN):
            verdict = judge_reply(raw, list_price=_list_price(call.model, call.requested))
            recorded += ledger.settle(call_id, verdict.outcome)
        if not ledger.waiting_calls([call_id]):
            replies.drop(call_id)
    return recorded


def _call(ledger: Ledger, call_id: str) -> sa.Row[tuple[str, int, str, bool]] | None:
    """Outcome and model of a call, and whether the process that sent it still works on it."""
    alive = sa.and_(holders.c.ended_at.is_(None), holders.c.id != ledger.holder.id)
    query = (
        sa.select(calls.c.outcome, calls.c.requested, items.c.model, sa.func.coalesce(alive, sa.false()).label("alive"))
        .join(items, items.c.id == calls.c.item_id)
        .outerjoin(holders, holders.c.id == calls.c.holder_id)
        .where(calls.c.id == call_id)
    )
    with ledger.read() as connection:
        return connection.execute(query).one_or_none()


def _list_price(model: str, requested: int) -> int:
    try:
        spec = load_registry().resolve(model, allow_withdrawn=True).spec
    except BadInput:
        return 0
    return spec.price.credits * requested
