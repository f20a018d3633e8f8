"""Every form the endpoint has been seen to answer with, and what else may come over a wire."""

from __future__ import annotations

import base64
import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_imagen.core.ledger import Answered, Refused, Unbilled, Unknown
from prefect_imagen.core.providers import RawReply, Reply
from prefect_imagen.core.providers.errors import TaskAccepted, UnreadableReply
from prefect_imagen.core.providers.reply import decode_base64, read_reply
from prefect_imagen.core.purchase.decision import classify_reply

URL = "https://cdn.example.test/files/%E2%9C%93.png?X-Sig=a%2Fb+c==&e=1"


def read(document: Any, **headers: str) -> Reply:
    return read_reply(json.dumps(document).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def test_images_with_a_seed() -> None:
    """`google/imagen4/preview`, 2025."""
    entry = {"url": URL, "content_type": "image/png", "file_name": "output.png", "file_size": 1_071_496}
    reply = read({"images": [entry], "seed": 1848588799})
    (image,) = reply.images
    assert (image.index, image.url, image.base64, image.content_type) == (0, URL, None, "image/png")
    assert (reply.seed, reply.credits) == (1848588799, None)


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "..\\..\\x.png", "/etc/passwd", "x\x00.png", {"a": 1}])
def test_the_name_a_reply_gives_a_file_is_never_taken(name: object) -> None:
    """Spool and object keys are named by ids of our own; a name from elsewhere goes no further than the reply."""
    reply = read({"images": [{"url": URL, "file_name": name}]})
    assert reply == read({"images": [{"url": URL}]})


def test_data_with_a_rewritten_prompt_and_tokens() -> None:
    """The generally available Imagen 4, 2025-09."""
    reply = read(
        {
            "data": [{"mime_type": "image/png", "url": URL, "prompt": "p" * 900}],
            "meta": {"usage": {"tokens_used": 84000}},
        }
    )
    assert (reply.images[0].prompt, reply.credits, reply.seed) == ("p" * 900, 84_000, None)


def test_data_with_null_base64_beside_a_url() -> None:
    """Imagen 4 Fast, 2026-04."""
    usage = {"credits_used": 52000, "usd_spent": 0.026}
    reply = read({"data": [{"mime_type": "image/png", "b64_json": None, "url": URL}], "meta": {"usage": usage}})
    assert (reply.images[0].url, reply.images[0].base64, reply.credits) == (URL, None, 52_000)


def test_data_with_base64_and_a_null_url() -> None:
    reply = read({"data": [{"url": None, "b64_json": "iVBORw0KGgo="}], "meta": None})
    assert (reply.images[0].url, reply.images[0].base64) == (None, "iVBORw0KGgo=")


@pytest.mark.parametrize("key", ["b64_json", "base64", "image_base64", "url"])
def test_a_data_uri_is_stripped_wherever_it_is(key: str) -> None:
    (image,) = read({"data": [{key: "data:image/png;base64,iVBORw0KGgo="}]}).images
    assert (image.url, image.base64) == (None, "iVBORw0KGgo=")


def test_both_lists_hold_the_same_images() -> None:
    """`bytedance/seedream-v4`, `flux/srpo`."""
    entry = {"url": URL, "content_type": "image/png", "width": None, "height": None}
    reply = read(
        {"images": [entry, entry], "data": [entry, entry], "seed": 1, "meta": {"usage": {"tokens_used": 63000}}}
    )
    assert len(reply.images) == 2
    assert len(read({"images": [], "data": [entry]}).images) == 1
    assert len(read({"images": [entry], "data": None}).images) == 1


def test_output_choices() -> None:
    """Old SDXL models."""
    reply = read(
        {"status": "finished", "prompt": ["x"], "model": "m", "output": {"choices": [{"image_base64": "aGk="}]}}
    )
    assert reply.images[0].base64 == "aGk="


def test_plain_strings_as_urls() -> None:
    assert read({"images": [URL]}).images[0].url == URL


def test_flux_form() -> None:
    reply = read(
        {
            "images": [{"url": URL, "width": 1440, "height": 512, "content_type": "image/png"}],
            "timings": {"inference": 0.34},
            "seed": 454423425,
            "has_nsfw_concepts": [False],
            "prompt": "x",
        }
    )
    assert (reply.images[0].width, reply.images[0].height, reply.images[0].blocked) == (1440, 512, None)


