"""`/docs-json`: the sandbox does what its own documents say. Everything that fits a model's schema is accepted, and the
reply fits; everything that does not is refused, in the API's envelope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prefect_imagen.core.providers import load_registry
from prefect_imagen.sandbox import SandboxServer

MODELS = [
    contract.wire_model or spec.id
    for spec in load_registry().models
    for name, contract in spec.contracts.items()
    if spec.lifecycle.status != "withdrawn" and (name == spec.default_contract or contract.wire_model)
]
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
# What is not in a schema: a prompt's length in JSON Schema counts characters, in the API (and here) UTF-16 units.
PLAIN = st.text(st.characters(codec="ascii", exclude_characters="\x00"), min_size=1, max_size=60)
QUICK = settings(
    max_examples=6,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def quick() -> Iterator[SandboxServer]:
    """A sandbox that draws each size once."""
    with SandboxServer(pictures="fast") as server:
        yield server


@pytest.fixture
def api(quick: SandboxServer, api: Any) -> Any:
    api.server = quick
    return api


def operation(api: Any, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    post = api.get("/docs-json", params={"model": model}).json()["paths"]["/v1/images/generations"]["post"]
    request = post["requestBody"]["content"]["application/json"]["schema"]
    return request, post["responses"]["200"]["content"]["application/json"]["schema"]


def json_schema(schema: Any) -> Any:
    """OpenAPI 3.0 writes `nullable` where JSON Schema has a list of types."""
    if isinstance(schema, list):
        return [json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: json_schema(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is True:
        made["type"] = [schema["type"], "null"]
    return made


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of the kinds that these documents use."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            step = schema.get("multipleOf", 1)
            low, high = schema.get("minimum", 0), schema.get("maximum", 2**31)
            return st.integers(-(-low // step), high // step).map(lambda number: number * step)
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 100))
        case "array":
            return st.lists(
                values(schema["items"]), min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 4)
            )
        case "object":
            return objects(schema, schema["properties"])
        case _ if "pattern" in schema:
            return st.sampled_from(["https://example.org/a.png", "http://h/x", PICTURE])
        case _:
            return st.text(max_size=min(40, schema.get("maxLength", 40)), min_size=schema.get("minLength", 0))


def objects(schema: dict[str, Any], names: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with those of the named properties that are needed, and any of the others."""
    parts = {name: values(schema["properties"][name]) for name in names}
    needed = {name: parts[name] for name in schema.get("required", []) if name in parts}
    return st.fixed_dictionaries(needed, optional={name: one for name, one in parts.items() if name not in needed})


def bodies(schema: dict[str, Any], model: str) -> st.SearchStrategy[dict[str, Any]]:
    """Requests that fit, with fields that nobody knows now and then: the API drops them."""
    # Large pictures take their time, and are not what is tested: sizes have a test of their own.
    names = [name for name in schema["properties"] if name not in ("model", "prompt", "image_size", "resolution")]
    fixed = {"model": st.just(model), "prompt": PLAIN}
    extra = st.just({}) | st.just({"nobody_knows": 1})
    return st.builds(lambda a, b, c: {**a, **b, **c}, objects(schema, names), st.fixed_dictionaries(fixed), extra)


def spoiled(schema: dict[str, Any], body: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with one field that does not fit, or without one that is needed."""
    wrong = st.one_of(
        st.none(), st.booleans(), st.integers(-10, 10**12), st.floats(-9, 9), PLAIN, st.just([]), st.just({})
    )
    change = st.sampled_from([name for name in schema["properties"] if name != "model"])
    swapped = st.builds(lambda name, value: {**body, name: value}, change, wrong)
    missing = st.sampled_from(schema["required"]).map(lambda name: {k: v for k, v in body.items() if k != name})
    validator = jsonschema.Draft7Validator(schema)
    return st.one_of(swapped, missing).filter(lambda changed: not validator.is_valid(changed))


@pytest.mark.parametrize("model", MODELS)
def test_the_sandbox_does_what_its_document_says(model: str, api: Any) -> None:
    schema, reply = operation(api, model)
    jsonschema.Draft7Validator.check_schema(json_schema(schema))
    fits = jsonschema.Draft7Validator(json_schema(reply))

    @QUICK
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        body = data.draw(bodies(schema, model))
        jsonschema.validate(body, json_schema(schema))
        answer = api.post("/v1/images/generations", body)
        assert answer.status_code == 200, (body, answer.text)
        fits.validate(answer.json())
        broken = data.draw(spoiled(json_schema(schema), body))
        refused = api.post("/v1/images/generations", broken)
        assert refused.status_code == 400, (broken, refused.text[:300])
        told = refused.json()
        assert (told["status"], told["error"]["name"]) == (400, "BadRequestException")
        issues = told["error"]["data"]
        assert issues
        assert all({"code", "path", "message"} <= set(issue) for issue in issues)
        changed = {name for name in schema["properties"] if repr(body.get(name, ...)) != repr(broken.get(name, ...))}
        assert {issue["path"][0] for issue in issues} <= changed

    check()


def test_a_document_is_of_one_contract(api) -> None:
    body, _ = operation(api, "imagen4/preview")
    assert body["properties"]["model"]["enum"] == ["imagen4/preview"]
    assert "maxLength" not in body["properties"]["prompt"]
    body, _ = operation(api, "google/nano-banana-2")
    assert body["properties"]["model"]["enum"] == ["google/nano-banana-2", "google/gemini-3-1-flash-image-preview"]
    assert api.get("/docs-json", params={"model": "nothing"}).status_code == 404
    assert api.get("/docs-json", params={"model": "dall-e-2"}).status_code == 404


@pytest.mark.parametrize(
    "model", ["flux/schnell", "alibaba/wan-2-7-image", "bytedance/seedream-4-5", "openai/gpt-image-2"]
)
def test_sizes(model: str, api: Any) -> None:
    schema, _ = operation(api, model)
    name = "size" if "size" in schema["properties"] else "image_size"
    size = json_schema(schema["properties"][name])
    validator = jsonschema.Draft7Validator(size)
    sides = st.sampled_from([0, 63, 64, 500, 511, 512, 1440, 1441, 1536, 2048, 4096, 4097])
    pixels = st.fixed_dictionaries({"width": sides, "height": sides})

    @settings(QUICK, max_examples=25)
    @given(value=pixels | PLAIN | st.sampled_from(["square_hd", "2K", "1024x1024"]))
    def check(value: Any) -> None:
        # A seed that is none: what is wrong is told without a picture being drawn.
        answer = api.post("/v1/images/generations", {"model": model, "prompt": "", name: value})
        wrong = {issue["path"][0] for issue in answer.json()["error"]["data"]}
        assert wrong == ({"prompt"} if validator.is_valid(value) else {"prompt", name})

    check()
