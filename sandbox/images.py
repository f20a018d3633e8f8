"""`POST /v1/images/generations`, in the reply form of each model.

Forms from public captures and from the provider's documents: `images` + `seed` for google/imagen4/preview in its
contract of 2025-05; `data` + `meta` for it since 2025-11 and for the Imagen 4.0 ids; the same with `model` for the
id imagen4/preview (2026-08); `images` with pixel sizes, timings and safety flags for flux/schnell.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..core.aimlapi.registry import ResolvedModel
from .envelopes import Failure, invalid_payload, unknown_model
from .faults import Endpoint
from .gallery import Exhibit
from .house import House
from .paid import Job, PaidEndpoint, usage_of
from .pictures import PictureSpec
from .validation import Accepted, check_body

__all__ = ["ImageGenerations", "rewrite_prompt"]

_LIGHTS = ("soft morning light", "golden evening light", "cool overcast light", "warm lamp light")
_VIEWS = ("seen at eye level", "seen from slightly above", "framed closely", "set in a wide view")
_MOODS = ("calm and inviting", "playful and bright", "quiet and dreamlike", "bold and vivid")


def rewrite_prompt(prompt: str, seed: int) -> str:
    """What the provider's prompt enhancement might make of a prompt; the same every time.

    The real one may be longer than the prompt limit of a request, and so may this.
    """
    chance = random.Random(f"{seed}:{prompt.encode('utf-8', 'surrogatepass').hex()}")  # noqa: S311
    light, view, mood = (chance.choice(words) for words in (_LIGHTS, _VIEWS, _MOODS))
    return (
        f"{prompt.strip().rstrip('.')}. A detailed picture in {light}, {view}, with a shallow depth of field "
        f"that sets the subject apart from its surroundings. The mood is {mood}."
    )


@dataclass(frozen=True)
class _ImageJob(Job):
    model: str
    resolved: ResolvedModel
    accepted: Accepted
    seed: int

    @property
    def prompt(self) -> str:  # type: ignore[override]
        return self.accepted.prompt

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.accepted.count

    @property
    def credits_each(self) -> int:  # type: ignore[override]
        return self.resolved.spec.price.credits

    async def reply(self, house: House, returned: int, credits_: int) -> dict[str, Any]:
        width, height = self.accepted.width, self.accepted.height
        exhibits = [
            house.gallery.hang(PictureSpec(self.model, self.prompt, self.seed, index, width, height))
            for index in range(returned)
        ]
        form = _FORMS.get((self.resolved.spec.id, self.resolved.contract_name), _data_form)
        return await form(house, self, exhibits, credits_)


_Form: TypeAlias = Callable[[House, _ImageJob, list[Exhibit], int], Awaitable[dict[str, Any]]]


async def _data_form(house: House, job: _ImageJob, exhibits: list[Exhibit], credits_: int) -> dict[str, Any]:
    """`data` with URLs or base64, and `meta`."""
    fields = job.accepted.fields
    items = []
    for exhibit in exhibits:
        item: dict[str, Any] = {"mime_type": house.gallery.content_type}
        if fields.get("convert_base64_to_url", True):
            item |= {"b64_json": None, "url": house.url(exhibit)}
        else:
            prefix = f"data:{house.gallery.content_type};base64," if house.options.base64_data_uri else ""
            data = await house.gallery.picture(exhibit.spec)
            item |= {"b64_json": prefix + base64.b64encode(data).decode(), "url": None}
        if fields.get("enhance_prompt"):
            item["prompt"] = rewrite_prompt(job.prompt, job.seed)
        items.append(item)
    return {"data": items, "meta": usage_of(credits_)}


async def _named_data_form(house: House, job: _ImageJob, exhibits: list[Exhibit], credits_: int) -> dict[str, Any]:
    """As `_data_form`, and the model."""
    return {**await _data_form(house, job, exhibits, credits_), "model": job.model}


async def _file_form(house: House, job: _ImageJob, exhibits: list[Exhibit], _credits: int) -> dict[str, Any]:
    """`images` as files with their sizes, and the seed; no cost."""
    images = [
        {
            "url": house.url(exhibit),
            "content_type": house.gallery.content_type,
            "file_name": f"output.{house.gallery.extension}",
            "file_size": len(await house.gallery.picture(exhibit.spec)),
        }
        for exhibit in exhibits
    ]
    return {"images": images, "seed": job.seed}


async def _flux_form(house: House, job: _ImageJob, exhibits: list[Exhibit], _credits: int) -> dict[str, Any]:
    """`images` with pixel sizes, timings, the seed, safety flags and the prompt; no cost."""
    images = [
        {
            "url": house.url(exhibit),
            "width": exhibit.spec.width,
            "height": exhibit.spec.height,
            "content_type": house.gallery.content_type,
        }
        for exhibit in exhibits
    ]
    return {
        "images": images,
        "timings": {"inference": house.options.latency},
        "seed": job.seed,
        "has_nsfw_concepts": [False] * len(images),
        "prompt": job.prompt,
    }


_FORMS: Mapping[tuple[str, str], _Form] = {
    ("google/imagen4/preview", "2025-05"): _file_form,
    ("google/imagen4/preview", "2026-08"): _named_data_form,
    ("flux/schnell", "2025"): _flux_form,
}
"""Reply form by model id and contract; what is not listed answers with `_data_form`."""


class ImageGenerations(PaidEndpoint):
    """The endpoint; requests are validated from the model registry alone."""

    endpoint: Endpoint = "images"

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body against the contract of its model."""
        model = body["model"]
        resolved = self._house.model(model)
        if resolved is None:
            return unknown_model(model)
        accepted = check_body(body, resolved)
        if isinstance(accepted, list):
            return invalid_payload(accepted)
        seed = accepted.fields.get("seed")
        if seed is None:
            # As the API does, unlike everything else here: two calls without a seed give two pictures.
            seed = random.randrange(1, 2**32)  # noqa: S311
        return _ImageJob(model, resolved, accepted, seed)
