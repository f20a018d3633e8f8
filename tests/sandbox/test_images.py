"""`POST /v1/images/generations`: reply forms, headers, validation, money."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import jsonschema
import pytest
from PIL import Image
from prefect_imagen.core.providers.registry import load_registry

from .conftest import in_flight

IMAGEN4 = "google/imagen4/preview"
GA_IDS = (
    "google/imagen-4.0-generate-001",
    "google/imagen-4.0-fast-generate-001",
    "google/imagen-4.0-ultra-generate-001",
)
URL = {"type": "string", "pattern": r"^http://127\.0\.0\.1:\d+/cdn/generations/[a-z]+/\d{13}-[0-9a-f-]{36}\.png\?.*%2f"}

# Hand-written in the shapes of the provider's per-model documents, and strict: no key beyond those named.
META = {
    "type": "object",
    "required": ["usage"],
    "additionalProperties": False,
    "properties": {
        "usage": {
            "type": "object",
            "required": ["credits_used", "usd_spent"],
            "additionalProperties": False,
            "properties": {"credits_used": {"type": "integer"}, "usd_spent": {"type": "number"}},
        }
    },
}


def _object(required: list[str], optional: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties | (optional or {}),
    }


def _items(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


DATA_ITEM = _object(
    ["mime_type", "url", "b64_json"],
    {"prompt": {"type": "string"}},
    mime_type={"const": "image/png"},
    url=URL,
    b64_json={"type": "null"},
)
DATA = _object(["data", "meta"], data=_items(DATA_ITEM), meta=META)
NAMED = _object(["data", "meta", "model"], data=_items(DATA_ITEM), meta=META, model={"const": "imagen4/preview"})
FILES = _object(
    ["images", "seed"],
    seed={"type": "integer"},
    images=_items(
        _object(
            ["url", "content_type", "file_name", "file_size"],
            url=URL,
            content_type={"const": "image/png"},
            file_name={"const": "output.png"},
            file_size={"type": "integer", "minimum": 1000},
        )
    ),
)
FLUX = _object(
    ["images", "timings", "seed", "has_nsfw_concepts", "prompt"],
    images=_items(
        _object(
            ["url", "width", "height", "content_type"],
            url=URL,
            width={"type": "integer"},
            height={"type": "integer"},
            content_type={"const": "image/png"},
        )
    ),
    timings=_object(["inference"], inference={"type": "number"}),
    seed={"type": "integer"},
    has_nsfw_concepts={"type": "array", "items": {"const": False}},
    prompt={"type": "string"},
)


def issues(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json; charset=utf-8"
    body = response.json()
    assert body["title"] == "Bad Request"
    assert body["status"] == 400
    assert body["message"] == body["error"]["message"] == "Invalid payload provided"
    assert body["instance"] == "/v1/images/generations"
    assert body["requestId"] == response.headers["x-request-id"]
    assert body["error"]["name"] == "BadRequestException"
    return body["error"]["data"]


class TestForms:
    @pytest.mark.parametrize("model", [IMAGEN4, *GA_IDS])
    def test_current_contract(self, api, model):
        response = api.make(model=model, num_images=2, seed=7, enhance_prompt=False)
        assert response.status_code == 200
        body = response.json()
        jsonschema.validate(body, DATA)
        assert len(body["data"]) == 2
        assert all("prompt" not in item for item in body["data"])
        price = load_registry().resolve(model).spec.price
        assert body["meta"]["usage"]["credits_used"] == 2 * price.credits
        assert body["meta"]["usage"]["usd_spent"] == float(2 * price.usd)

    def test_enhance_prompt_is_on_by_default_and_rewrites_the_same_way(self, api):
        first = api.make("A red fox.", seed=7).json()["data"][0]["prompt"]
        assert first.startswith("A red fox. ")
        assert len(first) > 100
        assert first == api.make("A red fox.", seed=7).json()["data"][0]["prompt"]

    def test_base64(self, api):
        body = api.make(convert_base64_to_url=False, seed=3, aspect_ratio="16:9").json()
        item = body["data"][0]
        assert item["url"] is None
        assert Image.open(io.BytesIO(base64.b64decode(item["b64_json"], validate=True))).size == (1408, 768)

    def test_base64_with_a_data_uri(self, start):
        item = start(base64_data_uri=True).make(convert_base64_to_url=False).json()["data"][0]
        assert item["b64_json"].startswith("data:image/png;base64,iVBOR")

    def test_alias_has_its_own_fields_and_names_the_model(self, api):
        body = api.make("x" * 3000, model="imagen4/preview", seed=0).json()
        jsonschema.validate(body, NAMED)
        assert "prompt" not in body["data"][0]

    def test_contract_of_2025_05(self, start):
        api = start(imagen4_contract="2025-05", success_status=201, cost_headers=False)
        response = api.make("x" * 4000, num_images=2, seed=12, negative_prompt="rain")
        assert response.status_code == 201
        body = response.json()
        jsonschema.validate(body, FILES)
        assert body["seed"] == 12
        assert len(api.get(body["images"][1]["url"]).content) == body["images"][1]["file_size"]
        assert not [name for name in response.headers if name.startswith("x-aimlapi")]
        assert api.server.bill()["credits"] == 208_000
        assert issues(api.make(seed=0))[0]["code"] == "too_small"

    def test_flux(self, api):
        body = api.make(model="flux/schnell", num_images=3, seed=5).json()
        jsonschema.validate(body, FLUX)
        assert (len(body["images"]), len(body["has_nsfw_concepts"]), body["seed"]) == (3, 3, 5)
        assert (body["images"][0]["width"], body["images"][0]["height"]) == (1024, 768)

    @pytest.mark.parametrize("path", ["/v1/images/generations/", "/images/generations", "/images/generations/"])
    def test_other_paths(self, api, path):
        response = api.post(path, {"model": IMAGEN4, "prompt": "A fox"})
        assert response.status_code == 200

    def test_without_a_seed_every_call_is_another_picture(self, api):
        urls = [api.make(model="flux/schnell").json()["images"][0]["url"] for _ in range(2)]
        assert api.get(urls[0]).content != api.get(urls[1]).content


class TestSizes:
    @pytest.mark.parametrize(
        ("ratio", "size"),
        [
            ("1:1", (1024, 1024)),
            ("3:4", (896, 1280)),
            ("4:3", (1280, 896)),
            ("9:16", (768, 1408)),
            ("16:9", (1408, 768)),
        ],
    )
    def test_imagen(self, api, ratio, size):
        assert api.open(api.make(aspect_ratio=ratio).json()["data"][0]["url"]).size == size

    @pytest.mark.parametrize(
        ("image_size", "size"),
        [
            ("square", (512, 512)),
            ("portrait_16_9", (576, 1024)),
            ({"width": 256, "height": 1536}, (256, 1536)),
            ({"width": 64, "height": 64}, (64, 64)),
            ({"width": 640}, (640, 768)),
        ],
    )
    def test_flux(self, api, image_size, size):
        image = api.make(model="flux/schnell", image_size=image_size).json()["images"][0]
        assert (image["width"], image["height"]) == size
        assert api.open(image["url"]).size == size


class TestHeaders:
    def test_ids_and_cost(self, api):
        response = api.post(
            "/v1/images/generations", {"model": IMAGEN4, "prompt": "A fox"}, **{"X-Client-Request-Id": "run.1:item-2_3"}
        )
        assert response.headers["x-client-request-id"] == "run.1:item-2_3"
        assert response.headers["x-aimlapi-credits-used"] == "104000"
        assert response.headers["x-aimlapi-usd-spent"] == "0.052"
        assert re.fullmatch(r"prefect-imagen-sandbox/\S+", response.headers["server"])
        entry = api.server.bill()["entries"][0]
        assert entry["inference_id"] == response.headers["x-inference-id"]
        assert entry["client_request_id"] == "run.1:item-2_3"

    @pytest.mark.parametrize("bad", ["has space", "a" * 129, "ümlaut".encode().decode("latin-1"), "semi;colon"])
    def test_an_invalid_client_request_id_is_ignored(self, api, bad):
        response = api.post("/v1/images/generations", {"model": IMAGEN4, "prompt": "A"}, **{"X-Client-Request-Id": bad})
        assert response.status_code == 200
        assert "x-client-request-id" not in response.headers
        assert api.server.bill()["entries"][0]["client_request_id"] is None

    @pytest.mark.parametrize("path", ["/v1/models", "/nowhere", "/sandbox", "/cdn/none"])
    def test_server_header_is_everywhere(self, api, path):
        assert api.get(path).headers["server"].startswith("prefect-imagen-sandbox/")


class TestValidation:
    @pytest.mark.parametrize("model", [IMAGEN4, *GA_IDS])
    def test_prompt_limit_counts_utf16_units(self, api, model):
        assert api.make("x" * 400, model=model).status_code == 200
        assert api.make("🦊" * 200, model=model).status_code == 200
        (issue,) = issues(api.make("🦊" * 200 + "x", model=model))
        assert issue == {
            "code": "too_big",
            "maximum": 400,
            "type": "string",
            "inclusive": True,
            "exact": False,
            "message": "String must contain at most 400 character(s)",
            "path": ["prompt"],
        }

    def test_enum(self, api):
        (issue,) = issues(api.make(aspect_ratio="2:1"))
        assert issue["code"] == "invalid_enum_value"
        assert issue["received"] == "2:1"
        assert issue["options"] == ["1:1", "9:16", "16:9", "3:4", "4:3"]
        assert issue["path"] == ["aspect_ratio"]
        assert issue["message"].startswith("Invalid enum value. Expected '1:1' | '9:16'")

    @pytest.mark.parametrize(
        ("model", "fields", "code", "path"),
        [
            (IMAGEN4, {"num_images": 5}, "too_big", ["num_images"]),
            (IMAGEN4, {"num_images": 0}, "too_small", ["num_images"]),
            (IMAGEN4, {"num_images": "2"}, "invalid_type", ["num_images"]),
            (IMAGEN4, {"num_images": 1.5}, "invalid_type", ["num_images"]),
            (IMAGEN4, {"num_images": True}, "invalid_type", ["num_images"]),
            (IMAGEN4, {"num_images": None}, "invalid_type", ["num_images"]),
            (IMAGEN4, {"seed": -1}, "too_small", ["seed"]),
            (IMAGEN4, {"seed": 2**32}, "too_big", ["seed"]),
            (IMAGEN4, {"enhance_prompt": "no"}, "invalid_type", ["enhance_prompt"]),
            (IMAGEN4, {"person_generation": "allow_all"}, "invalid_enum_value", ["person_generation"]),
            (IMAGEN4, {"safety_setting": "block_none"}, "invalid_enum_value", ["safety_setting"]),
            (GA_IDS[1], {"aspect_ratio": "21:9"}, "invalid_enum_value", ["aspect_ratio"]),
            ("imagen4/preview", {"num_images": 9}, "too_big", ["num_images"]),
            ("flux/schnell", {"seed": 0}, "too_small", ["seed"]),
            ("flux/schnell", {"image_size": "huge"}, "invalid_enum_value", ["image_size"]),
            ("flux/schnell", {"image_size": 512}, "invalid_type", ["image_size"]),
            ("flux/schnell", {"image_size": {"width": 100, "height": 64}}, "not_multiple_of", ["image_size", "width"]),
            ("flux/schnell", {"image_size": {"width": 64, "height": 1568}}, "too_big", ["image_size", "height"]),
            ("flux/schnell", {"image_size": {"width": 32, "height": 64}}, "too_small", ["image_size", "width"]),
        ],
    )
    def test_fields(self, api, model, fields, code, path):
        (issue,) = issues(api.make(model=model, **fields))
        assert (issue["code"], issue["path"]) == (code, path)
        assert api.server.bill() == {"entries": [], "credits": 0}

    def test_all_issues_are_named_at_once(self, api):
        found = issues(api.make("", num_images=9, seed=-1))
        assert [issue["path"] for issue in found] == [["prompt"], ["num_images"], ["seed"]]

    def test_missing_prompt_and_model(self, api):
        (issue,) = issues(api.post("/v1/images/generations", {"model": IMAGEN4}))
        assert (issue["code"], issue["received"], issue["message"]) == ("invalid_type", "undefined", "Required")
        (issue,) = issues(api.post("/v1/images/generations", {"prompt": "A fox"}))
        assert issue["path"] == ["model"]
        (issue,) = issues(api.post("/v1/images/generations", ["A fox"]))
        assert issue["expected"] == "object"

    @pytest.mark.parametrize("fields", [{"size": "1024x1024"}, {"n": 40}, {"negative_prompt": 7}])
    def test_unknown_fields_are_dropped(self, api, fields):
        body = api.make(**fields).json()
        assert len(body["data"]) == 1

    def test_whole_floats_are_integers_in_json(self, api):
        assert len(api.make(num_images=2.0).json()["data"]) == 2

    @pytest.mark.parametrize("raw", [b"{", b"", b"\xff", b"[" * 100_000])
    def test_not_json(self, api, raw):
        response = api.session.post(
            f"{api.server.base_url}/images/generations", raw, headers={"Authorization": "Bearer k"}, timeout=20
        )
        assert response.status_code == 400
        assert response.json()["error"]["name"] == "BadRequestException"

    def test_lone_surrogate(self, api):
        response = api.make("broken \ud83d half", model="flux/schnell")
        assert response.json()["prompt"] == "broken \ud83d half"
        assert api.open(response.json()["images"][0]["url"]).size == (1024, 768)

    @pytest.mark.parametrize(
        "model", ["google/imagen5", "imagen-4.0-ultra-generate-preview-06-06", f"{IMAGEN4}@2025-05", ""]
    )
    def test_unknown_and_withdrawn_models(self, api, model):
        response = api.make(model=model)
        assert response.status_code == 404
        assert response.headers["content-type"].startswith("application/problem+json")
        assert response.json()["error"]["name"] == "NotFoundException"


class TestKeys:
    def test_missing_and_empty(self, api):
        missing = api.post("/v1/images/generations", {"model": IMAGEN4, "prompt": "A"}, key=None)
        empty = api.post("/v1/images/generations", {"model": IMAGEN4, "prompt": "A"}, key="")
        for response, start in ((missing, "This request requires"), (empty, "You provided an empty string")):
            body = response.json()
            assert response.status_code == body["status"] == 401
            assert body["title"] == "Unauthorized"
            assert body["message"].startswith(start)
            assert body["error"] == {"name": "UnauthorizedException", "message": body["message"]}
        assert api.server.bill()["credits"] == 0

    def test_only_the_given_keys(self, start):
        api = start(keys=["hush-1", "hush-2"])
        statuses = [
            api.post("/v1/images/generations", {"model": IMAGEN4, "prompt": "A"}, key=key).status_code
            for key in ("hush-1", "hush-2", "hush-3")
        ]
        assert statuses == [200, 200, 401]
        assert "hush" not in repr(api.server.options)


class TestMoney:
    def test_one_entry_a_billed_call(self, api):
        api.make("first", num_images=3)
        api.make("bad", num_images=9)
        api.make("second", model="flux/schnell")
        bill = api.server.bill()
        assert [(e["n"], e["prompt"], e["model"], e["images"], e["credits"]) for e in bill["entries"]] == [
            (1, "first", IMAGEN4, 3, 312_000),
            (2, "second", "flux/schnell", 1, 8_000),
        ]
        assert bill["credits"] == 320_000
        calls = api.server.calls()
        assert [(c["status"], c["billed"], c["done"]) for c in calls] == [
            (200, True, True),
            (400, False, True),
            (200, True, True),
        ]
        assert api.server.calls(since=2) == calls[2:]

    def test_balance_runs_out(self, start):
        api = start(balance_usd="0.11")
        assert api.make().status_code == 200
        assert api.make().status_code == 200
        response = api.make()
        assert response.status_code == 403
        error = response.json()["error"]
        assert error["name"] == "ForbiddenException"
        assert error["data"] == {"kind": "err_insufficent_credits"}
        assert "run out of credits" in error["message"]
        balance = api.get("/v2/billing", headers={"Authorization": "Bearer k"})
        assert balance.json() == {"current_balance": 0.006, "currency": "USD"}
        assert api.make(model="flux/schnell").status_code == 200
        api.server.reset()
        assert api.make().status_code == 200

    def test_calls_at_once_are_counted(self, start):
        def counted():
            stats = api.server.stats()
            return stats["in_flight"], stats["max_in_flight"], stats["posts"]

        api = start(pictures="fast")
        api.make()
        assert counted() == (0, 1, 1)
        api.server.set_faults([{"fault": "slow_reply", "seconds": 3600}])
        with in_flight(api, 4):
            assert counted() == (4, 4, 5)


def test_edits_are_for_the_models_that_take_files(api: Any) -> None:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    for model, path, status, inputs in (
        ("openai/gpt-image-1", "/v1/images/edits", 200, 1),
        (IMAGEN4, "/v1/images/edits", 404, 0),
        ("openai/gpt-image-1", "/v1/images/generations", 200, 0),
    ):
        answer = api.post(path, {"model": model, "prompt": "In blue", "images": [uri]})
        assert answer.status_code == status
        assert len(api.server.calls()[-1]["inputs"]) == inputs
    assert len(api.server.bill()["entries"]) == 2
