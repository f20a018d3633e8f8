"""Buying one item: claim held → reserve → send → record → settle. The only caller of the paid endpoint."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..aimlapi import AimlApiClient, ImageRequest, ResolvedModel
from ..aimlapi.errors import ApiError
from ..errors import ImagenError
from ..ledger import Begun, CallIntent, ClaimedItem, ItemState, Ledger, Refused, Unbilled, Unknown
from ..limits import Backoff, CallLimiter, Gate, Halt, HaltReason
from .replies import ReplySpool
from .verdict import Verdict, judge_error, judge_reply

__all__ = ["PurchaseSettings", "Purchaser"]


@dataclass(frozen=True, slots=True)
class PurchaseSettings:
    """How hard to try.

    Attributes:
        tries: Sends of one item that may come to nothing and surely cost nothing (429, refused connection).
        longest_wait: Longest `Retry-After` that is waited for, in seconds; a longer one ends the run.
        trust_unbilled_5xx: Take 500, 502, 503 and 504 as unbilled, as the provider's docs say, and try again.
    """

    tries: int = 8
    longest_wait: float = 300.0
    trust_unbilled_5xx: bool = False


class Purchaser:
    """Buys items for one run. Thread-safe: `buy` runs in as many threads as there are calls in flight.

    Args:
        client: Sends.
        ledger: Knows.
        replies: Keeps what was paid for.
        limiter: Bounds calls in flight.
        gate: Passes only while the store works; None where images go nowhere yet.
        halt: Stops the run.
        run_id: The run that pays.
        model: What to buy, through which contract.
        parameters: The run's parameters; those of the wire form are not in the items.
        settings: How hard to try.
        backoff: How long to wait in between.
    """

    def __init__(
        self,
        *,
        client: AimlApiClient,
        ledger: Ledger,
        replies: ReplySpool,
        limiter: CallLimiter,
        halt: Halt,
        run_id: str,
        model: ResolvedModel,
        parameters: Mapping[str, Any],
        gate: Gate | None = None,
        settings: PurchaseSettings | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._replies = replies
        self._limiter = limiter
        self._gate = gate
        self._halt = halt
        self._run_id = run_id
        self._model = model
        self._wire = {
            name: value
            for name, value in parameters.items()
            if name in model.contract.fields and not model.contract.fields[name].identity
        }
        self._settings = settings or PurchaseSettings()
        self._backoff = backoff or Backoff()

    def buy(self, item: ClaimedItem) -> None:
        """Buy an item that this process has claimed. What became of it is in the ledger.

        An item that is not bought for a reason of the run (halted, budget, store away) stays claimed, for the caller
        to release.

        Raises:
            LedgerUnavailable: The ledger does not answer. A reply that came is in the spool.
        """
        request = ImageRequest.build(self._model, item.prompt, {**self._wire, **item.parameters})
        for number in range(1, self._settings.tries + 1):
            verdict = self._send_once(item, request, last=number == self._settings.tries)
            if verdict is None or not verdict.again:
                return
            if number == self._settings.tries:
                if verdict.halt is not None:
                    self._halt.set(verdict.halt, getattr(verdict.outcome, "reason", ""))
                return
            delay = self._backoff.delay(number, verdict.retry_after)
            if verdict.crowded:
                self._limiter.cool_down(delay)
            if self._halt.sleep(delay):
                return

    def _send_once(self, item: ClaimedItem, request: ImageRequest, *, last: bool) -> Verdict | None:
        """Send once and record. None if nothing was sent."""
        with self._limiter.slot() as may_send:
            if not may_send or not self._store_works():
                return None
            intent = self._intent(item, request)
            match self._ledger.begin(intent):
                case Begun.CLAIM_LOST:
                    return None
                case Begun.BUDGET_REACHED:
                    self._halt.set(HaltReason.BUDGET, "the run's budget does not cover the next call")
                    return None
                case Begun.YES:
                    verdict = self._send(intent, request)
        return self._record(intent, verdict, last=last)

    def _store_works(self) -> bool:
        if self._gate is None:
            return True
        try:
            return self._gate.wait(lambda: self._halt.is_set) and not self._halt.is_set
        except ImagenError as error:
            self._halt.set(HaltReason.STORE, str(error))
            return False

    def _intent(self, item: ClaimedItem, request: ImageRequest) -> CallIntent:
        return CallIntent(
            id=f"pi-{uuid.uuid4().hex}",
            item_id=item.id,
            run_id=self._run_id,
            holder_id=self._ledger.holder.id,
            reserve=request.price_high,
            requested=request.num_images,
            seed=request.seed(item.id),
            wire_model=self._model.wire_model,
            contract=self._model.contract_name,
        )

    def _send(self, intent: CallIntent, request: ImageRequest) -> Verdict:
        trust = self._settings.trust_unbilled_5xx
        try:
            raw = self._client.generate(request.body(seed=intent.seed), intent.id)
        except ApiError as error:
            return judge_error(error, trust_unbilled_5xx=trust)
        if 200 <= raw.status < 300:
            try:
                self._replies.keep(intent.id, raw)
            except OSError as error:
                # The reply goes on to the ledger from memory; nothing more is bought that could not be kept.
                self._halt.set(HaltReason.STORE, f"the spool cannot be written: {error.strerror}")
        return judge_reply(raw, list_price=request.price, trust_unbilled_5xx=trust)

    def _record(self, intent: CallIntent, verdict: Verdict, *, last: bool) -> Verdict:
        outcome = verdict.outcome
        wait = verdict.retry_after or 0.0
        if isinstance(outcome, Unbilled) and verdict.again:
            if wait > self._settings.longest_wait:
                verdict = replace(verdict, again=False, halt=HaltReason.RATE)
                outcome = replace(outcome, item_state=ItemState.PLANNED)
            elif last:
                # An API that cannot be reached says nothing about the item; anything else has spent its tries.
                spent = ItemState.PLANNED if verdict.halt is not None else ItemState.FAILED
                outcome = replace(outcome, item_state=spent)
        self._ledger.settle(intent.id, outcome)
        if isinstance(outcome, Refused | Unknown):
            self._replies.drop(intent.id)
        if verdict.halt is not None and not verdict.again:
            self._halt.set(verdict.halt, getattr(outcome, "reason", ""))
        return verdict
