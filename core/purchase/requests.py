"""Paid requests: what is sent for an item, and what an answer to it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..ledger import CallIntent, ClaimedItem
from ..providers import ImageClient, ImageRequest, RawReply
from ..providers.errors import ApiError
from .decision import Decision, classify_error, classify_reply


class PaidRequest(Protocol):
    """A request for one item. An answer may change it: then the next send asks in another way."""

    @property
    def item(self) -> ClaimedItem:
        """The item to buy."""

    def intent(self, call_id: str, run_id: str, worker_id: str) -> CallIntent:
        """Describe the next send, with its highest price."""

    def send(self, client: ImageClient, intent: CallIntent) -> RawReply:
        """Send it."""

    def classify(self, answer: RawReply | ApiError) -> Decision:
        """Decide what the answer means."""


@dataclass(frozen=True, slots=True)
class PaidImageRequest:
    """A request for the images of an item.

    Attributes:
        prompt: The rewritten prompt, where the item's own is not sent.
    """

    item: ClaimedItem
    request: ImageRequest
    prompt: str | None = None
    trust_unbilled_5xx: bool = False

    def intent(self, call_id: str, run_id: str, worker_id: str) -> CallIntent:
        return CallIntent(
            id=call_id,
            item_id=self.item.id,
            run_id=run_id,
            worker_id=worker_id,
            reserve=self.request.price_high,
            requested=self.request.num_images,
            seed=self.request.seed(self.item.id),
            wire_model=self.request.model.wire_model,
            contract=self.request.model.contract_name,
            prompt=self.prompt,
        )

    def send(self, client: ImageClient, intent: CallIntent) -> RawReply:
        return client.ask(self.request, intent.id, seed=intent.seed)

    def classify(self, answer: RawReply | ApiError) -> Decision:
        if isinstance(answer, ApiError):
            return classify_error(answer, trust_unbilled_5xx=self.trust_unbilled_5xx)
        return classify_reply(
            answer,
            list_price=self.request.price,
            price=self.request.model.spec.price,
            trust_unbilled_5xx=self.trust_unbilled_5xx,
        )
