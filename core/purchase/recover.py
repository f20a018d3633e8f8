"""What a killed process left: replies in the spool are recorded, and lost answers asked for once more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..errors import BadInput
from ..inputs import InputShelf
from ..ledger import (
    Answered,
    ItemKind,
    ItemState,
    Ledger,
    Outcome,
    RecordedCall,
    Recoverable,
    Unbilled,
    Unknown,
)
from ..providers import Clients, ImageRequest, RawReply, known_price, list_price, load_registry
from ..providers.chat_models import ChatModel, resolve_chat_model
from ..providers.errors import ApiError
from ..storage import StoreUnavailable
from ..values import content_references
from .decision import classify_error, classify_reply
from .replies import ReplySpool
from .requests import filled, make_request
from .rewrite import classify_rewrite

_AT_ONCE = 8


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


def recover_calls(
    ledger: Ledger,
    replies: ReplySpool,
    clients: Clients,
    *,
    inputs_of: Callable[[str | None], InputShelf],
    run_id: str | None = None,
    item_ids: Sequence[str] | None = None,
) -> int:
    """Ask once more for answers that were lost, where the provider's contract allows it; nothing is billed again.

    A job is asked for its result; a request is sent again under its key. What is answered now is recorded as if it had
    been answered then. The rest stays unknown.

    Args:
        clients: With the keys that the calls were made with; another key's calls are left alone.
        inputs_of: Gives the pictures that went into requests of a run, by its destination.
        run_id: Calls for the items of this run only, whichever run sent them.

    Returns:
        Calls whose outcome is known now.
    """
    calls = ledger.calls.recoverable(run_id=run_id, item_ids=item_ids)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="imagen-recover") as pool:
        return sum(pool.map(lambda call: _recover(ledger, replies, clients, call, inputs_of), calls))


def _recover(
    ledger: Ledger,
    replies: ReplySpool,
    clients: Clients,
    call: Recoverable,
    inputs_of: Callable[[str | None], InputShelf],
) -> bool:
    client = clients.known(call.provider)
    if client is None or client.fingerprint(ledger.id) != call.key_fingerprint:
        return False
    try:
        request = _rebuilt(ledger, call)
        if client.provider.contract.recover == "key" and content_references(request.parameters):
            request = filled(request, inputs_of(ledger.runs.get(call.run_id)["destination"]), client)
        raw = client.recover(call.recovery, call.id, request, seed=int(call.seed) if call.seed is not None else None)
    except (ApiError, BadInput, StoreUnavailable):
        return False
    if 200 <= raw.status < 300:
        with contextlib.suppress(OSError):  # it goes on to the ledger from memory
            replies.save(call.id, raw)
            replies.flush()
    trusted = client.provider.contract.bills_on_5xx == "no"
    outcome = _image_outcome(raw, call.model, call.requested, call.expected, trust_unbilled_5xx=trusted)
    if isinstance(outcome, Unbilled):
        if "job" not in call.recovery:
            return False  # said of this request; the one that was lost may have been billed
        outcome = replace(outcome, item_state=ItemState.PLANNED)
    if isinstance(outcome, Unknown):
        return False
    recorded = ledger.calls.settle(call.id, outcome).recorded
    if not isinstance(outcome, Answered):
        replies.delete(call.id)
    return recorded


def _rebuilt(ledger: Ledger, call: Recoverable) -> ImageRequest:
    """The request of a call, without the pictures that it names."""
    model = load_registry().resolve(f"{call.model}@{call.contract}", allow_withdrawn=True)
    run = ledger.runs.get(call.run_id)
    return make_request(model, call.prompt, call.parameters, run["parameters"], rewritten=call.rewritten)


def _image_outcome(
    raw: RawReply, model: str, requested: int, expected: int | None, *, trust_unbilled_5xx: bool = False
) -> Outcome:
    price = known_price(model)
    return classify_reply(
        raw,
        list_price=expected if expected is not None else list_price(model, requested),
        price=price,
        trust_unbilled_5xx=trust_unbilled_5xx,
    ).outcome


def _outcome(raw: RawReply, call: RecordedCall) -> Outcome:
    if call.kind != ItemKind.REWRITE:
        return _image_outcome(raw, call.model, call.requested, call.expected)
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
