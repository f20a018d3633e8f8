"""Replies that nobody has sent yet: each is read or called unreadable, quickly, and means one thing for the bill."""

from __future__ import annotations

import base64
import gzip
import json
from random import Random
from typing import Any

from prefect_imagen.core.aimlapi import RawReply
from prefect_imagen.core.aimlapi.reply import decode_base64
from prefect_imagen.core.http.encodings import BadEncoding, decode
from prefect_imagen.core.ledger import Answered, Refused, Rewritten, Unbilled, Unknown
from prefect_imagen.core.purchase.decision import classify_reply

from .conftest import Tries

CAP = 100_000
KEYS = (
    *("images", "data", "output", "image", "result", "choices", "message", "content", "parts", "url", "image_url"),
    *(
        "b64_json",
        "inlineData",
        "error",
        "errors",
        "detail",
        "code",
        "status",
        "state",
        "id",
        "message",
        "meta",
        "usage",
    ),
    *("credits_used", "usd_spent", "seed", "has_nsfw_concepts", "content_violation", "size", "success", "statusCode"),
)
TEXTS = (
    *("", " ", "https://cdn.test/a.png", "/a.png", "//h/a", "data:image/png;base64,iVBORw0KGgo=", "data:,", "failed"),
    *(
        "iVBORw0KGgo=",
        "queued",
        "http://[",
        "insufficient_quota",
        "content_policy_violation",
        "\ufeff",
        "%zz",
        "\ud800",
    ),
)
NUMBERS = (0, -1, 1, 200, 401, 500, 104_000, 2**70, 0.052, 1e308, float("nan"), float("inf"), True, False, None)


def value(chance: Random, depth: int) -> Any:
    kind = chance.randrange(4 if depth else 2)
    if kind == 0:
        return chance.choice(TEXTS)
    if kind == 1:
        return chance.choice(NUMBERS)
    if kind == 2:
        return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(KEYS): value(chance, depth - 1) for _ in range(chance.randrange(5))}


def body_of(chance: Random) -> bytes:
    """A reply of the right words in any order, as JSON or as events, sometimes with bytes changed."""
    body = json.dumps(value(chance, 6)).encode()
    if chance.random() < 0.1:
        body = b"event: x\ndata: " + body + b"\n\ndata: [DONE]\n\n"
    if chance.random() < 0.2 and body:
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        body = bytes(changed[: chance.randrange(1, len(changed) + 1)])
    return body


def test_every_reply_has_one_meaning(tries: Tries) -> None:
    for seed, chance in tries(1000):
        headers = {"content-type": chance.choice(("application/json", "text/event-stream", ""))}
        raw = RawReply(
            chance.choice((200, 201, 202, 204)), headers, body_of(chance), None, "https://api.test/v1/images"
        )
        outcome = classify_reply(raw, list_price=7).outcome
        assert not isinstance(outcome, Rewritten), seed
        if isinstance(outcome, Answered | Refused):
            assert 0 <= outcome.credits <= 2 * 10**15, seed
        if isinstance(outcome, Answered):
            assert outcome.images or (outcome.credits and outcome.reason), seed
            assert len({image.index for image in outcome.images}) == len(outcome.images), seed
        if isinstance(outcome, Refused | Unbilled | Unknown):
            assert 0 < len(outcome.reason) < 1500, seed


def test_a_picture_that_is_hidden_in_a_known_place_is_found(tries: Tries) -> None:
    holders = ("images", "data", "output", "image", "result", "choices", "artifacts", "generations", "predictions")
    for seed, chance in tries(300):
        url = f"https://cdn.test/{seed}.png"
        document: Any = chance.choice((url, {"url": url}, {"image_url": {"url": url}}, {"uri": url}))
        for _ in range(chance.randrange(1, 4)):
            held = [document] if chance.random() < 0.5 else document
            document = {chance.choice(holders): held, "created": seed}
        outcome = classify_reply(RawReply(200, {}, json.dumps(document).encode()), list_price=7).outcome
        assert isinstance(outcome, Answered), document
        assert [image.source_url for image in outcome.images] == [url], document


def test_error_bodies_of_any_status(tries: Tries) -> None:
    for seed, chance in tries(1000):
        raw = RawReply(chance.randrange(300, 600), {}, body_of(chance))
        outcome = classify_reply(raw, list_price=7).outcome
        assert isinstance(outcome, Refused | Unbilled | Unknown), seed
        if isinstance(outcome, Refused):
            assert outcome.credits == 0, seed
        if raw.status >= 500 or raw.status < 400:
            assert isinstance(outcome, Unknown), seed


def test_base64_comes_back_however_it_is_written(tries: Tries) -> None:
    for seed, chance in tries(500):
        data = chance.randbytes(chance.randrange(200))
        text = (base64.urlsafe_b64encode if chance.random() < 0.5 else base64.b64encode)(data).decode()
        text = text.rstrip("=") if chance.random() < 0.5 else text
        width = chance.randrange(1, 80)
        text = chance.choice(("", "\n", "\r\n", " ")).join(text[at : at + width] for at in range(0, len(text), width))
        assert decode_base64(text) == data, seed


def test_encodings_stay_below_their_cap(tries: Tries) -> None:
    for seed, chance in tries(300):
        data = bytes(chance.randrange(2 * CAP)) if chance.random() < 0.5 else chance.randbytes(chance.randrange(300))
        body = gzip.compress(data) if chance.random() < 0.7 else data
        if chance.random() < 0.3 and body:
            body = body[: chance.randrange(len(body))]
        names = ", ".join(chance.choice(("gzip", "deflate", "base64", "none", "")) for _ in range(chance.randrange(4)))
        try:
            found = decode(body, names, CAP)
        except BadEncoding:
            continue
        assert len(found) <= max(CAP, len(body)), seed
