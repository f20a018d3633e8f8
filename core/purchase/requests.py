"""Paid requests: what is sent for an item, and what an answer to it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..inputs import InputShelf
from ..ledger import CallIntent, ClaimedItem
from ..providers import ImageClient, ImageRequest, RawReply, Recovery, ResolvedModel
from ..providers.errors import ApiError
from ..rewrite import no_second_rewriting
from .decision import Decision, classify_error, classify_reply


class PaidRequest(Protocol):
    """A request for one item. An answer may change it: then the next send asks in another way."""

    @property
    def item(self) -> ClaimedItem:
        """The item to buy."""

    def intent(self, call_id: str, run_id: str, worker_id: str) -> CallIntent:
        """Describe the next send, with its highest price."""

    @property
    def provider(self) -> str | None:
        """Whom it is sent to; None for that of the run's credentials."""

    def promise(self, client: ImageClient, intent: CallIntent) -> Recovery | None:
        """What has to be on the ledger so that the answer can be asked for once more; None if it cannot."""

    def send(self, client: ImageClient, intent: CallIntent, on_job: Callable[[Recovery], object]) -> RawReply:
        """Send it.

        Args:
            on_job: Told of the provider's id for the call before anything is asked about it.
        """

    def recover(self, client: ImageClient, intent: CallIntent, recovery: Recovery) -> RawReply:
        """Ask once more for the answer of what was sent."""

    def classify(self, answer: RawReply | ApiError) -> Decision:
        """Decide what the answer means."""


def make_request(
    model: ResolvedModel,
    prompt: str,
    parameters: Mapping[str, Any],
    of_run: Mapping[str, Any],
    *,
    rewritten: bool,
) -> ImageRequest:
    """The request for an item: the same one each time.

    Args:
        parameters: Of the item.
        of_run: The run's parameters; those of the wire form are not in the items.
        rewritten: Whether the prompt was rewritten: then the provider does not do it once more.
    """
    fields = model.contract.fields
    wire = {name: value for name, value in of_run.items() if name in fields and not fields[name].identity}
    own = {**wire, **parameters}
    return ImageRequest.build(model, prompt, {**no_second_rewriting(model), **own} if rewritten else own)


def filled(request: ImageRequest, inputs: InputShelf, client: ImageClient) -> ImageRequest:
    """A request with the pictures that it names, as a client sends it; see `InputShelf.filled`."""
    same_bytes = client.provider.contract.recover == "key"
    pictures = inputs.filled(request.model, request.parameters, same_bytes=same_bytes)
    return replace(request, parameters={**request.parameters, **pictures})


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
            expected=self.request.price,
        )

    @property
    def provider(self) -> str:
        return self.request.model.spec.provider

    def promise(self, client: ImageClient, intent: CallIntent) -> Recovery | None:
        return client.promise(self.request, intent.id, seed=intent.seed)

    def send(self, client: ImageClient, intent: CallIntent, on_job: Callable[[Recovery], object]) -> RawReply:
        return client.ask(self.request, intent.id, seed=intent.seed, on_job=on_job)

    def recover(self, client: ImageClient, intent: CallIntent, recovery: Recovery) -> RawReply:
        return client.recover(recovery, intent.id, self.request, seed=intent.seed)

    def classify(self, answer: RawReply | ApiError) -> Decision:
        if isinstance(answer, ApiError):
            return classify_error(answer, trust_unbilled_5xx=self.trust_unbilled_5xx)
        return classify_reply(
            answer,
            list_price=self.request.price,
            price=self.request.model.spec.price,
            trust_unbilled_5xx=self.trust_unbilled_5xx,
        )
