"""Buying one item: claim held → reserve → send → record → settle. The only caller of the paid endpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import BadInput, ImagenError
from ..files import SpoolUnavailable
from ..inputs import InputShelf
from ..ledger import (
    Answered,
    BeginResult,
    CallIntent,
    ClaimedItem,
    ImageTask,
    ItemState,
    Ledger,
    LedgerUnavailable,
    Period,
    Refused,
    Rewritten,
    Unbilled,
    Unknown,
    new_call_id,
)
from ..limits import (
    FORBIDDEN,
    Backoff,
    BalanceGuard,
    CallLimiter,
    CircuitBreaker,
    HealthGate,
    NothingSucceeds,
    StopReason,
    StopSignal,
)
from ..providers import Clients, ImageClient, RawReply, Recovery, ResolvedModel
from ..providers.errors import ApiError
from ..request import Policy, RewriteFallback
from ..storage import StoreUnavailable
from ..values import content_references
from .decision import Decision, NextStep, Verdict
from .replies import ReplySpool
from .requests import PaidImageRequest, PaidRequest, filled, make_request

_LONGEST_CALL = 240.0
_BUDGET_PAUSE = 0.3
_AWAY_PAUSE = 0.5

_NO_TEXT = frozenset({ItemState.REFUSED, ItemState.LOST, ItemState.FAILED, ItemState.UNKNOWN, ItemState.ERASED})
"""States of a rewrite that this run leaves without a text. What is planned was not come to yet: a halted run."""


class Purchaser:
    """Buys items for one run. Thread-safe: `buy` runs in as many threads as there are calls in flight.

    Args:
        gate: Waits while the store does not work; None where images go nowhere yet.
        spool_gate: Waits while the spool is full or over its cap.
        account: The provider that is bought from; None where no other could take its place.
        balance: Tells an empty account from a 403 about one request; one for all calls of the account.
        calls: Pauses the purchase while no call succeeds; None to go on whatever happens.
        pictures: The same for what is delivered of them. Whoever is given the images reports on them.
        parameters: The run's parameters; those of the wire form are not in the items.
        inputs: Has the pictures that go into requests.
        policy: Tries, the longest wait, and what a 5xx and a missing text mean.
        on_images: Told of what was bought as soon as it is recorded.
    """

    def __init__(
        self,
        *,
        client: ImageClient | Clients,
        ledger: Ledger,
        replies: ReplySpool,
        limiter: CallLimiter,
        halt: StopSignal,
        run_id: str,
        model: ResolvedModel,
        parameters: Mapping[str, Any],
        account: str | None = None,
        gate: HealthGate | None = None,
        spool_gate: HealthGate | None = None,
        balance: BalanceGuard | None = None,
        calls: CircuitBreaker | None = None,
        pictures: CircuitBreaker | None = None,
        policy: Policy | None = None,
        backoff: Backoff | None = None,
        inputs: InputShelf | None = None,
        on_images: Callable[[Sequence[ImageTask]], None] | None = None,
    ) -> None:
        self._clients = client if isinstance(client, Clients) else Clients(client)
        self._ledger = ledger
        self._replies = replies
        self._limiter = limiter
        self._gates = [
            (gate, reason)
            for gate, reason in ((gate, StopReason.STORE), (spool_gate, StopReason.SPOOL))
            if gate is not None
        ]
        self._store_gate, self._spool_gate = gate, spool_gate
        self._balance = balance or BalanceGuard(self._clients.main.balance)
        self._circuits = [
            (circuit, reason)
            for circuit, reason in ((calls, StopReason.CALLS), (pictures, StopReason.PICTURES))
            if circuit is not None
        ]
        self._calls = calls
        self._pictures = pictures
        self._halt = halt
        self._run_id = run_id
        self._model = model
        self._account = account
        self._parameters = parameters
        self._policy = policy or Policy()
        self._backoff = backoff or Backoff()
        self._inputs = inputs
        self._on_images = on_images
        self._origins: dict[str, str] = {}

    def buy(self, item: ClaimedItem) -> None:
        """Buy an item that this process has claimed. The ledger records the outcome.

        An item that is not bought for a reason of the run (halted, budget, store away) stays claimed, for the caller
        to release.

        Raises:
            LedgerUnavailable: The ledger does not answer. A reply that came is in the spool.
        """
        try:
            request = self._request(item)
        except BadInput as error:
            self._ledger.items.fail(item.id, str(error))
        else:
            if request is not None:
                self.purchase(request)

    def purchase(self, request: PaidRequest) -> None:
        """Send a request until its item is bought, or cannot be; see `buy`."""
        number = 0
        while True:
            last = number + 1 == self._policy.tries
            decision = self._send_once(request, last=last)
            if decision is None or decision.step is NextStep.DONE:
                return
            if decision.step is not NextStep.RETRY_LATER:
                continue
            number += 1
            if last:
                self._stop(decision)
                return
            if self._halt.sleep(self._backoff.delay(number, decision.retry_after)):
                return

    def _stop(self, decision: Decision) -> None:
        if decision.stop is not None:
            self._halt.set(decision.stop, getattr(decision.outcome, "reason", ""), account=self._account)

    def _request(self, item: ClaimedItem) -> PaidImageRequest | None:
        """How to ask for an item; None while the text for it is not there."""
        model = self._model
        text = self._text(item)
        if text is None:
            return None
        request = make_request(model, text, item.parameters, self._parameters, rewritten=item.rewrite is not None)
        rewritten = item.rewrite.text if item.rewrite is not None else None
        client = self._clients.of(model.spec.provider)
        trust = self._policy.trust_unbilled_5xx or client.provider.contract.bills_on_5xx == "no"
        return PaidImageRequest(item, request, rewritten, trust)

    def _with_pictures(self, paid: PaidRequest, client: ImageClient) -> PaidRequest | None:
        """A request as it is sent, with the pictures that it names: made for each send, for addresses do not live long.

        Returns:
            None where the run was halted meanwhile, or a picture is gone or cannot be sent: then the item has failed.
        """
        if not isinstance(paid, PaidImageRequest) or not content_references(paid.request.parameters):
            return paid
        if self._inputs is None:
            self._ledger.items.fail(paid.item.id, "the pictures that go into the request are not at hand here")
            return None
        while True:
            try:
                return replace(paid, request=filled(paid.request, self._inputs, client))
            except StoreUnavailable as error:
                if self._store_gate is not None:
                    self._store_gate.record_failure(error)
                if not self._store_works() or self._halt.sleep(_AWAY_PAUSE):
                    return None
            except BadInput as error:
                self._ledger.items.fail(paid.item.id, str(error))
                return None

    def _text(self, item: ClaimedItem) -> str | None:
        if item.rewrite is None:
            return item.prompt
        if item.rewrite.text is not None:
            return item.rewrite.text
        if item.rewrite.state not in _NO_TEXT:
            return None
        if self._policy.rewrite_fallback is RewriteFallback.KEEP:
            return item.prompt
        raise BadInput(f"no rewritten prompt ({item.rewrite.state}): {item.rewrite.reason}")

    def _send_once(self, request: PaidRequest, *, last: bool) -> Decision | None:
        """Send once and record. None if nothing was sent."""
        with self._limiter.slot() as may_send:
            if not may_send or not self._store_works():
                return None
            client = self._client_for(request)
            call_id = new_call_id()
            if not self._may_go_ahead(call_id):
                return None
            decision = None
            sent_at = time.monotonic()
            try:
                ready = self._with_pictures(request, client)
                if ready is None:
                    return None
                request = ready
                intent = self._intent(call_id, request, client)
                if not self._begin(intent):
                    return None
                sent_at = time.monotonic()
                answered = self._send(client, request, intent)
                decision = self._classify_403(intent, self._tell_limiter(answered, sent_at), sent_at)
            finally:
                self._tell_circuits(call_id, decision, sent_at)
            if decision.step is NextStep.DONE:
                # Before the slot is free for the next one, and before the outcome is recorded.
                self._stop(decision)
        images: Sequence[ImageTask] = ()
        try:
            images, decision = self._record(intent, decision, last=last)
        finally:
            if self._pictures is not None and (not images or self._on_images is None):
                self._pictures.ended(intent.id)
        if images and self._on_images is not None:
            self._on_images(images)
        return decision

    def _may_go_ahead(self, call_id: str) -> bool:
        """Wait while nothing succeeds; without a success within the patience, stop the run."""
        entered: list[CircuitBreaker] = []
        for circuit, reason in self._circuits:
            try:
                if circuit.enter(call_id, lambda: self._halt.is_set):
                    entered.append(circuit)
                    continue
            except NothingSucceeds as error:
                self._halt.set(reason, str(error), account=self._account)
            for other in entered:
                other.ended(call_id)
            return False
        return True

    def _tell_circuits(self, call_id: str, decision: Decision | None, sent_at: float) -> None:
        """Report a call that is over. Its pictures are still to come, if it has any."""
        verdict = decision.verdict if decision is not None else Verdict.NOTHING
        if self._calls is not None:
            if verdict is Verdict.SUCCESS:
                self._calls.succeeded(call_id, sent_at)
            elif verdict is Verdict.FAILURE and decision is not None:
                self._calls.failed(call_id, getattr(decision.outcome, "reason", None) or "no reason given")
            else:
                self._calls.ended(call_id)
        with_images = decision is not None and isinstance(decision.outcome, Answered) and decision.outcome.images
        if self._pictures is not None and not with_images:
            self._pictures.ended(call_id)

    def _begin(self, intent: CallIntent) -> bool:
        """Commit the intent, once every budget covers it.

        A budget is reached when what is in flight is reserved at its highest price. Most calls cost less, or nothing:
        the run ends only when no call that is in flight could leave enough for this one.
        """
        deadline = time.monotonic() + _LONGEST_CALL
        while True:
            begun = self._ledger.calls.begin(intent)
            if begun.period is None:
                return begun is BeginResult.YES
            may_free = time.monotonic() < deadline and self._ledger.budgets.may_free(self._run_id, begun.period)
            if not may_free:
                # Looked at once more: the last call in flight may have ended between the two questions.
                begun = self._ledger.calls.begin(intent)
                if begun.period is not None:
                    self._stop_at_budget(intent, begun.period)
                return begun is BeginResult.YES
            if self._halt.sleep(_BUDGET_PAUSE) or not self._store_works():
                return False

    def _stop_at_budget(self, intent: CallIntent, period: Period) -> None:
        """Stop the run, and say which budget it was. One for this provider alone leaves others to be bought from."""
        reached = [
            state
            for state in self._ledger.budgets.states(self._run_id)
            if state.period is period and state.provider in (None, intent.provider) and state.left < intent.reserve
        ]
        message = str(reached[0]) if reached else f"the {period}'s budget was reached"
        account = self._account if reached and reached[0].provider is not None else None
        self._halt.set(StopReason.BUDGET, message, budget=period.value, account=account)

    def _tell_limiter(self, decision: Decision, sent_at: float) -> Decision:
        """Let the limiter learn from the answer. 429s without end are a reason to stop."""
        if decision.step is not NextStep.THROTTLED:
            if not isinstance(decision.outcome, Unknown | Unbilled) or decision.outcome.http_status is not None:
                self._limiter.accepted(sent_at)
            return decision
        strikes = self._limiter.on_throttled(sent_at, decision.retry_after)
        too_long = (decision.retry_after or 0.0) > self._policy.longest_wait
        if strikes < self._policy.tries and not too_long:
            return decision
        outcome = decision.outcome
        if isinstance(outcome, Unbilled):
            outcome = replace(outcome, item_state=ItemState.PLANNED)
        return replace(decision, outcome=outcome, step=NextStep.DONE, stop=StopReason.RATE)

    def _classify_403(self, intent: CallIntent, decision: Decision, sent_at: float) -> Decision:
        """Treat a 403 as a refusal of this item until the balance guard trips; then stop the run instead."""
        outcome = decision.outcome
        if isinstance(outcome, Unknown) or outcome.http_status in (None, 429):
            return decision
        if outcome.http_status != FORBIDDEN or isinstance(outcome, Answered | Rewritten):
            self._balance.record_ok(sent_at)
            return decision
        reason = getattr(outcome, "reason", "")
        if not self._balance.record_forbidden(intent.id, intent.reserve):
            return Decision(Refused(reason, 0, outcome.http_status, None, outcome.request_id))
        stop = decision.stop or StopReason.KEY
        return Decision(Unbilled(reason, ItemState.PLANNED, outcome.http_status, outcome.request_id), stop=stop)

    def _store_works(self) -> bool:
        for gate, reason in self._gates:
            try:
                if not gate.wait(lambda: self._halt.is_set):
                    return False
            except ImagenError as error:
                self._halt.set(reason, str(error))
                return False
        return not self._halt.is_set

    def _client_for(self, request: PaidRequest) -> ImageClient:
        return self._clients.of(request.provider) if request.provider is not None else self._clients.main

    def _intent(self, call_id: str, request: PaidRequest, client: ImageClient) -> CallIntent:
        """What is about to be sent: to whom, with which key, and how its answer could be asked for once more."""
        intent = request.intent(call_id, self._run_id, self._ledger.worker.id)
        return replace(
            intent,
            provider=client.provider.name,
            origin=self._origin_of(client),
            key_fingerprint=client.fingerprint(self._ledger.id),
            recovery=request.promise(client, intent),
        )

    def _origin_of(self, client: ImageClient) -> str | None:
        name = client.provider.name
        if name not in self._origins:
            self._origins = {account.provider: account.origin for account in self._ledger.accounts}
        return self._origins.get(name)

    def _send(self, client: ImageClient, request: PaidRequest, intent: CallIntent) -> Decision:
        recovery = intent.recovery

        def remember(job: Recovery) -> None:
            nonlocal recovery
            recovery = job
            try:
                self._ledger.calls.remember(intent.id, job)
            except LedgerUnavailable as error:
                # Its result is still fetched, and kept in the spool; nothing more is bought.
                self._halt.set(StopReason.LEDGER, str(error))

        decision = self._read(request, intent, partial(request.send, client, intent, remember))
        number = 0
        while recovery is not None and isinstance(decision.outcome, Unknown) and number < self._policy.tries:
            number += 1
            if self._halt.sleep(self._backoff.delay(number, None)):
                break
            again = self._read(request, intent, partial(request.recover, client, intent, recovery))
            if not isinstance(again.outcome, Unknown | Unbilled):
                return again
        return decision

    def _read(self, request: PaidRequest, intent: CallIntent, ask: Callable[[], RawReply]) -> Decision:
        """What an answer means; it is in the spool by then, if it is one that is paid for."""
        try:
            raw = ask()
        except ApiError as error:
            return request.classify(error)
        if 200 <= raw.status < 300:
            self._keep(intent.id, raw)
        return request.classify(raw)

    def _keep(self, call_id: str, raw: RawReply) -> None:
        """Write the reply to the spool. While that cannot be done nothing more is sent, and it is tried again."""
        while True:
            try:
                self._replies.save(call_id, raw)
            except OSError as error:
                away = SpoolUnavailable(f"the spool cannot be written: {error.strerror}")
                if self._spool_gate is not None:
                    self._spool_gate.record_failure(away)
                    if self._spool_gate.within_patience and not self._halt.pause(_AWAY_PAUSE):
                        continue
                self._stop_without_spool(away)
            return

    def _flush_replies(self) -> None:
        """Flush the replies to the disk, before the ledger is told of them."""
        try:
            self._replies.flush()
        except OSError as error:
            self._stop_without_spool(SpoolUnavailable(f"the spool cannot be flushed: {error.strerror}"))

    def _stop_without_spool(self, away: SpoolUnavailable) -> None:
        """A reply goes on to the ledger from memory; nothing more is bought that could not be kept."""
        self._halt.set(StopReason.SPOOL, str(away))

    def _record(self, intent: CallIntent, decision: Decision, *, last: bool) -> tuple[Sequence[ImageTask], Decision]:
        """Record what became of a send. Returns the images that are to be delivered, and how to go on."""
        outcome = decision.outcome
        if isinstance(outcome, Unbilled) and decision.step is NextStep.RETRY_LATER and last:
            # An API that cannot be reached says nothing about the item; anything else has spent its tries.
            spent = ItemState.PLANNED if decision.stop is not None else ItemState.FAILED
            outcome = replace(outcome, item_state=spent)
        images = self._ledger.calls.settle(intent.id, outcome, after=self._flush_replies).images
        if outcome.http_status == FORBIDDEN and self._balance.is_open:
            # Those that were recorded as their items' own matter before it was clear.
            self._ledger.calls.reopen(self._balance.calls)
        if isinstance(outcome, Refused | Rewritten | Unknown):
            self._replies.delete(intent.id)
        return images, decision
