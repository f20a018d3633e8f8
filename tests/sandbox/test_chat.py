"""Language models as the sandbox plays them: JSON answers, tokens, and everything that real ones get wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect_imagen.sandbox import SandboxServer

from .conftest import Api

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "rewritten_prompt",
        "strict": True,
        "schema": {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    },
}
MESSAGES = [
    {"role": "system", "content": "Answer with a JSON object; its prompt has at most 120 characters."},
    {"role": "user", "content": json.dumps({"prompt": "a fox in the snow", "brief": "calm"})},
]


def ask(api: Api, model: str = "gpt-4o-mini", **fields: Any) -> dict[str, Any]:
    response = api.post(
        "/v1/chat/completions", {"model": model, "messages": MESSAGES, "response_format": SCHEMA, **fields}
    )
    body: dict[str, Any] = response.json()
    return body


def message(body: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = body["choices"][0]["message"]
    return said


def struck(api: Api, **rule: Any) -> dict[str, Any]:
    api.server.set_faults([rule])
    return ask(api)


class TestAnswers:
    def test_a_schema_is_kept_to(self, api: Api) -> None:
        body = ask(api)
        assert body == ask(api) | {name: body[name] for name in ("id", "created")}
        prompt = json.loads(message(body)["content"])["prompt"]
        assert prompt.startswith("a fox in the snow, ")
        assert len(prompt) <= 120

    @pytest.mark.parametrize(("kind", "fenced"), [("json_object", False), ("text", True)])
    def test_without_a_schema(self, api: Api, kind: str, fenced: bool) -> None:
        content = message(ask(api, response_format={"type": kind}))["content"]
        assert ("```json" in content) is fenced
        assert '"prompt"' in content

    def test_every_kind_of_schema(self, api: Api) -> None:
        properties = {
            "names": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 2},
            "size": {"enum": ["small", "large"]},
            "count": {"type": "integer", "minimum": 3},
            "good": {"type": "boolean"},
            "none": {"type": "null"},
        }
        schema = {"name": "x", "schema": {"type": "object", "properties": properties}}
        body = ask(api, response_format={"type": "json_schema", "json_schema": schema})
        answer = json.loads(message(body)["content"])
        assert answer.pop("names") == ["a fox in", "a fox in"]
        assert answer == {"size": "small", "count": 3, "good": True, "none": None}

    def test_a_model_that_reasons(self, api: Api) -> None:
        body = ask(api, "openai/gpt-5-nano")
        assert message(body)["reasoning_content"]
        usage = body["usage"]
        assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
        small = ask(api, "openai/gpt-5-nano", max_tokens=20)
        assert (small["choices"][0]["finish_reason"], message(small)["content"]) == ("length", "")
        assert small["usage"]["completion_tokens"] <= 20

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    def test_tokens_end_an_answer(self, api: Api, name: str) -> None:
        body = ask(api, **{name: 5})
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 5
        assert body["meta"]["usage"]["credits_used"] < ask(api)["meta"]["usage"]["credits_used"]

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"max_tokens": 0}, ["max_tokens"]),
            ({"max_tokens": "many"}, ["max_tokens"]),
            ({"response_format": "json"}, ["response_format"]),
            ({"response_format": {"type": "xml"}}, ["response_format", "type"]),
            ({"response_format": {"type": "json_schema"}}, ["response_format", "json_schema"]),
            (
                {"response_format": {"type": "json_schema", "json_schema": {}}},
                ["response_format", "json_schema", "name"],
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, api: Api, fields: dict[str, Any], path: list[str]) -> None:
        assert [issue["path"] for issue in ask(api, **fields)["error"]["data"]] == [path]
        assert api.server.bill()["credits"] == 0


class TestFaults:
    @pytest.mark.parametrize("form", ["cut", "prose", "keys"])
    def test_bad_json_is_billed(self, api: Api, form: str) -> None:
        content = message(struck(api, fault="bad_json", form=form))["content"]
        if form == "keys":
            assert "prompt" not in json.loads(content)
        else:
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                json.loads(content)
        assert api.server.bill()["credits"] > 0

    def test_a_fence(self, api: Api) -> None:
        content = message(struck(api, fault="fenced_json"))["content"]
        assert json.loads(content.partition("```json")[2].partition("```")[0])["prompt"]

    def test_too_long(self, api: Api) -> None:
        content = message(struck(api, fault="too_long", characters=700))["content"]
        assert len(json.loads(content)["prompt"]) == 700

    def test_refusals(self, api: Api) -> None:
        said = message(struck(api, fault="chat_refusal"))
        assert said["content"] is None
        assert said["refusal"]
        body = struck(api, fault="chat_refusal", form="filter")
        assert body["choices"][0]["finish_reason"] == "content_filter"
        billed = api.server.bill()["credits"]
        assert billed > 0
        assert struck(api, fault="chat_refusal", form="http_400")["status"] == 400
        assert api.server.bill()["credits"] == billed

    @pytest.mark.parametrize("reasoning", [True, False])
    def test_no_content(self, api: Api, reasoning: bool) -> None:
        said = message(struck(api, fault="empty_content", reasoning=reasoning))
        assert said["content"] == ""
        assert ("reasoning_content" in said) is reasoning

    def test_the_role_system(self, api: Api) -> None:
        (issue,) = struck(api, fault="system_role_rejected")["error"]["data"]
        assert (issue["path"], issue["received"]) == (["messages", 0, "role"], "system")
        assert message(ask(api, messages=MESSAGES[1:]))["content"]

    @pytest.mark.parametrize("parameter", ["response_format", "max_tokens"])
    def test_a_parameter(self, api: Api, parameter: str) -> None:
        api.server.set_faults([{"fault": "parameter_rejected", "parameter": parameter}])
        assert parameter in ask(api, max_tokens=99)["message"]
        assert message(ask(api, response_format=None))["content"]
        assert api.server.bill()["entries"]

    def test_they_strike_chats_alone(self, api: Api) -> None:
        api.server.set_faults([{"fault": "too_long"}])
        assert api.make().status_code == 200
        assert api.server.faults()["rules"][0]["met"] == 0

    def test_money_goes_as_for_images(self, api: Api, sandbox: SandboxServer) -> None:
        api.server.set_faults([{"fault": "html_200", "match": {"endpoint": "chat"}}])
        response = api.post("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": MESSAGES})
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/html")
        assert [entry["endpoint"] for entry in sandbox.bill()["entries"]] == ["chat"]
