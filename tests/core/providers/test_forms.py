"""Replies in forms that the API does not document: what any browser would show is found, and errors are told apart."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from prefect_imagen.core.ledger import Answered, ItemState, Refused, Unbilled, Unknown
from prefect_imagen.core.limits import StopReason
from prefect_imagen.core.providers import RawReply, Reply
from prefect_imagen.core.providers.errors import UnreadableReply
from prefect_imagen.core.providers.reply import decode_base64
from prefect_imagen.core.purchase.decision import Decision, classify_reply

SENT_TO = "https://api.example.test/v1/images/generations"
URL = "https://cdn.example.test/x.png?sig=a%2Fb"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(251)) * 2
B64 = base64.b64encode(PNG).decode()
COST = {"meta": {"usage": {"credits_used": 104_000}}}


def read(document: Any, status: int = 200, **headers: str) -> Reply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return RawReply(status, headers, body, url=SENT_TO).read()


def decide(document: Any, status: int = 200, **headers: str) -> Decision:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return classify_reply(RawReply(status, headers, body, url=SENT_TO), list_price=7)


@pytest.mark.parametrize(
    "document",
    [
        {"data": {"url": URL}},
        {"data": {"images": [{"url": URL}]}},
        {"data": URL},
        {"image": {"url": URL}},
        {"image": URL},
        {"images": [{"image_url": URL}]},
        {"images": [{"image_url": {"url": URL}}]},
        {"output": URL},
        {"output": [URL]},
        {"output": {"results": [{"url": URL}]}},
        {"result": {"sample": URL}},
        {"artifacts": [{"uri": URL}]},
        {"url": URL},
        [{"url": URL}],
        [URL],
        {"choices": [{"message": {"content": f"Here it is: ![a fox]({URL})"}}]},
        {"choices": [{"message": {"images": [{"image_url": {"url": URL}}]}}]},
        {"data": [{"url": f"  {URL}\n"}]},
        {"data": [{"url": f"\ufeff{URL}"}]},
        {"data": [{"url": f"<{URL}>"}]},
        {"data": [{"url": URL[:20] + "\n" + URL[20:]}]},
        {"data": [{"url": URL, "b64_json": "<omitted>"}]},
        {"data": [{"b64_json": URL}]},
        {"status": "completed", "data": [{"url": URL}]},
        json.dumps(json.dumps({"data": [{"url": URL}]})).encode(),
        b"\xef\xbb\xbf" + json.dumps({"data": [{"url": URL}]}).encode(),
        b" \n \n" + json.dumps({"data": [{"url": URL}]}).encode(),
        f"{URL}\n".encode(),
        b'event: x\r\ndata: {"data": [{"url": "' + URL.encode() + b'"}]}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'{"type": "log"}\n{"images": ["' + URL.encode() + b'"]}\n',
    ],
)
def test_an_address_is_found(document: Any) -> None:
    assert [(image.url, image.base64) for image in read(document).images] == [(URL, None)]


@pytest.mark.parametrize(
    "document",
    [
        {"data": [{"b64_json": B64.rstrip("=")}]},
        {"data": [{"b64_json": base64.urlsafe_b64encode(PNG).decode()}]},
        {"data": [{"b64_json": "\n".join(B64[i : i + 76] for i in range(0, len(B64), 76))}]},
        {"data": [{"b64_json": B64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")}]},
        {"data": [{"url": B64}]},
        {"data": [{"url": f"data:image/png;base64,{B64}", "b64_json": None}]},
        {"data": [{"url": "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG)}]},
        {"data": [{"url": URL, "b64_json": B64}]},
        {"data": B64},
        {"output": [{"type": "image_generation_call", "result": B64}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": B64}}]}}]},
        {"predictions": [{"bytesBase64Encoded": B64}]},
        PNG,
        b'data: {"type": "image_generation.partial_image", "b64_json": "aGVsbG8="}\n\n'
        b'data: {"type": "image_generation.completed", "b64_json": "' + B64.encode() + b'"}\n\n',
    ],
)
def test_an_image_in_the_reply_is_found(document: Any) -> None:
    (image,) = read(document).images
    assert image.url is None
    assert decode_base64(image.base64 or "") == PNG


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/files/x.png", "https://api.example.test/files/x.png"),
        ("files/x.png", "https://api.example.test/v1/images/files/x.png"),
        ("//cdn.example.test/x.png", "https://cdn.example.test/x.png"),
        ("cdn.example.test/x.png", "https://cdn.example.test/x.png"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("https://cdn.example.test/a b ü.png", "https://cdn.example.test/a b ü.png"),
    ],
)
def test_an_address_is_joined_to_that_of_the_request(text: str, address: str) -> None:
    assert read({"data": [{"url": text}]}).images[0].url == address


@pytest.mark.parametrize(
    ("document", "status", "name"),
    [
        ({"id": "task-17", "status": "queued", "urls": {"get": f"{SENT_TO}/task-17"}}, 202, "task-17"),
        ({"id": "gen-4711", "status": "processing", "created": 1}, 200, "gen-4711"),
        ({"output": {"task_id": "t-9", "task_status": "PENDING"}}, 200, "t-9"),
        ({"status": "in_progress", "url": f"{SENT_TO}/5", "uuid": "u-5"}, 200, "u-5"),
        (b"", 202, "/v1/tasks/17"),
    ],
)
def test_a_task_may_be_billed(document: Any, status: int, name: str) -> None:
    outcome = decide(document, status, location="/v1/tasks/17").outcome
    assert isinstance(outcome, Unknown)
    assert "task" in outcome.reason
    assert name in outcome.reason


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "upstream timeout", "type": "server_error"}},
        {"code": 500, "message": "internal error", "data": None},
        {"success": False, "data": []},
        {"status": "failed"},
        {"seed": 1},
        {},
    ],
)
def test_an_error_in_a_success_is_no_refusal(document: Any) -> None:
    outcome = decide(document).outcome
    assert isinstance(outcome, Unknown)
    assert "safety" not in outcome.reason


def test_an_error_that_names_its_cost_is_billed() -> None:
    outcome = decide({"error": {"message": "failed after generation"}, **COST}).outcome
    assert isinstance(outcome, Answered)
    assert (outcome.credits, outcome.images) == (104_000, [])
    assert "failed after generation" in str(outcome.reason)


@pytest.mark.parametrize(
    ("error", "stop"),
    [
        ({"message": "m", "code": "insufficient_quota"}, StopReason.CREDIT),
        ({"message": "m", "code": "invalid_api_key"}, StopReason.KEY),
        ({"message": "m", "code": 404}, StopReason.MODEL),
    ],
)
def test_a_definite_error_in_a_success_is_taken_at_its_word(error: Any, stop: StopReason) -> None:
    decision = decide({"error": error})
    assert isinstance(decision.outcome, Unbilled)
    assert (decision.stop, decision.outcome.item_state) == (stop, ItemState.PLANNED)


@pytest.mark.parametrize(
    "document", [{"data": []}, {"data": None}, {"images": [{"url": ""}]}, {"data": [{"url": "", "b64_json": ""}]}]
)
def test_an_empty_place_is_the_filter(document: Any) -> None:
    outcome = decide({**document, **COST}).outcome
    assert isinstance(outcome, Refused)
    assert (outcome.credits, outcome.reason.partition(":")[0]) == (104_000, "safety")


def test_the_first_image_may_be_blanked() -> None:
    outcome = decide({"data": [{"url": "", "b64_json": None}, {"url": URL}]}).outcome
    assert isinstance(outcome, Answered)
    assert [(image.index, image.source_url) for image in outcome.images] == [(1, URL)]


@pytest.mark.parametrize("body", [b"<html>", b"data: x\n\n", b"{", b"hello"])
def test_what_is_nothing_of_it_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableReply):
        read(body)
