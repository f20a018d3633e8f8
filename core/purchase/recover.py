"""What a killed process left in the spool, recorded before anything new is bought."""

from __future__ import annotations

from ..errors import BadInput
from ..ledger import ItemKind, Ledger, Outcome, RecordedCall
from ..providers import RawReply, list_price
from ..providers.chat_models import ChatModel, resolve_chat_model
from ..providers.errors import ApiError
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
        call = ledger.calls.find(call_id)
        if call is None or call.is_alive:
            continue
        raw = replies.load(call_id)
        if raw is not None and call.is_open:
            recorded += ledger.calls.settle(call_id, _outcome(raw, call)).recorded
        if not ledger.images.pending_calls([call_id]):
            replies.delete(call_id)
    return recorded


def _outcome(raw: RawReply, call: RecordedCall) -> Outcome:
    if call.kind != ItemKind.REWRITE:
        return classify_reply(raw, list_price=list_price(call.model, call.requested)).outcome
    limit, model = int(call.parameters["limit"]), _chat_model(call.model)
    try:
        return classify_rewrite(raw, limit=limit, model=model, assumed=call.reserved)[0]
    except ApiError as error:
        return classify_error(error).outcome


def _chat_model(model: str) -> ChatModel | None:
    try:
        return resolve_chat_model(model)
    except BadInput:
        return None
