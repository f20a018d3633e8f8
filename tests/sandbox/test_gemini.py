"""Gemini's `generateContent`, asked by Google's own client."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pytest
import requests
from google import genai
from google.genai import errors, types
from PIL import Image
from prefect_imagen.sandbox import SandboxServer

from .conftest import Api

MODEL = "gemini-3.1-flash-image"


def _client(server: SandboxServer, key: str = "any") -> genai.Client:
    options = types.HttpOptions(base_url=f"{server.origin}/gemini", api_version="v1beta")
    return genai.Client(api_key=key, vertexai=False, http_options=options)


@pytest.fixture
def client(api: Api) -> Iterator[genai.Client]:
    with _client(api.server) as client:
        yield client


def _ask(client: genai.Client, prompt: object = "A fox", **image: str) -> types.GenerateContentResponse:
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(**image) if image else None
    )
    return client.models.generate_content(model=MODEL, contents=prompt, config=config)


def _opened(part: types.Part) -> Image.Image:
    picture = Image.open(io.BytesIO(part.inline_data.data))
    picture.load()
    return picture


@pytest.mark.parametrize(
    ("image", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "16:9"}, (1344, 768)),
        ({"aspect_ratio": "1:1", "image_size": "2K"}, (2048, 2048)),
    ],
    ids=str,
)
def test_an_image(api, client, image, size):
    reply = _ask(client, **image)
    (part,) = reply.parts
    assert (part.inline_data.mime_type, _opened(part).size) == ("image/png", size)
    assert reply.candidates[0].finish_reason is types.FinishReason.STOP
    assert reply.usage_metadata.total_token_count > 1000
    (entry,) = api.server.bill()["entries"]
    assert (entry["protocol"], entry["model"], entry["images"], entry["prompt"]) == ("gemini", MODEL, 1, "A fox")


def test_text_comes_with_the_image_unless_it_is_not_wanted(client):
    reply = client.models.generate_content(model=MODEL, contents="A fox")
    text, image = reply.parts
    assert text.text == "Here is: A fox"
    assert _opened(image).size == (1024, 1024)


def test_images_to_begin_with(api, client):
    file = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(file, "PNG")
    _ask(client, [types.Part.from_bytes(data=file.getvalue(), mime_type="image/png"), "In blue"])
    with pytest.raises(errors.ClientError, match="input image"):
        _ask(client, [types.Part.from_bytes(data=b"none", mime_type="image/png"), "In blue"])
    first, second = api.server.calls()
    assert (first["inputs"], first["prompt"]) == ([hashlib.sha256(file.getvalue()).hexdigest()], "In blue")
    assert (second["status"], second["billed"]) == (400, False)


def test_models(client):
    assert f"models/{MODEL}" in {model.name for model in client.models.list()}
    assert client.models.get(model=MODEL).supported_actions == ["generateContent"]
    with pytest.raises(errors.ClientError, match="not found"):
        client.models.get(model="nothing")


@pytest.mark.parametrize(
    ("fault", "error", "code", "status", "billed"),
    [
        ({"fault": "unauthorized"}, errors.ClientError, 401, "UNAUTHENTICATED", 0),
        ({"fault": "rate_limited", "retry_after": 7}, errors.ClientError, 429, "RESOURCE_EXHAUSTED", 0),
        ({"fault": "out_of_credit"}, errors.ClientError, 429, "RESOURCE_EXHAUSTED", 0),
        ({"fault": "safety_block", "form": "http_400"}, errors.ClientError, 400, "INVALID_ARGUMENT", 0),
        ({"fault": "server_error", "status": 503}, errors.ServerError, 503, "UNAVAILABLE", 0),
        ({"fault": "server_error", "billed": True}, errors.ServerError, 500, "INTERNAL", 1),
        ({"fault": "bad_gateway_billed"}, errors.ServerError, 502, "Bad Gateway", 1),
    ],
    ids=str,
)
def test_faults(api, client, fault, error, code, status, billed):
    api.server.set_faults([fault])
    with pytest.raises(error) as failed:
        _ask(client)
    assert (failed.value.code, failed.value.status) == (code, status)
    assert len(api.server.bill()["entries"]) == billed
    if "retry_after" in fault:
        assert failed.value.details["error"]["details"][0]["retryDelay"] == "7s"


@pytest.mark.parametrize(
    ("fault", "finish", "block", "billed"),
    [
        ({"fault": "safety_block"}, types.FinishReason.IMAGE_SAFETY, None, 0),
        ({"fault": "safety_block", "form": "null_200", "billed": True}, None, "PROHIBITED_CONTENT", 1),
        ({"fault": "fewer_images", "billed": "requested"}, types.FinishReason.NO_IMAGE, None, 1),
    ],
    ids=str,
)
def test_a_filter_answers_with_200(api, client, fault, finish, block, billed):
    api.server.set_faults([fault])
    reply = _ask(client)
    assert not reply.parts
    assert (reply.candidates[0].finish_reason if reply.candidates else None) == finish
    assert (reply.prompt_feedback.block_reason if reply.prompt_feedback else None) == block
    assert len(api.server.bill()["entries"]) == billed


def test_a_damaged_image(api, client):
    api.server.set_faults([{"fault": "corrupt_image"}])
    with pytest.raises(OSError, match=r"broken|checksum|unrecognized"):
        _opened(_ask(client).parts[0])


def test_keys(api, keyed):
    with _client(keyed.server, "right") as client:
        assert _ask(client).parts
    with _client(keyed.server, "no") as client, pytest.raises(errors.ClientError, match="API_KEY_INVALID") as refused:
        _ask(client)
    assert refused.value.code == 400
    assert len(keyed.server.bill()["entries"]) == 1
    url = f"{api.server.url('gemini')}/models/{MODEL}:generateContent"
    body = {"contents": [{"parts": [{"text": "A fox"}]}]}
    assert requests.post(url, json=body, timeout=20).status_code == 403
    reply = requests.post(url, json={**body, "generationConfig": {"n": 1}}, params={"key": "any"}, timeout=20)
    assert "Unknown name \"n\" at 'generationConfig'" in reply.json()["error"]["message"]
    assert api.server.bill()["entries"] == []
