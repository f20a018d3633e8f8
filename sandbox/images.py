"""Requests for images: checked against the contract of their model; and the AI/ML API's endpoint for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ..core.providers.common_parameters import PICTURES
from ..core.providers.spec import ResolvedModel
from .error_bodies import Failure, invalid_payload, unknown_model
from .faults import Base64Reply, CallFault, Endpoint, WithdrawnModel
from .image_cache import CachedImage
from .inputs import Came, Distant, Received, fetch, receive
from .paid_endpoint import Job, PaidEndpoint
from .pictures import PictureSpec
from .reply_formats import Generation, format_reply
from .state import SandboxState
from .validation import Accepted, check_body


@dataclass(frozen=True)
class ImageJob(Job):
    """A valid request for images.

    Attributes:
        resolved: The model, and the contract that the request fits.
        accepted: The request with its defaults.
        seed: The seed that was sent, or one that was drawn.
        inputs: The pictures that came with it.
    """

    model: str
    resolved: ResolvedModel
    accepted: Accepted
    seed: int
    credits_each: int
    inputs: Came = ()

    @classmethod
    def of(
        cls, state: SandboxState, model: str, resolved: ResolvedModel | None, body: Mapping[str, Any]
    ) -> Self | Failure:
        """Check a body against the contract of its model.

        Args:
            state: What the sandbox sells, and at what price.
            model: The model's name as it was sent.
            resolved: The model of that name, if there is one.
            body: The prompt, and the fields of the contract.
        """
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
        return cls(model, resolved, accepted, seed, price, inputs)

    @property
    def prompt(self) -> str:  # type: ignore[override]
        """The prompt."""
        return self.accepted.prompt

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many images were asked for."""
        return self.accepted.count

    @property
    def input_hashes(self) -> tuple[str, ...]:
        """SHA-256 of each picture that came with it."""
        return tuple(one.sha256 for one in self.inputs if isinstance(one, Received))

    async def fetched(self) -> Job | Failure:
        """The job with the pictures that are at addresses; one that cannot be had is an error of the request."""
        if not any(isinstance(one, Distant) for one in self.inputs):
            return self
        inputs = await asyncio.to_thread(fetch, self.inputs)
        if isinstance(inputs, Distant):
            return Failure(400, f"Failed to download the image of {inputs.field} from {inputs.url}")
        return replace(self, inputs=inputs)

    def apply(self, fault: CallFault) -> Job | Failure:
        """A model that is withdrawn is unknown."""
        return unknown_model(self.model) if isinstance(fault, WithdrawnModel) else self

    def pictures(self, state: SandboxState, returned: int) -> list[CachedImage]:
        """The images of the reply."""
        width, height = self.accepted.width, self.accepted.height
        inputs = tuple(one for one in self.inputs if isinstance(one, Received))
        return [
            state.images.add(PictureSpec(self.model, self.prompt, self.seed, index, width, height, inputs))
            for index in range(returned)
        ]


@dataclass(frozen=True)
class _AimlapiJob(ImageJob):
    base64: bool = False
    data_uri: bool = False

    def apply(self, fault: CallFault) -> Job | Failure:
        if isinstance(fault, Base64Reply):
            return replace(self, base64=True, data_uri=fault.data_uri)
        return super().apply(fault)

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        generation = Generation(
            model=self.model,
            prompt=self.prompt,
            seed=self.seed,
            fields=self.accepted.fields,
            images=self.pictures(state, returned),
            credits=credits_,
            base64=self.base64,
            data_uri=self.data_uri,
        )
        return await format_reply(self.resolved.contract.reply, state, generation)


def _wants_base64(fields: Mapping[str, Any]) -> bool:
    return fields.get("convert_base64_to_url") is False or fields.get("response_format") == "b64_json"


class ImageGenerations(PaidEndpoint):
    """`POST /v1/images/generations` of the AI/ML API; requests are validated from the model registry alone."""

    endpoint: Endpoint = "images"

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body against the contract of its model."""
        state = self._state
        resolved = state.model(body["model"])
        if resolved is not None and resolved.contract.inputs.by == "form":
            # They are taken as files of a form, elsewhere; here they are unknown, and ignored like all that is.
            body = {name: value for name, value in body.items() if name not in PICTURES}
        job = _AimlapiJob.of(state, body["model"], resolved, body)
        if isinstance(job, Failure):
            return job
        return replace(job, base64=_wants_base64(job.accepted.fields), data_uri=state.options.base64_data_uri)
