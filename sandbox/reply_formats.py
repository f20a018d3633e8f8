"""The forms in which models reply, each with its schema: what the sandbox answers, and what it says it answers.

From public captures and the provider's documents, 2025-05 to 2026-10 (which model has which form is in the registry):

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
    """What the provider's prompt enhancement might make of a prompt; the same every time.

    The real one may be longer than the prompt limit of a request, and so may this.
    """
    chance = random.Random(f"{seed}:{prompt.encode('utf-8', 'surrogatepass').hex()}")  # noqa: S311
    light, view, mood = (chance.choice(words) for words in (_LIGHTS, _VIEWS, _MOODS))
    return (
        f"{prompt.strip().rstrip('.')}. A detailed picture in {light}, {view}, with a shallow depth of field "
        f"that sets the subject apart from its surroundings. The mood is {mood}."
    )


@dataclass(frozen=True, slots=True)
class Sale:
    """What a reply tells of.

    Attributes:
        model: Model id as it was sent.
        prompt: The prompt.
        seed: Of the images.
        fields: The request's fields, defaults included.
        images: The images that are returned.
        credits: What was billed.
        base64: Whether to put the bytes into the reply.
        data_uri: Whether a data-URI prefix goes before them.
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


async def _source(state: SandboxState, sale: Sale, image: CachedImage, *, both: bool = True) -> dict[str, Any]:
    """`url` and `b64_json` of an image, one of them null; with `both` False the null one is left out."""
    if not sale.base64:
        return {"b64_json": None, "url": state.url(image)} if both else {"url": state.url(image)}
    prefix = f"data:{state.images.content_type};base64," if sale.data_uri else ""
    encoded = prefix + base64.b64encode(await state.images.picture(image.spec)).decode()
    return {"b64_json": encoded, "url": None} if both else {"b64_json": encoded}


async def _data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = []
    for image in sale.images:
        item = {"mime_type": state.images.content_type, **await _source(state, sale, image)}
        if sale.fields.get("enhance_prompt"):
            item["prompt"] = rewrite_prompt(sale.prompt, sale.seed)
        items.append(item)
    return {"data": items, "meta": sale.meta}


async def _named_data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    return {**await _data(state, sale), "model": sale.model}


async def _url_data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    return {"data": [await _source(state, sale, one, both=False) for one in sale.images], "meta": sale.meta}


async def _dated_data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    return {"created": time.time_ns() // 1_000_000, **await _url_data(state, sale)}


async def _sized_data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = [
        {**await _source(state, sale, one, both=False), "size": f"{one.spec.width}x{one.spec.height}"}
        for one in sale.images
    ]
    return {"data": items, "meta": sale.meta}


_NULLS = ("background", "output_format", "quality", "size", "usage")


async def _null_data(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = [{**await _source(state, sale, one), "revised_prompt": None} for one in sale.images]
    nulls = dict.fromkeys(_NULLS)
    return {"created": time.time_ns() // 1_000_000, **nulls, "data": items, "meta": sale.meta}


async def _openai(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = [await _source(state, sale, one) for one in sale.images]
    return {"created": int(time.time()), "data": items, "meta": sale.meta}


async def _revised(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = [
        {
            **await _source(state, sale, one, both=False),
            "mime_type": state.images.content_type,
            "revised_prompt": rewrite_prompt(sale.prompt, sale.seed),
        }
        for one in sale.images
    ]
    return {"data": items, "meta": sale.meta}


async def _reviewed(state: SandboxState, sale: Sale) -> dict[str, Any]:
    items = [
        {**await _source(state, sale, one), "request_id": f"rsid-{state.new_id()}", "content_violation": False}
        for one in sale.images
    ]
    return {"data": items, "meta": sale.meta}


async def _described(state: SandboxState, sale: Sale) -> dict[str, Any]:
    name = f"output.{state.images.extension}"
    items = [
        {
            **await _source(state, sale, one, both=False),
            "content_type": state.images.content_type,
            "file_name": name,
            "width": None,
            "height": None,
        }
        for one in sale.images
    ]
    return {"description": f"Here is: {sale.prompt[:80]}", "data": items, "meta": sale.meta}


async def _described_images(state: SandboxState, sale: Sale) -> dict[str, Any]:
    body = await _described(state, sale)
    return {"images": body["data"], "description": body["description"]}


async def _webp_files(state: SandboxState, sale: Sale) -> dict[str, Any]:
    images = [
        {
            **await _source(state, sale, image, both=False),
            "content_type": state.images.content_type,
            "file_name": f"output.{state.images.extension}",
            "file_size": len(await state.images.picture(image.spec)),
        }
        for image in sale.images
    ]
    return {"images": images}


async def _files(state: SandboxState, sale: Sale) -> dict[str, Any]:
    return {**await _webp_files(state, sale), "seed": sale.seed}


async def _timed_images(state: SandboxState, sale: Sale) -> dict[str, Any]:
    images = [
        {
            **await _source(state, sale, image, both=False),
            "width": image.spec.width,
            "height": image.spec.height,
            "content_type": state.images.content_type,
        }
        for image in sale.images
    ]
    return {
        "images": images,
        "timings": {"inference": state.options.latency},
        "seed": sale.seed,
        "has_nsfw_concepts": [False] * len(images),
        "prompt": sale.prompt,
    }


async def _both(state: SandboxState, sale: Sale) -> dict[str, Any]:
    files = [{**image, "width": None, "height": None} for image in (await _webp_files(state, sale))["images"]]
    return {"images": files, "seed": sale.seed, "data": files, "meta": sale.meta}


_Form: TypeAlias = Callable[[SandboxState, Sale], Awaitable[dict[str, Any]]]
_Schema: TypeAlias = dict[str, Any]


async def reply_in_form(form: str, state: SandboxState, sale: Sale) -> dict[str, Any]:
    """The JSON of a successful reply, in one of the forms above."""
    return await _FORMS[form][0](state, sale)


def reply_schema(form: str) -> _Schema:
    """The JSON schema of a form (as in OpenAPI 3.0, where null is `nullable`)."""
    return _FORMS[form][1]


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

_FORMS: dict[str, tuple[_Form, _Schema]] = {
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