def test_openai_form() -> None:
    image = read({"created": 1776996650097, "data": [{"url": URL, "size": "2048x1024", "revised_prompt": "r"}]}).images[
        0
    ]
    assert (image.width, image.height, image.prompt) == (2048, 1024, "r")


def test_images_the_filter_marked() -> None:
    reply = read({"images": [{"url": URL}, {"url": URL}], "has_nsfw_concepts": [True]})
    assert [image.blocked is not None for image in reply.images] == [True, False]
    assert "has_nsfw_concepts" in str(reply.images[0].blocked)
    (image,) = read({"data": [{"url": URL, "content_violation": True}]}).images
    assert "content violation" in str(image.blocked)


@pytest.mark.parametrize(
    "document",
    [
        {"data": []},
        {"data": None},
        {"images": [], "data": []},
        {"data": [{}]},
        {"data": [{"url": ""}, None, 7, []]},
    ],
)
def test_no_image_is_no_error(document: Any) -> None:
    assert read(document).images == ()


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(251, 256)) * 3).decode()
HERE = "https://api.example.test/v1/images/generations"


@pytest.mark.parametrize(
    "document",
    [
        {"data": {"url": URL}},
        {"image": {"url": URL}},
        {"image": URL},
        {"output": URL},
        {"output": [URL]},
        {"images": [{"image_url": URL}]},
        {"images": [{"image_url": {"url": URL}}]},
        {"data": {"images": [{"url": URL}]}},
        {"result": {"images": [URL]}},
        {"url": URL},
        [URL],
        [{"url": URL}],
        URL,
        {"choices": [{"message": {"content": None, "images": [{"image_url": {"url": URL}}]}}]},
        {"choices": [{"message": {"content": "Here it is"}}, {"message": {"images": [{"url": URL}]}}]},
        {"data": [{"url": f" {URL}\n"}]},
        {"data": [{"url": f"\ufeff{URL}\u200b"}]},
        {"data": [{"url": URL.replace("files", "fi\nles")}]},
        {"data": [{"url": URL, "b64_json": "<omitted>"}]},
        {"data": [{"url": URL, "b64_json": "omitted"}]},
        {"status": "succeeded", "output": [URL], "error": None},
        {"code": 0, "message": "ok", "data": [{"url": URL}]},
    ],
)
def test_a_picture_is_found_wherever_it_is(document: Any) -> None:
    assert [(image.url, image.base64) for image in read(document).images] == [(URL, None)]


@pytest.mark.parametrize(
    "document",
    [
        {"data": [{"b64_json": PNG}]},
        {"data": [{"b64_json": PNG.rstrip("=")}]},
        {"data": [{"b64_json": PNG.translate(str.maketrans("+/", "-_"))}]},
        {"data": [{"b64_json": "\n".join(PNG[i : i + 7] for i in range(0, len(PNG), 7))}]},
        {"data": [{"b64_json": PNG.replace("/", "%2F").replace("+", "%2B")}]},
        {"data": [{"url": PNG, "b64_json": None}]},
        {"data": [{"url": f"data:image/png;base64,{PNG}"}]},
        {"data": [{"url": f"DATA:image/png;BASE64,{PNG}"}]},
        {"data": [PNG]},
        {"output": f"data:image/png;base64,{PNG}"},
        {"output": [{"type": "image_generation_call", "result": PNG}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}}]},
        {"predictions": [{"bytesBase64Encoded": PNG, "mimeType": "image/png"}]},
        {"artifacts": [{"base64": PNG, "finishReason": "SUCCESS"}]},
        {"data": [{"url": URL, "b64_json": PNG}]},
    ],
)
def test_base64_is_found_and_read_however_it_is_written(document: Any) -> None:
    (image,) = read(document).images
    assert image.base64 is not None
    assert decode_base64(image.base64) == base64.b64decode(PNG)


def test_a_data_uri_without_base64_is_one_too() -> None:
    (image,) = read({"data": [{"url": "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E"}]}).images
    assert (decode_base64(str(image.base64))[:5], image.content_type) == (b"<svg ", "image/svg+xml")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("/img/a b.png?x=%2f", "https://api.example.test/img/a b.png?x=%2f"),
        ("//cdn.example.test/a.png", "https://cdn.example.test/a.png"),
        ("a.png", "https://api.example.test/v1/images/a.png"),
        ("https://cdn.example.test/a?", "https://cdn.example.test/a?"),
        ("http://[bad", "http://[bad"),
        ("//[bad", "//[bad"),
    ],
)
def test_a_relative_url_is_completed_as_by_a_browser(url: str, whole: str) -> None:
    body = json.dumps({"data": [{"url": url}]}).encode()
    assert read_reply(body, {}, url=HERE).images[0].url == whole


