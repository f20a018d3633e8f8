"""The routes beside image generation: models, deprecations, balance, chat, unknown paths."""

from __future__ import annotations

import jsonschema
import pytest

ROW = {
    "type": "object",
    "required": ["id", "info", "type", "aliases", "tags"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "info": {
            "type": "object",
            "required": ["releasedAt", "name", "developer", "description", "url", "docsUrl", "docsJson"],
            "additionalProperties": {"type": "string"},
        },
        "type": {"enum": ["openai/image-generations", "openai/chat-completions"]},
        "aliases": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "pricing": {
            "type": "object",
            "required": ["kind", "currency", "units"],
            "properties": {"kind": {"const": "fixed"}, "currency": {"const": "USD"}},
        },
    },
}
CHAT = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to a fox"}]}


class TestModels:
    @pytest.mark.parametrize("path", ["/v1/models", "/models", "/api/v1/models"])
    def test_rows(self, api, path):
        body = api.get(path).json()
        assert body["object"] == "list"
        for row in body["data"]:
            jsonschema.validate(row, ROW)
            assert "pricing" not in row
        ids = {row["id"] for row in body["data"]}
        assert {"google/imagen4/preview", "flux/schnell", "openai/gpt-4o-mini"} <= ids
        assert "imagen-4.0-ultra-generate-preview-06-06" not in ids

    def test_pricing_by_alias(self, api):
        (row,) = api.get("/v1/models?include=pricing&id=imagen4/preview").json()["data"]
        assert row["id"] == "google/imagen4/preview"
        assert row["pricing"] == {
            "kind": "fixed",
            "currency": "USD",
            "units": [{"name": "image", "measure": "output", "price": 0.052, "per": 1}],
        }

    def test_type_and_unknown_id(self, api):
        rows = api.get("/v1/models?type=openai/image-generations").json()["data"]
        assert {row["type"] for row in rows} == {"openai/image-generations"}
        assert api.get("/v1/models?id=nothing").json()["data"] == []

    @pytest.mark.parametrize("path", ["/v1/models?include=all", "/v1/models/deprecations"])
    def test_etag(self, api, path):
        first = api.get(path)
        again = api.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert "max-age=60" in first.headers["cache-control"]
        assert api.get(path, headers={"If-None-Match": 'W/"other"'}).status_code == 200

    def test_deprecations(self, api):
        body = api.get("/v1/models/deprecations").json()
        (row,) = [row for row in body["data"] if row["id"] == "imagen-4.0-ultra-generate-preview-06-06"]
        assert set(row) == {"id", "aliases", "status", "deprecated_at", "shutdown_at", "replaced_by", "reason"}
        assert (row["status"], row["shutdown_at"]) == ("withdrawn", "2026-03-29")
        assert row["replaced_by"] == "google/imagen-4.0-ultra-generate-001"


class TestBalance:
    def test_falls_by_what_is_billed(self, api):
        key = {"Authorization": "Bearer k"}
        assert api.get("/v2/billing", headers=key).json() == {"current_balance": 1000.0, "currency": "USD"}
        api.make(num_images=4)
        assert api.get("/v2/billing", headers=key).json()["current_balance"] == pytest.approx(999.792)

    def test_needs_a_key(self, api):
        assert api.get("/v2/billing").status_code == 401


class TestChat:
    def test_answer_and_bill(self, api):
        body = api.post("/v1/chat/completions", CHAT).json()
        (choice,) = body["choices"]
        assert choice["message"]["role"] == "assistant"
        assert "Say hello to a fox" in choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        (entry,) = api.server.bill()["entries"]
        assert (entry["endpoint"], entry["prompt"]) == ("chat", "Say hello to a fox")
        assert body["meta"]["usage"]["credits_used"] == entry["credits"] > 0

    def test_parts(self, api):
        parts = [{"type": "text", "text": "Say"}, {"type": "text", "text": "hi"}]
        body = api.post("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": parts}]}).json()
        assert body["choices"][0]["message"]["content"].endswith("Say hi")

    def test_wrong_role(self, api):
        response = api.post("/v1/chat/completions", {**CHAT, "messages": [{"role": "robot", "content": "x"}]})
        assert response.status_code == 400
        (issue,) = response.json()["error"]["data"]
        assert (issue["code"], issue["received"], issue["path"]) == (
            "invalid_enum_value",
            "robot",
            ["messages", 0, "role"],
        )

    @pytest.mark.parametrize("messages", [None, [], "hi", [3]])
    def test_wrong_messages(self, api, messages):
        assert api.post("/v1/chat/completions", {**CHAT, "messages": messages}).status_code == 400

    def test_unknown_model_and_streams(self, api):
        assert api.post("/v1/chat/completions", {**CHAT, "model": "gpt-99"}).status_code == 404
        assert api.post("/v1/chat/completions", {**CHAT, "stream": True}).status_code == 400
        assert api.server.bill()["credits"] == 0


def test_unknown_path_and_method(api):
    body = api.get("/v1/nowhere").json()
    assert (body["status"], body["title"], body["message"]) == (404, "Not Found", "Cannot GET /v1/nowhere")
    assert api.get("/v1/images/generations").status_code == 405


def test_about(api):
    about = api.get("/sandbox").json()
    assert about["sandbox"] == "prefect-imagen"
    assert api.get("/sandbox").headers["server"] == f"prefect-imagen-sandbox/{about['version']}"
