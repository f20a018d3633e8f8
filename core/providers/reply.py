"""Reading a reply: one shape out of every form the endpoint has been seen to answer with.

Forms (AI/ML API docs per model, and public captures 2025-05 to 2026-10): `{images: [...], seed}`;
`{data: [...], meta}`; both lists at once, holding the same images; `{output: {choices: [{image_base64}]}}`.
An entry has a URL, or base64 under one of several names, which is often present but null beside a URL.

What is paid for is not lost to a form that was not seen before. So a picture is looked for in every place where image
APIs put one (`_HOLDERS`, `_URLS`, `_BASE64`), also in server-sent events, and read as a browser would read it: URLs may
be relative or have blanks around them, base64 may lack its padding or use the alphabet of URLs. Only a reply that shows
an empty place for pictures is taken for a refusal; one in which no place is found is unreadable, hence unknown.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urljoin

from ..money import usd_to_credits
from .errors import TaskAccepted, UnreadableReply, error_in_success

_SIZE = re.compile(r"(\d{1,6})\s*[xX]\s*(\d{1,6})")
_MOST = 10**9  # US dollars or credits; a reply that names more cannot mean it
_HOLDERS = (
    "images",
    "data",
    "output",
    "outputs",
    "image",
    "result",
    "results",
    "choices",
    "message",
    "artifacts",
    "generations",
    "generated_images",
    "predictions",
    "candidates",
    "content",
    "parts",
    "response",
)
"""Keys below which pictures are looked for, the likeliest first."""

_URLS = ("url", "image_url", "imageUrl", "uri", "href", "src", "sample")
_BASE64 = (
    "b64_json",
    "base64",
    "image_base64",
    "b64",
    "b64_image",
    "bytesBase64Encoded",
    "imageBytes",
    "inline_data",
    "inlineData",
    "result",
    "data",
)
_LEAVES = frozenset({*_URLS, *_BASE64} - {"data", "result"})
_DEEPEST = 8
_MOST_ENTRIES = 1000
MOST_VALUES = 250_000
"""Values of a JSON document. Each of them takes many times the bytes that it has in the document."""

MOST_EVENTS = 50_000
"""Lines of a stream of events, or of a reply that is JSON by the line."""

MOST_ESCAPES = 1_000_000
"""Percent signs of a JSON document, which may stand for escaped bytes of a picture."""
_STATES = ("status", "state", "task_status")
_TASK_IDS = ("id", "uuid", "task_id", "taskId", "generation_id", "request_id", "job_id", "prediction_id")
_TASK_STATES = frozenset({
    "accepted", "created", "generating", "in_progress", "in_queue", "pending", "processing", "queued", "running",
    "scheduled", "starting", "submitted", "waiting",
})  # fmt: skip
_IN_MARKDOWN = re.compile(r"!\[[^\]\n]{0,1000}\]\(\s*(https?://[^\s)]+|data:[^\s)]+)")
_WITHOUT_SCHEME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(:\d+)?/")
_SPACE = "\ufeff\u200b\u2060\u00a0"
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"<svg", b"<?xml", b"\xff\x0a")


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
        tokens: How many were sent and came back, where the reply counts them.
        refusal: Why there is no image, in the provider's own words.
    """

    images: tuple[ReplyImage, ...]
    credits: int | None
    seed: int | None
    inference_id: str | None
    request_id: str | None
    tokens: tuple[int, int] | None = None
    refusal: str | None = None


