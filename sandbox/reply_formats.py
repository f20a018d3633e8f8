"""The formats in which models reply: each a table of its keys, with the schema and the value of each.

From public captures and the provider's documents, 2025-05 to 2026-10 (the registry says which model uses which format).
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .image_cache import CachedImage
from .paid_endpoint import usage_of
from .state import SandboxState

_LIGHTS = ("soft morning light", "golden evening light", "cool overcast light", "warm lamp light")
_VIEWS = ("seen at eye level", "seen from slightly above", "framed closely", "set in a wide view")
_MOODS = ("calm and inviting", "playful and bright", "quiet and dreamlike", "bold and vivid")


@dataclass(frozen=True, slots=True)
class Generation:
    """The images of one reply, and the request that they answer.

    Attributes:
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
    def rewritten(self) -> str:
        """A stand-in for the provider's prompt enhancement; the same prompt and seed give the same text.

        As with the provider, it may be longer than the prompt limit of a request.
        """
        chance = random.Random(f"{self.seed}:{self.prompt.encode('utf-8', 'surrogatepass').hex()}")  # noqa: S311
        light, view, mood = (chance.choice(words) for words in (_LIGHTS, _VIEWS, _MOODS))
        return (
            f"{self.prompt.strip().rstrip('.')}. A detailed picture in {light}, {view}, with a shallow depth of field "
            f"that sets the subject apart from its surroundings. The mood is {mood}."
        )


class _Reply(NamedTuple):
    """A reply that is being written."""

    state: SandboxState
    request: Generation


class _Image(NamedTuple):
    """An image of a reply that is being written; `content` is its file, where the reply needs that."""

    state: SandboxState
    request: Generation
    image: CachedImage
    content: bytes


_Schema: TypeAlias = dict[str, Any]


class _Key(NamedTuple):
    """A key of a reply or of an image in it: its JSON schema (as in OpenAPI 3.0), and its value or `_LEFT_OUT`.

    The value is made from a `_Reply`, or from an `_Image`.
    """

    schema: _Schema
    value: Callable[[Any], Any]


class _Images(NamedTuple):
    """The list of images in a reply.

    Attributes:
        keys: Keys of each image, beside `url` or `b64_json`.
        both: Whether the other one of these two is there as well, as null.
    """

    keys: Mapping[str, _Key]
    both: bool = False

    @property
    def schema(self) -> _Schema:
        keys = {"url": _of("string", nullable=True), "b64_json": _of("string", nullable=True)}
        keys |= {name: key.schema for name, key in self.keys.items()}
        return {"type": "array", "nullable": True, "items": _object(keys)}

    async def items(self, state: SandboxState, request: Generation) -> list[dict[str, Any]]:
        needed = request.base64 or "file_size" in self.keys
        return [
            self._item(_Image(state, request, image, await state.images.picture(image.spec) if needed else b""))
            for image in request.images
        ]

    def _item(self, image: _Image) -> dict[str, Any]:
        item: dict[str, Any] = {"b64_json": None, "url": None}
        if image.request.base64:
            prefix = f"data:{image.state.images.content_type};base64," if image.request.data_uri else ""
            item["b64_json"] = prefix + base64.b64encode(image.content).decode()
        else:
            item["url"] = image.state.url(image.image)
        if not self.both:
            item = {name: value for name, value in item.items() if value is not None}
        return item | _values(self.keys, image)


_LEFT_OUT = object()


def _values(keys: Mapping[str, _Key], of: _Reply | _Image) -> dict[str, Any]:
    values = {name: key.value(of) for name, key in keys.items()}
    return {name: value for name, value in values.items() if value is not _LEFT_OUT}


def _of(kind: str, *, nullable: bool = False) -> _Schema:
    return {"type": kind, "nullable": True} if nullable else {"type": kind}


def _object(properties: Mapping[str, _Schema]) -> _Schema:
    return {"type": "object", "properties": dict(properties)}


def _null(kind: str) -> _Key:
    """A key that is always null."""
    return _Key(_of(kind, nullable=True), lambda _: None)


_TEXT, _NUMBER = _of("string"), _of("integer")
_USAGE = {
    **_object({"credits_used": _of("number"), "usd_spent": _of("number")}),
    "nullable": True,
    "required": ["credits_used", "usd_spent"],
}

