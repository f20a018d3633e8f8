"""The formats in which models reply, each with its JSON schema.

From public captures and the provider's documents, 2025-05 to 2026-10 (the registry says which model uses which format):

    data              data[{mime_type, b64_json, url, (prompt)}], meta                    Imagen, Gemini 3.1
    named_data        the same and model                                                  imagen4/preview
    url_data          data[{url}], meta                                                   FLUX.2, Z-Image, Kling
    dated_data        created in milliseconds, data[{url}], meta                          Wan, Qwen 2.0, MAI
    sized_data        data[{url, size}], meta                                             Seedream 4.5, 5
    null_data         created in milliseconds and many keys that are null, data, meta     Qwen-Image
    openai            created in seconds, data[{b64_json, url}], meta                     GPT Image
    revised           data[{url, mime_type, revised_prompt}], meta                        Grok
    reviewed          data[{url, b64_json, request_id, content_violation}], meta          Reve
    described         description, data[{url, content_type, file_name, width, height}]    Nano Banana Pro
    described_images  images[{…}], description                                            Nano Banana of 2025
    files             images[{url, content_type, file_name, file_size}], seed             imagen4/preview of 2025
    webp_files        the same without a seed                                             Recraft
    timed_images      images[{url, width, height, content_type}], timings, seed, …        FLUX.1, Stable Diffusion
    both              images and data, with the same in them, seed, meta                  Seedream 4, FLUX SRPO
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .image_cache import CachedImage
from .paid_endpoint import usage_of
from .state import SandboxState

_LIGHTS = ("soft morning light", "golden evening light", "cool overcast light", "warm lamp light")
_VIEWS = ("seen at eye level", "seen from slightly above", "framed closely", "set in a wide view")
_MOODS = ("calm and inviting", "playful and bright", "quiet and dreamlike", "bold and vivid")


def rewrite_prompt(prompt: str, seed: int) -> str:
    """A stand-in for the provider's prompt enhancement; the same arguments give the same text.

    As with the provider, the result may be longer than the prompt limit of a request.
    """
    chance = random.Random(f"{seed}:{prompt.encode('utf-8', 'surrogatepass').hex()}")  # noqa: S311
    light, view, mood = (chance.choice(words) for words in (_LIGHTS, _VIEWS, _MOODS))
    return (
        f"{prompt.strip().rstrip('.')}. A detailed picture in {light}, {view}, with a shallow depth of field "
        f"that sets the subject apart from its surroundings. The mood is {mood}."
    )


@dataclass(frozen=True, slots=True)
class Generation:
    """The images of one reply, and the request that they answer.

    Attributes:
        model: Model id as it was sent.
        prompt: The prompt.
        seed: The seed of all images.
        fields: The request's fields, including defaults.
        images: The images that are returned.
        credits: The credits that were billed.
        base64: Whether the reply contains the images themselves instead of URLs.
        data_uri: Whether base64 images have a data-URI prefix.
    """

    model: str
    prompt: str
    seed: int
    fields: Mapping[str, Any]
    images: list[CachedImage]
    credits: int
    base64: bool = False
    data_uri: bool = False

    @property
    def meta(self) -> dict[str, Any]:
        """The `meta` of a reply."""
        return usage_of(self.credits)


async def _source(
    state: SandboxState, generation: Generation, image: CachedImage, *, both: bool = False
) -> dict[str, Any]:
    """`url` or `b64_json` of an image; with `both` the other one as well, as null."""
    if not generation.base64:
        source = {"url": state.url(image)}
        return {"b64_json": None, **source} if both else source
    prefix = f"data:{state.images.content_type};base64," if generation.data_uri else ""
    source = {"b64_json": prefix + base64.b64encode(await state.images.picture(image.spec)).decode()}
    return {**source, "url": None} if both else source


async def _items(
    state: SandboxState, generation: Generation, *, both: bool = False, **fields: Any
) -> list[dict[str, Any]]:
    """One object per image: its source and the given fields."""
    return [{**await _source(state, generation, image, both=both), **fields} for image in generation.images]


async def _file_items(state: SandboxState, generation: Generation, **fields: Any) -> list[dict[str, Any]]:
    file = {"content_type": state.images.content_type, "file_name": f"output.{state.images.extension}"}
    return await _items(state, generation, both=False, **file, **fields)


async def _data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    enhanced = generation.fields.get("enhance_prompt")
    prompt = {"prompt": rewrite_prompt(generation.prompt, generation.seed)} if enhanced else {}
    items = await _items(state, generation, both=True, mime_type=state.images.content_type, **prompt)
    return {"data": items, "meta": generation.meta}


async def _named_data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    return {**await _data(state, generation), "model": generation.model}


async def _url_data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    return {"data": await _items(state, generation), "meta": generation.meta}


async def _dated_data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    return {"created": time.time_ns() // 1_000_000, **await _url_data(state, generation)}


async def _sized_data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    body = await _url_data(state, generation)
    for item, image in zip(body["data"], generation.images, strict=True):
        item["size"] = f"{image.spec.width}x{image.spec.height}"
    return body


_NULLS = ("background", "output_format", "quality", "size", "usage")


async def _null_data(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _items(state, generation, both=True, revised_prompt=None)
    nulls = dict.fromkeys(_NULLS)
    return {"created": time.time_ns() // 1_000_000, **nulls, "data": items, "meta": generation.meta}


async def _openai(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _items(state, generation, both=True)
    return {"created": int(time.time()), "data": items, "meta": generation.meta}


async def _revised(state: SandboxState, generation: Generation) -> dict[str, Any]:
    revised = rewrite_prompt(generation.prompt, generation.seed)
    items = await _items(state, generation, mime_type=state.images.content_type, revised_prompt=revised)
    return {"data": items, "meta": generation.meta}


async def _reviewed(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _items(state, generation, both=True, content_violation=False)
    return {"data": [{**item, "request_id": f"rsid-{state.new_id()}"} for item in items], "meta": generation.meta}


async def _described(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _file_items(state, generation, width=None, height=None)
    return {"description": f"Here is: {generation.prompt[:80]}", "data": items, "meta": generation.meta}


async def _described_images(state: SandboxState, generation: Generation) -> dict[str, Any]:
    body = await _described(state, generation)
    return {"images": body["data"], "description": body["description"]}


async def _webp_files(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _file_items(state, generation)
    for item, image in zip(items, generation.images, strict=True):
        item["file_size"] = len(await state.images.picture(image.spec))
    return {"images": items}


async def _files(state: SandboxState, generation: Generation) -> dict[str, Any]:
    return {**await _webp_files(state, generation), "seed": generation.seed}


async def _timed_images(state: SandboxState, generation: Generation) -> dict[str, Any]:
    items = await _items(state, generation, content_type=state.images.content_type)
    for item, image in zip(items, generation.images, strict=True):
        item |= {"width": image.spec.width, "height": image.spec.height}
    return {
        "images": items,
        "timings": {"inference": state.options.latency},
        "seed": generation.seed,
        "has_nsfw_concepts": [False] * len(items),
        "prompt": generation.prompt,
    }


async def _both(state: SandboxState, generation: Generation) -> dict[str, Any]:
    body = await _files(state, generation)
    files = [{**item, "width": None, "height": None} for item in body["images"]]
    return {**body, "images": files, "data": files, "meta": generation.meta}


_Format: TypeAlias = Callable[[SandboxState, Generation], Awaitable[dict[str, Any]]]
_Schema: TypeAlias = dict[str, Any]


async def format_reply(name: str, state: SandboxState, generation: Generation) -> dict[str, Any]:
    """The JSON of a successful reply, in one of the formats above."""
    return await _FORMATS[name][0](state, generation)


def reply_schema(name: str) -> _Schema:
    """The JSON schema of a format (as in OpenAPI 3.0, where null is `nullable`)."""
    return _FORMATS[name][1]


def _of(kind: str, *, nullable: bool = False) -> _Schema:
    return {"type": kind, "nullable": True} if nullable else {"type": kind}


def _object(**properties: _Schema) -> _Schema:
    return {"type": "object", "properties": properties}


def _images(**more: _Schema) -> _Schema:
    item = _object(url=_of("string", nullable=True), b64_json=_of("string", nullable=True), **more)
    return {"type": "array", "nullable": True, "items": item}


_USAGE = {
    **_object(credits_used=_of("number"), usd_spent=_of("number")),
    "nullable": True,
    "required": ["credits_used", "usd_spent"],
}
_META = {**_object(usage=_USAGE), "nullable": True}
_TEXT, _NUMBER = _of("string"), _of("integer")
_FILE = {"content_type": _TEXT, "file_name": _TEXT, "file_size": _NUMBER}
_SIDES = {"width": _of("integer", nullable=True), "height": _of("integer", nullable=True)}

_FORMATS: dict[str, tuple[_Format, _Schema]] = {
    "data": (_data, _object(data=_images(mime_type=_TEXT, prompt=_TEXT), meta=_META)),
    "named_data": (_named_data, _object(data=_images(mime_type=_TEXT, prompt=_TEXT), meta=_META, model=_TEXT)),
    "url_data": (_url_data, _object(data=_images(), meta=_META)),
    "dated_data": (_dated_data, _object(created=_NUMBER, data=_images(), meta=_META)),
    "sized_data": (_sized_data, _object(data=_images(size=_TEXT), meta=_META)),
    "null_data": (
        _null_data,
        _object(
            created=_NUMBER,
            **{name: _of("string", nullable=True) for name in _NULLS},
            data=_images(revised_prompt=_of("string", nullable=True)),
            meta=_META,
        ),
    ),
    "openai": (_openai, _object(created=_NUMBER, data=_images(), meta=_META)),
    "revised": (_revised, _object(data=_images(mime_type=_TEXT, revised_prompt=_TEXT), meta=_META)),
    "reviewed": (
        _reviewed,
        _object(data=_images(request_id=_TEXT, content_violation=_of("boolean")), meta=_META),
    ),
    "described": (
        _described,
        _object(description=_TEXT, data=_images(content_type=_TEXT, file_name=_TEXT, **_SIDES), meta=_META),
    ),
    "described_images": (
        _described_images,
        _object(description=_TEXT, images=_images(content_type=_TEXT, file_name=_TEXT, **_SIDES)),
    ),
    "files": (_files, _object(images=_images(**_FILE), seed=_NUMBER)),
    "webp_files": (_webp_files, _object(images=_images(**_FILE))),
    "timed_images": (
        _timed_images,
        _object(
            images=_images(content_type=_TEXT, **_SIDES),
            timings=_object(inference=_of("number")),
            seed=_NUMBER,
            has_nsfw_concepts={"type": "array", "items": _of("boolean")},
            prompt=_TEXT,
        ),
    ),
    "both": (
        _both,
        _object(images=_images(**_FILE, **_SIDES), data=_images(**_FILE, **_SIDES), seed=_NUMBER, meta=_META),
    ),
}
