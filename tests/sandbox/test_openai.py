"""OpenAI's images, asked by OpenAI's own client."""

from __future__ import annotations

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from PIL import Image

from .conftest import Api

MODEL = "gpt-image-2"


def client_of(api: Api, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=api.server.url("openai"), api_key=key, max_retries=0)


def opened(item) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(item.b64_json, validate=True)))
    picture.load()
    return picture


@pytest.fixture
def client(api):
    with client_of(api) as client:
        yield client


@pytest.fixture
def red() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(file, "PNG")
    return file.getvalue()


def test_images(api, client):
    reply = client.images.generate(model=MODEL, prompt="A fox", size="1536x1024", n=2)
    assert [opened(item).size for item in reply.data] == [(1536, 1024)] * 2
    assert (reply.size, reply.output_format) == ("1536x1024", "png")
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    (entry,) = api.server.bill()["entries"]
    assert (entry["protocol"], entry["model"], entry["images"], entry["prompt"]) == ("openai", MODEL, 2, "A fox")
    assert entry["credits"] == api.server.bill()["credits"] > 0


def test_edits(api, client, red):
    sent = [("a.png", red, "image/png"), ("b.png", red + b"\r\n", "image/png")]
    reply = client.images.edit(model=MODEL, prompt="In blue", image=sent, n=1, size="1024x1024")
    assert opened(reply.data[0]).size == (1024, 1024)
    (call,) = api.server.calls()
    assert call["inputs"] == [hashlib.sha256(content).hexdigest() for _, content, _ in sent]
    uri = f"data:image/png;base64,{base64.b64encode(red).decode()}"
    asked = {"model": MODEL, "prompt": "In blue", "images": [{"image_url": uri}]}
    assert api.post("/openai/v1/images/edits", asked).status_code == 200
    assert api.server.calls()[1]["inputs"] == call["inputs"][:1]
    with pytest.raises(openai.BadRequestError, match="image"):
        client.images.edit(model=MODEL, prompt="In blue", image=("a.png", b"no image", "image/png"))
    assert len(api.server.bill()["entries"]) == 2


def test_models(client):
    assert MODEL in {model.id for model in client.models.list()}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": "huge"}, "invalid_value"),
        ({"quality": "best"}, "invalid_value"),
        ({"n": 11}, "invalid_value"),
        ({"response_format": "url"}, "unknown_parameter"),
        ({"extra_body": {"sizes": "1024x1024"}}, "unknown_parameter"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(api, client, fields, code):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model=MODEL, prompt="A fox", **fields)
    name = next(iter(fields.get("extra_body", fields)))
    assert (refused.value.param, refused.value.code) == (name, code)
    assert api.server.bill()["entries"] == []


@pytest.mark.parametrize(
    ("fault", "error", "code", "billed"),
    [
        ({"fault": "unauthorized"}, openai.AuthenticationError, "invalid_api_key", 0),
        ({"fault": "rate_limited", "retry_after": 3}, openai.RateLimitError, "rate_limit_exceeded", 0),
        ({"fault": "out_of_credit"}, openai.RateLimitError, "insufficient_quota", 0),
        ({"fault": "safety_block", "form": "http_400"}, openai.BadRequestError, "moderation_blocked", 0),
        ({"fault": "server_error", "status": 503}, openai.InternalServerError, None, 0),
        ({"fault": "server_error", "billed": True}, openai.InternalServerError, None, 1),
        ({"fault": "bad_gateway_billed"}, openai.InternalServerError, None, 1),
        ({"fault": "cut_after_billing"}, openai.APIConnectionError, None, 1),
    ],
    ids=lambda value: value.get("fault") if isinstance(value, dict) else "",
)
def test_faults(api, client, fault, error, code, billed):
    api.server.set_faults([fault])
    with pytest.raises(error) as failed:
        client.images.generate(model=MODEL, prompt="A fox")
    assert getattr(failed.value, "code", None) == code
    assert len(api.server.bill()["entries"]) == billed


def test_a_damaged_image_in_a_reply(api, client):
    api.server.set_faults([{"fault": "corrupt_image"}])
    reply = client.images.generate(model=MODEL, prompt="A fox")
    with pytest.raises(OSError, match=r"broken|checksum|unrecognized"):
        opened(reply.data[0])


def test_one_key_is_billed_once(keyed):
    key = {"Idempotency-Key": "call-1"}
    with client_of(keyed, "right") as client:
        # The answer is lost twice, in two ways; what was asked for arrives with the third request.
        keyed.server.set_faults(
            [{"fault": "cut_after_billing", "times": 1}, {"fault": "bad_gateway_billed", "times": 1}]
        )
        for error in (openai.APIConnectionError, openai.InternalServerError):
            with pytest.raises(error):
                client.images.generate(model=MODEL, prompt="A fox", extra_headers=key)
        first = client.images.generate(model=MODEL, prompt="A fox", extra_headers=key)
        again = client.images.generate(model=MODEL, prompt="A fox", extra_headers=key)
        assert first.data[0].b64_json == again.data[0].b64_json
        (entry,) = keyed.server.bill()["entries"]
        assert entry["idempotency_key"] == "call-1"
        assert [call["replayed"] for call in keyed.server.calls()] == [False, True, True, True]
        with pytest.raises(openai.UnprocessableEntityError):
            client.images.generate(model=MODEL, prompt="A hen", extra_headers=key)
        # What was not billed is not remembered.
        keyed.server.set_faults([{"fault": "server_error", "times": 1}])
        with pytest.raises(openai.InternalServerError):
            client.images.generate(model=MODEL, prompt="A hen", extra_headers={"Idempotency-Key": "call-2"})
        client.images.generate(model=MODEL, prompt="A hen", extra_headers={"Idempotency-Key": "call-2"})
        assert len(keyed.server.bill()["entries"]) == 2


def test_a_second_request_under_a_key_waits_for_the_first(keyed):
    keyed.server.set_faults([{"fault": "slow_reply", "seconds": 0.5}])
    ask = {"model": MODEL, "prompt": "A fox", "extra_headers": {"Idempotency-Key": "call-1"}}
    with client_of(keyed, "right") as client, ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: client.images.generate(**ask).data[0].b64_json, range(4)))
    assert len(set(replies)) == len(keyed.server.bill()["entries"]) == 1


def test_a_server_of_ones_own(keyed):
    reply = keyed.post(
        "/openai/v1/images/generations", {"model": "sd-turbo", "prompt": "A fox", "size": "256x192"}, None
    )
    assert reply.status_code == 200
    assert base64.b64decode(reply.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")
    reply = keyed.post(
        "/openai/v1/images/generations", {"model": "sd-turbo", "prompt": "A fox", "response_format": "url"}, "right"
    )
    assert keyed.open(reply.json()["data"][0]["url"]).size == (1024, 1024)
    assert keyed.server.bill()["credits"] == 2 * 20_000
    assert (
        keyed.post("/openai/v1/images/generations", {"model": "sd-turbo", "prompt": "A fox"}, "wrong").status_code
        == 401
    )
