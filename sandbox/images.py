"""`POST /v1/images/generations`: requests are checked against the contract of their model, replies have its format."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.aimlapi.spec import ResolvedModel
from .error_bodies import Failure, invalid_payload, unknown_model
from .faults import Base64Reply, CallFault, Endpoint, WithdrawnModel
from .inputs import Received, receive
from .paid_endpoint import Job, PaidEndpoint
from .pictures import PictureSpec
from .reply_formats import Generation, format_reply
from .state import SandboxState
from .validation import Accepted, check_body


@dataclass(frozen=True)
class _ImageJob(Job):
    model: str
    resolved: ResolvedModel
    accepted: Accepted
    seed: int
    credits_each: int
    base64: bool = False
    data_uri: bool = False
    inputs: tuple[Received, ...] = ()

    @property
    def prompt(self) -> str:  # type: ignore[override]
        return self.accepted.prompt

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.accepted.count

    def apply(self, fault: CallFault) -> Job | Failure:
        if isinstance(fault, Base64Reply):
            return replace(self, base64=True, data_uri=fault.data_uri)
        if isinstance(fault, WithdrawnModel):
            return unknown_model(self.model)
        return self

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        width, height = self.accepted.width, self.accepted.height
        images = [
            state.images.add(PictureSpec(self.model, self.prompt, self.seed, index, width, height, self.inputs))
            for index in range(returned)
        ]
        generation = Generation(
            model=self.model,
            prompt=self.prompt,
            seed=self.seed,
            fields=self.accepted.fields,
            images=images,
            credits=credits_,
            base64=self.base64,
            data_uri=self.data_uri,
        )
        return await format_reply(self.resolved.contract.reply, state, generation)


def _wants_base64(fields: Mapping[str, Any]) -> bool:
    return fields.get("convert_base64_to_url") is False or fields.get("response_format") == "b64_json"


class ImageGenerations(PaidEndpoint):
    """The endpoint; requests are validated from the model registry alone."""

    endpoint: Endpoint = "images"

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body against the contract of its model."""
        state = self._state
        model = body["model"]
        resolved = state.model(model)
        if resolved is None:
            return unknown_model(model)
        accepted = check_body(body, resolved)
        if isinstance(accepted, list):
            return invalid_payload(accepted)
        inputs = receive(accepted.fields)
        if isinstance(inputs, list):
            return invalid_payload(inputs)
        seed = accepted.fields.get("seed")
        if seed is None:
            # As with the API, two calls without a seed give two pictures. Everything else here is deterministic.
            seed = random.randrange(1, 2**32)  # noqa: S311
        price = state.stock.credits_each(resolved.spec, accepted.width, accepted.height, accepted.prompt)
        in_base64 = _wants_base64(accepted.fields)
        base64_uri = state.options.base64_data_uri
        return _ImageJob(model, resolved, accepted, seed, price, in_base64, base64_uri, inputs)