@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_server_sent_events(line: str) -> None:
    events = [
        'event: image_generation.partial_image\ndata: {"b64_json": "aGk="}',
        f'event: image_generation.completed\ndata: {{"type": "done",\ndata: "url": "{URL}"}}',
        "data: [DONE]",
    ]
    body = "\n\n".join(events).replace("\n", line).encode()
    assert read_reply(body, {"content-type": "text/event-stream"}).images[0].url == URL
    assert read_reply(body, {}).images[0].url == URL


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (202, {"id": "task-17", "status": "queued", "urls": {"get": "https://api.example.test/v1/tasks/task-17"}}),
        (200, {"id": "task-17", "status": "processing", "created": 1}),
        (200, {"task_id": "task-17", "state": "PENDING", "url": "https://api.example.test/v1/tasks/task-17"}),
        (202, {"id": "task-17"}),
        (200, {"id": "task-17", "status": "starting", "output": None, "error": None}),
    ],
)
def test_a_task_is_no_refusal_and_its_id_is_told(status: int, document: Any) -> None:
    with pytest.raises(TaskAccepted, match="task-17"):
        read_reply(json.dumps(document).encode(), {}, status=status)


def test_a_task_that_only_a_header_names() -> None:
    with pytest.raises(TaskAccepted, match="/v1/tasks/17"):
        read_reply(b"", {"Location": "/v1/tasks/17"}, status=202)


USAGE = {"meta": {"usage": {"credits_used": 104_000}}}


@pytest.mark.parametrize(
    ("document", "outcome", "credits_"),
    [
        ({"error": {"message": "upstream timeout", "type": "server_error"}}, Unknown, None),
        ({"error": "upstream timeout"}, Unknown, None),
        ({"code": 500, "message": "internal error", "data": None}, Unknown, None),
        ({"status": "failed", "error": None, "output": None}, Unknown, None),
        ({"success": False, "message": "no"}, Unknown, None),
        ({"error": {"message": "failed afterwards"}, **USAGE}, Answered, 104_000),
        ({"error": {"message": "failed"}, "meta": {"usage": {"credits_used": 0}}}, Unbilled, None),
        ({"error": {"message": "Rejected", "code": "content_policy_violation"}}, Refused, 0),
        ({"error": {"message": "Rejected", "code": "moderation_blocked"}, **USAGE}, Refused, 104_000),
        ({"error": {"message": "No.", "code": "insufficient_quota"}}, Unbilled, None),
        ({"statusCode": 401, "message": "no key"}, Unbilled, None),
        ({"error": {"code": 429, "message": "slow down"}}, Unbilled, None),
        ({"error": {"message": "No.", "code": "insufficient_quota"}, **USAGE}, Answered, 104_000),
        ({"foo": "bar"}, Unknown, None),
        ({"data": [{"picture": "somewhere"}]}, Unknown, None),
        ({"data": [{"url": "", "b64_json": "", "respect_moderation": False}]}, Refused, 0),
        ({"data": [], **USAGE}, Refused, 104_000),
    ],
)
def test_what_a_success_without_a_picture_says_of_the_bill(
    document: Any, outcome: type[Any], credits_: int | None
) -> None:
    told = classify_reply(RawReply(200, {}, json.dumps(document).encode()), list_price=7).outcome
    assert isinstance(told, outcome)
    assert getattr(told, "credits", None) == credits_
    if isinstance(told, Answered):
        assert not told.images
        assert str(told.reason).startswith("reply: ")


def test_entries_without_an_image_leave_the_others_their_place() -> None:
    reply = read({"data": [{"url": None}, {"url": URL}], "has_nsfw_concepts": [False, True]})
    assert [(image.index, image.blocked is not None) for image in reply.images] == [(1, True)]


@pytest.mark.parametrize(
    ("seed", "read_as"), [(2**80, 2**80), ("12345678901234567890", 12345678901234567890), (-1, -1)]
)
def test_seeds_are_any_integers(seed: object, read_as: int) -> None:
    assert read({"images": [URL], "seed": seed}).seed == read_as


@pytest.mark.parametrize("seed", [True, 1.5, "x", None, [], "9" * 5000])
def test_what_is_no_seed(seed: object) -> None:
    assert read({"images": [URL], "seed": seed}).seed is None