def _read_document(body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    if _is_picture(body):
        return {"images": [{"b64_json": base64.b64encode(body).decode()}]}
    if _is_event_stream(body, headers):
        return _read_events(body)
    if address := re.fullmatch(rb"\s*(https?://[!-~]+)\s*", body[:16_384]):
        return {"images": [address[1].decode()]}
    try:
        found = read_json(body)
    except UnreadableReply:
        if body.count(b"\n") <= MOST_EVENTS and (lines := _best(body.decode("utf-8", "replace").split("\n"))):
            return lines
        raise
    if isinstance(found, str) and found.lstrip()[:1] in ("{", "["):
        found = read_json(found.encode("utf-8", "replace"))
    if isinstance(found, Mapping):
        return found
    if isinstance(found, list | str) and found:
        return {"images": found}
    raise _not_an_object(found)


def _is_picture(body: bytes) -> bool:
    """Whether the reply is the picture itself."""
    return body.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")) or body[4:8] == b"ftyp"


def _not_an_object(found: Any) -> UnreadableReply:
    return UnreadableReply(f"the API answered with a JSON {type(found).__name__}, not an object")


def read_object(body: bytes) -> Mapping[str, Any]:
    document = read_json(body)
    if not isinstance(document, Mapping):
        raise _not_an_object(document)
    return document


def read_json(body: bytes) -> Any:
    """Read a JSON document that does not take many times its size.

    Raises:
        UnreadableReply: It is none, or would.
    """
    for what, marks, most in (("values", b",[{", MOST_VALUES), ("percent signs", b"%", MOST_ESCAPES)):
        if sum(body.count(mark) for mark in marks) > most:
            raise UnreadableReply(f"the API answered with success, and with more than {most:,} {what}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        start = body[:60].decode("utf-8", "replace")
        raise UnreadableReply(f"the API answered with success, but not with JSON: {start!r}") from None


def read_reply(body: bytes, headers: Mapping[str, str], *, status: int = 200, url: str = "") -> Reply:
    """Normalise the body of a 2xx answer.

    Args:
        status: Which of them.
        url: Where the request was sent; what a relative URL in the reply is relative to.

    Raises:
        ErrorReply: It tells of an error.
        TaskAccepted: It names a task instead of a result.
        UnreadableReply: It shows neither a picture nor an empty place for one.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    document = _read_document(body, lowered) if body or status != 202 else {}
    credits_ = read_credits(document, lowered)
    request_id = lowered.get("x-request-id")
    error = error_in_success(document, request_id=request_id, credits_=credits_)
    task = _task(document, status, lowered)
    entries = _entries(document)
    if entries and entries[0] is document and (error or task):
        entries = None  # its URL is that of the task, or of a page about the error
    flags = document.get("has_nsfw_concepts")
    images = tuple(
        _image(index, entry, flags[index] if isinstance(flags, list) and index < len(flags) else None, url)
        for index, entry in enumerate(entries or ())
    )
    images = tuple(image for image in images if image.url or image.base64)
    refusal = _refusal(document) if not images else None
    if not images and refusal is None:
        if error is not None or task is not None:
            raise error or task  # type: ignore[misc]
        if entries is None or any(set(entry) - _KNOWN and not _LEAVES & set(entry) for entry in entries):
            raise UnreadableReply(f"the API answered with success, and no picture is found in {_keys(document)}")
    return Reply(
        images=images,
        credits=credits_,
        seed=_integer(document.get("seed")),
        inference_id=lowered.get("x-inference-id"),
        request_id=request_id,
        tokens=_tokens(document),
        refusal=refusal,
    )


def _refusal(document: Mapping[str, Any]) -> str | None:
    """Why a model made no image, in Google's form (`promptFeedback`, `finishReason`); None where it does not say."""
    feedback = document.get("promptFeedback")
    if isinstance(feedback, Mapping) and isinstance(feedback.get("blockReason"), str):
        return str(feedback["blockReason"])
    candidates = document.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        reason = candidate.get("finishReason") if isinstance(candidate, Mapping) else None
        if isinstance(reason, str) and reason not in ("FINISH_REASON_UNSPECIFIED", "MAX_TOKENS", "OTHER"):
            return f"{reason}: {candidate.get('finishMessage') or 'no image came'}"
    return None


def _tokens(document: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens that were sent and that came back, by OpenAI's names and Google's."""
    names = {"usage": ("input_tokens", "output_tokens"), "usageMetadata": ("promptTokenCount", "candidatesTokenCount")}
    for place, (sent, returned) in names.items():
        counted = document.get(place)
        if isinstance(counted, Mapping):
            found = [_integer(counted.get(name)) for name in (sent, returned)]
            if all(number is not None and 0 <= number < _MOST for number in found):
                return found[0] or 0, found[1] or 0
    return None


_KNOWN = frozenset({"revised_prompt", "prompt", "content_violation", "respect_moderation", "index", "object"})
"""Keys of an entry that can stand in it without a picture: one that has no other keys is empty."""


def _keys(document: Mapping[str, Any]) -> str:
    names = ", ".join(repr(str(name)[:40]) for name in list(document)[:8])
    return f"a reply with the keys {names}" if names else "an empty reply"


def _is_event_stream(body: bytes, headers: Mapping[str, str]) -> bool:
    start = body[:200].lstrip(b"\xef\xbb\xbf\r\n ")
    return headers.get("content-type", "").lower().startswith("text/event-stream") or start.startswith(
        (b"data:", b"event:")
    )


def _read_events(body: bytes) -> Mapping[str, Any]:
    """The last of the server-sent events (WHATWG HTML, section 9.2) that has a picture, else the last one."""
    if body.count(b"\n") > MOST_EVENTS:
        raise UnreadableReply(f"the API answered with events, and with more than {MOST_EVENTS:,} lines of them")
    texts = []
    for event in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        lines = (line.partition(":") for line in event.split("\n"))
        texts.append("\n".join(value.removeprefix(" ") for name, _, value in lines if name == "data"))
    found = _best(texts)
    if not found:
        raise UnreadableReply("the API answered with events, and none of them can be read")
    return found


def _best(texts: Iterable[str]) -> Mapping[str, Any]:
    """The last document that has a picture, else the last one; empty where there is none."""
    last: Mapping[str, Any] = {}
    best: Mapping[str, Any] | None = None
    for text in texts:
        try:
            document = read_json(text.encode("utf-8", "surrogatepass"))
        except UnreadableReply:
            continue
        if isinstance(document, Mapping):
            last = document
            if any(map(_has_picture, _entries(document) or ())):
                best = document
    return best or last


def _task(document: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> TaskAccepted | None:
    """The task that a reply names. It will be done, and billed, though nobody fetches its result."""
    inner = (document.get(key) for key in ("output", "data", "result", "task"))
    nodes = [document, *(node for node in inner if isinstance(node, Mapping))]
    states = [node[key] for node in nodes for key in _STATES if isinstance(node.get(key), str)]
    state = next((state for state in states if state.lower() in _TASK_STATES), "")
    if status != 202 and not state:
        return None
    named = (node.get(key) for node in reversed(nodes) for key in _TASK_IDS)
    task = next((str(name)[:200] for name in named if isinstance(name, str | int) and name), headers.get("location"))
    return TaskAccepted(
        f"the API accepted the request as task {task or 'without an id'} ({state or status}) and sent no picture; "
        "it may be billed"
    )


def _entries(document: Any) -> list[Mapping[str, Any]] | None:
    """The entries for pictures in the first place that has a picture, else in the first place; None without a place.

    Where two places exist they hold the same pictures.
    """
    first: list[Mapping[str, Any]] | None = None
    for place in _places(document, _DEEPEST):
        if first is None:
            first = place
        if any(map(_has_picture, place)):
            return place
    return first


def _places(value: Any, depth: int) -> Iterator[list[Mapping[str, Any]]]:
    """The lists of entries in a document: each place for pictures, which may be empty."""
    if not isinstance(value, Mapping) or depth == 0:
        return
    holders = [key for key in _HOLDERS if key in value]
    if not _LEAVES.isdisjoint(value) and not any(isinstance(value[key], list) and value[key] for key in holders):
        yield [value]
        return
    for key in holders:
        held = value[key]
        if isinstance(held, Mapping):
            yield from _places(held, depth - 1)
        elif found := _flat(held, depth - 1):
            yield found
        elif not held and key not in _TEXTS:
            yield []


_TEXTS = frozenset({"message", "content", "response"})
"""Holders that are as often a text: an empty one is no sign that a picture is missing."""


def _flat(value: Any, depth: int) -> list[Mapping[str, Any]]:
    """All entries of one place, in order."""
    if isinstance(value, str):
        if _is_reference(value):
            return [{"url": value}]
        return [{"url": url} for url in _IN_MARKDOWN.findall(value[:100_000])]
    if not isinstance(value, list):
        return []
    entries: list[Mapping[str, Any]] = []
    for one in value[:_MOST_ENTRIES]:
        if isinstance(one, str):
            entries.append({"url": one})
        elif isinstance(one, Mapping):
            inner = next((place for place in _places(one, depth) if place), None)
            entries += inner if inner is not None else [one]
    return entries


def _is_reference(text: str) -> bool:
    """Whether a text in the place of a picture can be one: a URL, a data URI, or base64."""
    start = text[:200].strip().strip(_SPACE)
    return bool(re.match(r"https?://|//|/|data:", start, re.IGNORECASE)) or _holds_picture(text)


def _holds_picture(text: str) -> bool:
    """Whether base64 begins like a picture."""
    if ":" in text[:90]:
        return False  # as in a URL
    try:
        start = decode_base64(text[:96].rstrip("="), partial=True)
    except ValueError:
        return False
    return start.startswith(_STARTS) or start[4:8] in (b"ftyp", b"JXL ")


def decode_base64(text: str, *, partial: bool = False) -> bytes:
    """Decode base64 as it comes: with line breaks, without padding, percent-encoded, or in the alphabet of URLs.

    Args:
        partial: It is only the beginning of one.

    Example:
        >>> decode_base64("aGkh\\n_-8"), decode_base64("aGk")
        (b'hi!\xff\xef', b'hi')

    Raises:
        ValueError: It is something else.
    """
    if not partial:
        with suppress(ValueError):
            # As nearly all of them come; the rest takes three times as long.
            return base64.b64decode(text, validate=True)
    plain = re.sub(r"\s+", "", text).strip(_SPACE)
    if "%" in plain:
        plain = unquote(plain)
    plain = plain.translate(_FROM_URL_ALPHABET).rstrip("=")
    if partial:
        plain = plain[: len(plain) // 4 * 4]
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


_FROM_URL_ALPHABET = str.maketrans("-_", "+/")


def _has_picture(entry: Mapping[str, Any]) -> bool:
    url, encoded, _ = _reference(entry)
    return bool(url or encoded)


def _image(index: int, entry: Mapping[str, Any], flagged: Any, base: str) -> ReplyImage:
    url, encoded, media_type = _reference(entry)
    if encoded is not None and url is not None and not _holds_picture(encoded):
        encoded = None  # a remark in the place of base64: "<omitted>"
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
        url=_joined(base, url) if url is not None and encoded is None else None,
        base64=encoded,
        content_type=_text(entry.get("content_type") or entry.get("mime_type") or entry.get("mimeType") or media_type),
        width=width,
        height=height,
        prompt=_text(entry.get("prompt") or entry.get("revised_prompt")),
        blocked=blocked,
    )


def _joined(base: str, url: str) -> str:
    """A URL as it stands, or, where it is relative, as a browser completes it."""
    url = re.sub(r"[\t\r\n]", "", url)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return url  # not through urljoin, which would change a signed one
    if _WITHOUT_SCHEME.match(url):
        return f"https://{url}"
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def _reference(entry: Mapping[str, Any], depth: int = 3) -> tuple[str | None, str | None, str | None]:
    """URL, base64 and media type of an entry, each None where it has none."""
    url: str | None = None
    encoded: str | None = None
    media_type: str | None = None
    for key in (*_BASE64, *_URLS):
        value = entry.get(key)
        if value is None:
            continue
        if isinstance(value, Mapping) and depth:
            inner_url, inner_encoded, inner_type = _reference(value, depth - 1)
            url, encoded = url or inner_url, encoded or inner_encoded
            media_type = media_type or inner_type or _text(value.get("mime_type") or value.get("mimeType"))
            continue
        if not isinstance(value, str) or not (text := value.strip().strip(_SPACE).strip()):
            continue
        if text[:5].lower() == "data:":
            kind, text = _from_data_uri(text)
            encoded, media_type = encoded or text, media_type or kind
        elif (key in _URLS or re.match("<?https?://", text)) and not _holds_picture(text):
            url = url or text.strip("<>\"'")
        elif key not in ("data", "result") or _holds_picture(text):
            encoded = encoded or text
    return url, encoded or None, media_type


def _from_data_uri(text: str) -> tuple[str | None, str]:
    """Media type and base64 of a data URI (RFC 2397)."""
    head, _, data = text[5:].partition(",")
    if not head.rstrip().lower().endswith(";base64"):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return head.partition(";")[0].strip().lower() or None, data


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