_MIME = _Key(_TEXT, lambda of: of.state.images.content_type)
_FILE_NAME = _Key(_TEXT, lambda of: f"output.{of.state.images.extension}")
_NO_SIDES = {"width": _null("integer"), "height": _null("integer")}
_FILE = {
    "content_type": _MIME,
    "file_name": _FILE_NAME,
    "file_size": _Key(_NUMBER, lambda of: len(of.content)),
}
_IMAGEN = _Images(
    {
        "mime_type": _MIME,
        "prompt": _Key(
            _TEXT, lambda of: of.request.rewritten if of.request.fields.get("enhance_prompt") else _LEFT_OUT
        ),
    },
    both=True,
)
_DESCRIBED = _Images({"content_type": _MIME, "file_name": _FILE_NAME, **_NO_SIDES})
_BOTH = _Images({**_FILE, **_NO_SIDES})

_META = _Key({**_object({"usage": _USAGE}), "nullable": True}, lambda of: usage_of(of.request.credits))
_SECONDS = _Key(_NUMBER, lambda _: int(time.time()))
_MILLISECONDS = _Key(_NUMBER, lambda _: time.time_ns() // 1_000_000)
_SEED = _Key(_NUMBER, lambda of: of.request.seed)
_DESCRIPTION = _Key(_TEXT, lambda of: f"Here is: {of.request.prompt[:80]}")

_FORMATS: dict[str, dict[str, _Key | _Images]] = {
    # Imagen, Gemini 3.1
    "data": {"data": _IMAGEN, "meta": _META},
    # imagen4/preview
    "named_data": {"data": _IMAGEN, "meta": _META, "model": _Key(_TEXT, lambda of: of.request.model)},
    # FLUX.2, Z-Image, Kling
    "url_data": {"data": _Images({}), "meta": _META},
    # Wan, Qwen 2.0, MAI
    "dated_data": {"created": _MILLISECONDS, "data": _Images({}), "meta": _META},
    # Seedream 4.5, 5
    "sized_data": {
        "data": _Images({"size": _Key(_TEXT, lambda of: f"{of.image.spec.width}x{of.image.spec.height}")}),
        "meta": _META,
    },
    # Qwen-Image
    "null_data": {
        "created": _MILLISECONDS,
        **{name: _null("string") for name in ("background", "output_format", "quality", "size", "usage")},
        "data": _Images({"revised_prompt": _null("string")}, both=True),
        "meta": _META,
    },
    # GPT Image
    "openai": {"created": _SECONDS, "data": _Images({}, both=True), "meta": _META},
    # Grok
    "revised": {
        "data": _Images({"mime_type": _MIME, "revised_prompt": _Key(_TEXT, lambda of: of.request.rewritten)}),
        "meta": _META,
    },
    # Reve
    "reviewed": {
        "data": _Images(
            {
                "content_violation": _Key(_of("boolean"), lambda _: False),
                "request_id": _Key(_TEXT, lambda of: f"rsid-{of.state.new_id()}"),
            },
            both=True,
        ),
        "meta": _META,
    },
    # Nano Banana Pro
    "described": {"description": _DESCRIPTION, "data": _DESCRIBED, "meta": _META},
    # Nano Banana of 2025
    "described_images": {"images": _DESCRIBED, "description": _DESCRIPTION},
    # imagen4/preview of 2025
    "files": {"images": _Images(_FILE), "seed": _SEED},
    # Recraft
    "webp_files": {"images": _Images(_FILE)},
    # FLUX.1, Stable Diffusion
    "timed_images": {
        "images": _Images(
            {
                "content_type": _MIME,
                "width": _Key(_of("integer", nullable=True), lambda of: of.image.spec.width),
                "height": _Key(_of("integer", nullable=True), lambda of: of.image.spec.height),
            }
        ),
        "timings": _Key(_object({"inference": _of("number")}), lambda of: {"inference": of.state.options.latency}),
        "seed": _SEED,
        "has_nsfw_concepts": _Key(
            {"type": "array", "items": _of("boolean")}, lambda of: [False] * len(of.request.images)
        ),
        "prompt": _Key(_TEXT, lambda of: of.request.prompt),
    },
    # Seedream 4, FLUX SRPO
    "both": {"images": _BOTH, "seed": _SEED, "data": _BOTH, "meta": _META},
}


async def format_reply(name: str, state: SandboxState, generation: Generation) -> dict[str, Any]:
    """The JSON of a successful reply, in one of the formats."""
    reply = _Reply(state, generation)
    return {
        name: await key.items(state, generation) if isinstance(key, _Images) else key.value(reply)
        for name, key in _FORMATS[name].items()
    }


def reply_schema(name: str) -> _Schema:
    """The JSON schema of a format."""
    return _object({name: key.schema for name, key in _FORMATS[name].items()})
