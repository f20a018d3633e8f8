"""Reading a reply: one shape out of every form the endpoint has been seen to answer with.

Forms (AI/ML API docs per model, and public captures 2025-05 to 2026-10): `{images: [...], seed}`;
`{data: [...], meta}`; both lists at once, holding the same images; `{output: {choices: [{image_base64}]}}`.
An entry has a URL, or base64 under one of three names, which is often present but null beside a URL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from ..money import usd_to_credits
from .errors import UnreadableReply

_SIZE = re.compile(r"(\d{1,6})\s*[xX]\s*(\d{1,6})")
_MOST = 10**9  # US dollars or credits; a reply that names more cannot mean it
_BASE64_KEYS = ("b64_json", "base64", "image_base64")


@dataclass(frozen=True, slots=True)
class ReplyImage:
    """One image of a reply.

    Attributes:
        url: Where it can be fetched, byte for byte as given; None if the reply carries the bytes.
        base64: The bytes, base64, without a data-URI prefix; None if there is a URL.
        content_type: As the reply claims; the bytes decide.
        prompt: The prompt as rewritten by the provider, where it tells.
        blocked: Why the provider's own filter marked it (a blank picture), or None.
    """

    index: int
    url: str | None
    base64: str | None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    prompt: str | None = None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in one shape.

    Attributes:
        images: The images, possibly none: a filtered prompt can be answered with success and an empty list.
        credits: What was billed, in credits; None where the reply does not say.
        seed: The seed the reply names (any integer; some are above 2^53).
    """

    images: tuple[ReplyImage, ...]
    credits: int | None
    seed: int | None
    inference_id: str | None
    request_id: str | None


def read_object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        start = body[:60].decode("utf-8", "replace")
        raise UnreadableReply(f"the API answered with success, but not with JSON: {start!r}") from None
    if not isinstance(document, Mapping):
        raise UnreadableReply(f"the API answered with a JSON {type(document).__name__}, not an object")
    return document


def read_reply(body: bytes, headers: Mapping[str, str]) -> Reply:
    """Normalise the body of a 2xx answer."""
    document = read_object(body)
    lowered = {name.lower(): value for name, value in headers.items()}
    flags = document.get("has_nsfw_concepts")
    images = tuple(
        _image(index, entry, flags[index] if isinstance(flags, list) and index < len(flags) else None)
        for index, entry in enumerate(_entries(document))
    )
    return Reply(
        images=tuple(image for image in images if image.url or image.base64),
        credits=read_credits(document, lowered),
        seed=_integer(document.get("seed")),
        inference_id=lowered.get("x-inference-id"),
        request_id=lowered.get("x-request-id"),
    )


def _entries(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The first list that holds something; where two lists exist they hold the same images."""
    output = document.get("output")
    choices = output.get("choices") if isinstance(output, Mapping) else None
    for candidate in (document.get("images"), document.get("data"), choices):
        if isinstance(candidate, list) and candidate:
            return [{"url": e} if isinstance(e, str) else e for e in candidate if isinstance(e, str | Mapping)]
    return []


def _image(index: int, entry: Mapping[str, Any], flagged: Any) -> ReplyImage:
    encoded = next((entry[key] for key in _BASE64_KEYS if isinstance(entry.get(key), str) and entry[key]), None)
    url = entry.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        encoded, url = encoded or url, None
    if encoded is not None and encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    width, height = _integer(entry.get("width")), _integer(entry.get("height"))
    if (width is None or height is None) and (match := _SIZE.fullmatch(str(entry.get("size") or ""))):
        width, height = int(match[1]), int(match[2])
    blocked = None
    if flagged is True:
        blocked = "marked by the provider's safety checker (has_nsfw_concepts)"
    elif entry.get("content_violation") is True:
        blocked = "marked by the provider as a content violation"
    return ReplyImage(
        index=index,
        url=url if isinstance(url, str) and url and encoded is None else None,
        base64=encoded,
        content_type=_text(entry.get("content_type") or entry.get("mime_type")),
        width=width,
        height=height,
        prompt=_text(entry.get("prompt") or entry.get("revised_prompt")),
        blocked=blocked,
    )


def read_credits(document: Mapping[str, Any], headers: Mapping[str, str]) -> int | None:
    """What was billed. `usd_spent` first, then credits (2025: `tokens_used`), then the headers (documented 2026-08)."""
    meta = document.get("meta")
    usage = meta.get("usage") if isinstance(meta, Mapping) else None
    found: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    usd = _amount(found.get("usd_spent"))
    if usd is not None:
        return usd_to_credits(usd)
    for key in ("credits_used", "tokens_used"):
        credits_ = _amount(found.get(key))
        if credits_ is not None:
            return int(credits_)
    usd = _amount(headers.get("x-aimlapi-usd-spent"))
    if usd is not None:
        return usd_to_credits(usd)
    credits_ = _amount(headers.get("x-aimlapi-credits-used"))
    return int(credits_) if credits_ is not None else None


def _amount(value: Any) -> Decimal | None:
    """A plausible amount; None for anything else, as if the reply had not named a cost."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number <= _MOST else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,40}", value):
        return int(value)
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
