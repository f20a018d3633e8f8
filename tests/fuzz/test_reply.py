"""Replies of strangers: an image or an error of ours, within bounds, whatever they hold; what is whole is found."""

from __future__ import annotations

import base64
import json
import time
from random import Random
from typing import Any

from prefect_imagen.core.http.encodings import BadEncoding, decode
from prefect_imagen.core.providers import RawReply
from prefect_imagen.core.providers.errors import ApiError
from prefect_imagen.core.providers.reply import decode_base64
from prefect_imagen.core.purchase.decision import classify_reply

from .conftest import Tries

_SECONDS = 5.0
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(90)).decode()
_KEYS = [
    "data",
    "images",
    "image",
    "output",
    "choices",
    "message",
    "content",
    "parts",
    "inlineData",
    "result",
    "artifacts",
    "url",
    "image_url",
    "b64_json",
    "base64",
    "id",
    "status",
    "state",
    "task_id",
    "error",
    "errors",
    "detail",
    "code",
    "statusCode",
    "type",
    "meta",
    "usage",
    "credits_used",
    "usd_spent",
    "seed",
    "has_nsfw_concepts",
    "content_violation",
    "success",
    "size",
    "width",
    "prompt",
]
_TEXTS = (
    "https://cdn.test/x.png",
    "//cdn.test/x.png",
    "/x.png",
    "http://[::1",
    "data:image/png;base64," + _PNG,
    "data:,%ff%00",
    _PNG,
    _PNG.rstrip("="),
    "iVBORw0KGgo%",
    "queued",
    "failed",
    "completed",
    "insufficient_quota",
    "404",
    "",
    " \ufeff ",
    "![x](https://cdn.test/x.png)",
    "![" * 500,
    "\ud800",
)


def _value(chance: Random, depth: int) -> Any:
    kind = chance.randrange(10 if depth else 5)
    if kind < 2:
        return chance.choice(_TEXTS)
    if kind < 5:
        return chance.choice([None, True, False, 0, -1, 200, 404, 500, 1e308, float("nan"), 2**70, [], {}])
    if kind < 7:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(_KEYS): _value(chance, depth - 1) for _ in range(chance.randrange(6))}


def _body(chance: Random) -> bytes:
    text = json.dumps(_value(chance, 6), ensure_ascii=chance.random() < 0.9)
    match chance.randrange(6):
        case 0:
            text = f"event: x\ndata: {text}\n\ndata: [DONE]\n\n"
        case 1:
            text = "\n".join([text] * chance.randrange(1, 4))
        case 2:
            text = json.dumps(text)
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    if body and chance.random() < 0.3:
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body[: chance.randrange(len(body) + 1)] if chance.random() < 0.1 else body)


def test_no_reply_makes_it_fail(tries: Tries) -> None:
    for seed, chance in tries(1500):
        raw = RawReply(chance.choice([200, 201, 202, 206]), {}, _body(chance), url="https://api.test/v1/images")
        began = time.thread_time()
        decision = classify_reply(raw, list_price=7)
        assert time.thread_time() - began < _SECONDS, f"seed {seed}"
        assert len(str(getattr(decision.outcome, "reason", ""))) < 2000, f"seed {seed}"
        try:
            images = raw.read().images
        except ApiError:
            continue
        assert all(bool(image.url) != bool(image.base64) for image in images), f"seed {seed}"
        assert len({image.index for image in images}) == len(images) <= 1000, f"seed {seed}"


def test_no_error_makes_it_fail(tries: Tries) -> None:
    for seed, chance in tries(1000):
        raw = RawReply(chance.choice([302, 400, 401, 402, 403, 404, 407, 422, 429, 500, 524]), {}, _body(chance))
        reason = getattr(classify_reply(raw, list_price=7).outcome, "reason", "")
        assert reason, f"seed {seed}"
        assert len(reason) < 2000, f"seed {seed}"


def test_what_is_whole_is_found_at_any_depth(tries: Tries) -> None:
    for seed, chance in tries(500):
        wanted: Any = chance.choice([{"b64_json": _PNG}, {"url": _PNG}, "data:image/png;base64," + _PNG, _PNG])
        for _ in range(chance.randrange(1, 4)):
            beside = {key: chance.choice([None, 0, "text", []]) for key in ("created", "model", "prompt")}
            key = chance.choice(["data", "images", "output", "result", "artifacts", "image"])
            wanted = {key: [wanted] if chance.random() < 0.5 else wanted, **beside}
        (image,) = RawReply(200, {}, json.dumps(wanted).encode()).read().images
        assert decode_base64(image.base64 or "") == base64.b64decode(_PNG), f"seed {seed}"


def test_no_body_makes_an_encoding_fail(tries: Tries) -> None:
    import gzip

    for seed, chance in tries(500):
        data = bytearray(gzip.compress(chance.randbytes(chance.randrange(200)) * chance.randrange(1, 50)))
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        header = chance.choice(["gzip", "deflate", "gzip, gzip", "br, gzip", "none"])
        try:
            size = len(decode(bytes(data), header, 1_000_000))
        except BadEncoding:
            continue
        assert size <= 10_000 + len(data), f"seed {seed}"
