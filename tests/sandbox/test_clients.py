"""Unmodified clients of the API, with only the base URL changed."""

from __future__ import annotations

import warnings

import pytest


class TestOpenAI:
    @pytest.fixture
    def client(self, sandbox):
        openai = pytest.importorskip("openai")
        with openai.OpenAI(base_url=sandbox.base_url, api_key="any", max_retries=0) as client:
            yield client

    def test_flux_form(self, client, api):
        reply = client.images.generate(model="flux/schnell", prompt="A fox")
        assert reply.images[0]["width"] == 1024
        assert api.open(reply.images[0]["url"]).size == (1024, 768)

    def test_data_form(self, client, api):
        reply = client.images.generate(model="google/imagen4/preview", prompt="A fox", n=1, size="1024x1024")
        assert api.open(reply.data[0].url).size == (1024, 1024)
        assert api.server.bill()["credits"] == 104_000

    def test_chat_and_models(self, client):
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        assert reply.choices[0].message.content.endswith("hi")
        assert "flux/schnell" in {model.id for model in client.models.list()}

    def test_errors(self, client):
        import openai

        with pytest.raises(openai.BadRequestError) as bad:
            client.images.generate(model="google/imagen4/preview", prompt="x" * 401)
        assert bad.value.body["data"][0]["code"] == "too_big"
        with pytest.raises(openai.NotFoundError):
            client.images.generate(model="nothing", prompt="A fox")


class TestLiteLLM:
    @pytest.fixture(scope="class")
    def litellm(self):
        patch = pytest.MonkeyPatch()
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = pytest.importorskip("litellm")
        yield module
        patch.undo()

    @pytest.mark.filterwarnings("ignore")
    def test_aiml_provider(self, litellm, api):
        reply = litellm.image_generation(
            model="aiml/flux/schnell", prompt="A fox", api_base=api.server.base_url, api_key="any", size="512x512", n=2
        )
        assert [api.open(item.url).size for item in reply.data] == [(512, 512), (512, 512)]
        reply = litellm.image_generation(
            model="aiml/google/imagen4/preview", prompt="A fox", api_base=api.server.origin, api_key="any"
        )
        assert api.open(reply.data[0].url).size == (1024, 1024)
        assert api.server.bill()["credits"] == 2 * 8_000 + 104_000