@pytest.mark.parametrize(
    ("usage", "headers", "credits_"),
    [
        ({"usd_spent": 0.026, "credits_used": 7}, {"x-aimlapi-usd-spent": "9"}, 52_000),
        ({"credits_used": 7, "tokens_used": 8}, {"x-aimlapi-usd-spent": "9"}, 7),
        ({"tokens_used": 8}, {"x-aimlapi-credits-used": "9"}, 8),
        ({}, {"x-aimlapi-usd-spent": "0.05", "x-aimlapi-credits-used": "9"}, 100_000),
        ({}, {"X-AIMLAPI-Credits-Used": "9"}, 9),
        ({"usd_spent": None, "credits_used": None}, {}, None),
        ({"usd_spent": "0.026"}, {}, 52_000),
        ({"usd_spent": 0}, {}, 0),
        ({"usd_spent": -1, "credits_used": 7}, {}, 7),
        ({"usd_spent": True, "credits_used": [], "tokens_used": {}}, {}, None),
    ],
)
def test_who_names_the_cost(usage: dict[str, Any], headers: dict[str, str], credits_: int | None) -> None:
    body = json.dumps({"images": [URL], "meta": {"usage": usage}}).encode()
    assert read_reply(body, headers).credits == credits_


@pytest.mark.parametrize("number", ["1e308", "1e999999999", "Infinity", "NaN", "9" * 400, '"1e1000000"', '"١e99999"'])
def test_a_cost_beyond_reason_is_none(number: str) -> None:
    """It would not fit into the ledger, and the paid reply with it."""
    body = f'{{"images": ["{URL}"], "meta": {{"usage": {{"usd_spent": {number}, "credits_used": {number}}}}}}}'
    assert read_reply(body.encode(), {"x-aimlapi-credits-used": "1e99"}).credits is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><html>",
        b"\xff\xfe\x00",
        b'{"data": [',
        b'"text"',
        b"[]",
        b"null",
        b"7",
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_what_is_not_an_object_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableReply) as caught:
        read_reply(body, {})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("where", ["meta", "usage", "usd", "size", "url", "flags"])
def test_nonsense_in_a_place_does_not_hide_the_image(where: str) -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    document = {
        "meta": {"meta": deep, "images": [URL]},
        "usage": {"images": [URL], "meta": {"usage": deep}},
        "usd": {"images": [URL], "meta": {"usage": {"usd_spent": deep}}},
        "size": {"images": [{"url": URL, "size": "9" * 9000 + "x1"}]},
        "url": {"images": [{"url": deep}, {"url": URL, "b64_json": 7, "content_type": deep}]},
        "flags": {"images": [URL], "has_nsfw_concepts": deep, "data": deep, "output": deep},
    }[where]
    assert [image.url for image in read(document).images] == [URL]


def test_request_ids_come_from_the_headers() -> None:
    reply = read({"images": [URL]}, X_Inference_Id="i", x_request_id="r")
    assert (reply.inference_id, reply.request_id) == ("i", "r")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
entries = st.dictionaries(
    st.sampled_from(["url", "b64_json", "base64", "size", "width", "prompt", "content_violation"]), json_values
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["images", "data", "output", "meta", "seed", "has_nsfw_concepts"]),
        json_values | st.lists(entries),
    )
)
def test_no_json_object_makes_it_fail(document: dict[str, Any]) -> None:
    try:
        reply = read(document)
    except UnreadableReply:
        return
    assert all(bool(image.url) != bool(image.base64) for image in reply.images)
    assert reply.credits is None or 0 <= reply.credits <= 2 * 10**15


@given(st.binary())
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with contextlib.suppress(UnreadableReply):
        read_reply(body, {})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"data": [' + b"[]," * 10**6 + b"0]}", "250,000 values"),
        (b'{"data": [{"url": "data:image/svg+xml,' + b"%20" * (10**6 + 1) + b'"}]}', "1,000,000 percent signs"),
        (b"data: {}\n\n" * 10**5, "50,000 lines"),
        (b"\n" * 10**6, "not with JSON"),
        (b"\xe2\x80\xa8" * 10**6, "not with JSON"),
    ],
    ids=["values", "escapes", "events", "lines", "separators"],
)
def test_a_reply_that_would_take_many_times_its_size_is_unreadable(body: bytes, why: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableReply, match=why):
            RawReply(200, {}, body).read()
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()
