"""A request is checked whole before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.providers import ImageRequest, InvalidRequest, load_registry
from prefect_imagen.core.providers.fields import parse_parameter, prompt_length

MODEL = "google/imagen4/preview"
DIGEST = "f" * 64


def problems(model: str, prompt: str = "a fox", **parameters: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        ImageRequest.build(model, prompt, parameters)
    assert caught.value.model
    return {problem.field: str(problem) for problem in caught.value.problems}


def test_every_wrong_field_is_named_with_value_and_what_is_allowed() -> None:
    found = problems(
        MODEL,
        "x" * 401,
        aspect_ratio="2:1",
        num_images=5,
        seed=-1,
        enhance_prompt="yes",
        safety_setting="block_none",
        aspect_ration="1:1",
    )
    assert found["aspect_ratio"] == "aspect_ratio: '2:1' is not allowed (one of 1:1, 9:16, 16:9, 3:4, 4:3)"
    assert found["num_images"] == "num_images: 5 is not allowed (an integer, 1 to 4)"
    assert found["seed"] == "seed: -1 is not allowed (an integer, 0 to 4294967295)"
    assert "true or false" in found["enhance_prompt"]
    assert "block_medium_and_above" in found["safety_setting"]
    assert "did you mean aspect_ratio?" in found["aspect_ration"]
    assert "401 characters; the limit is 400" in found["prompt"]
    assert len(found["prompt"]) < 200, "the whole prompt is quoted"


def test_a_field_of_another_contract_is_named() -> None:
    assert "fields of this model" in problems("imagen4/preview", enhance_prompt=False)["enhance_prompt"]
    assert ImageRequest.build(f"{MODEL}@2025-05", "a fox", {"negative_prompt": "dogs"})
    assert "negative_prompt" in problems(MODEL, negative_prompt="dogs")


@pytest.mark.parametrize(
    "size", ["1024x1024", {"width": 65, "height": 64}, {"width": 64}, {"width": True, "height": 64}]
)
def test_a_wrong_size_is_named_beside_other_problems(size: object) -> None:
    assert set(problems("flux/schnell", image_size=size, num_images=9)) == {"image_size", "num_images"}
    assert set(problems("flux/schnell", aspect_ratio="5:7", num_images=9)) == {"aspect_ratio", "num_images"}
    assert set(problems("flux/schnell", aspect_ratio=["1:1"])) == {"aspect_ratio"}
    assert "not both" in problems("flux/schnell", aspect_ratio="1:1", image_size="square")["aspect_ratio"]


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("1:1", "square_hd"), ("16:9", "landscape_16_9"), ("9:16", "portrait_16_9"), ("3:4", "portrait_4_3")],
)
def test_aspect_ratio_works_for_a_model_with_another_vocabulary(ratio: str, size: str) -> None:
    request = ImageRequest.build("flux/schnell", "a fox", {"aspect_ratio": ratio})
    assert request.body()["image_size"] == size
    assert "aspect_ratio" not in request.body()
    assert request.identity() == {"image_size": size}


def test_prompts_are_counted_as_javascript_does() -> None:
    assert prompt_length("🦊é") == 3
    assert ImageRequest.build(MODEL, "🦊" * 200)
    assert "402 characters" in problems(MODEL, "🦊" * 201)["prompt"]
    assert ImageRequest.build("imagen4/preview", "x" * 20_000), "this contract states no limit"


@pytest.mark.parametrize("prompt", ["", "  \n", "a\x00b", "half \ud83e of it"])
def test_prompts_that_cannot_be_sent(prompt: str) -> None:
    assert set(problems(MODEL, prompt)) == {"prompt"}


@given(st.text())
def test_no_prompt_makes_it_fail_otherwise(prompt: str) -> None:
    try:
        body = ImageRequest.build(MODEL, prompt).body()
    except InvalidRequest:
        return
    assert json.loads(json.dumps(body, ensure_ascii=False).encode())["prompt"] == prompt


def test_none_is_left_out() -> None:
    request = ImageRequest.build(MODEL, "a fox", {"seed": None, "aspect_ratio": None})
    assert request.body() == {"model": MODEL, "prompt": "a fox", "convert_base64_to_url": True}


def test_the_body_carries_what_was_given_under_the_contracts_names() -> None:
    given_ = {"aspect_ratio": "1:1", "num_images": 2, "convert_base64_to_url": False}
    body = ImageRequest.build(MODEL, "a fox", given_).body(seed=7)
    assert body == {"model": MODEL, "prompt": "a fox", "seed": 7, **given_}
    assert ImageRequest.build("imagen4/preview", "a fox").body(seed=7) == {
        "model": "imagen4/preview",
        "prompt": "a fox",
        "seed": 7,
    }
    size = {"width": 512, "height": 768}
    assert ImageRequest.build("flux/schnell", "a fox", {"image_size": size}).body()["image_size"] == size


def test_a_watermark_excludes_a_seed() -> None:
    assert "no seed together" in problems(MODEL, add_watermark=True, seed=1)["seed"]
    request = ImageRequest.build(MODEL, "a fox", {"add_watermark": True})
    assert request.seed(DIGEST) is None
    assert "seed" not in request.body(seed=request.seed(DIGEST))
    assert ImageRequest.build(MODEL, "a fox", {"add_watermark": False, "seed": 1})


@given(st.integers(0, 2**256 - 1))
def test_a_derived_seed_is_in_range_and_repeatable(number: int) -> None:
    digest = f"{number:064x}"
    for name, low in ((MODEL, 0), (f"{MODEL}@2025-05", 1), ("imagen4/preview", 0), ("flux/schnell", 1)):
        request = ImageRequest.build(name, "a fox")
        seed = request.seed(digest)
        assert seed is not None
        assert low <= seed <= 4_294_967_295
        assert seed == request.seed(digest)
        assert ImageRequest.build(name, "a fox", {"seed": seed}).seed("0" * 64) == seed


def test_derived_seeds_differ_from_item_to_item() -> None:
    request = ImageRequest.build(MODEL, "a fox")
    assert request.seed("0" * 63 + "1") == request.seed("0" * 64), "the seed is in the first half of the id"
    assert len({request.seed(f"{n:016x}" + "0" * 48) for n in range(100)}) == 100
    assert ImageRequest.build(MODEL, "a fox", {"seed": 0}).seed(DIGEST) == 0, "0 is a seed, too"


def test_what_a_request_costs() -> None:
    request = ImageRequest.build(MODEL, "a fox", {"num_images": 3})
    assert (request.num_images, request.price, request.price_high) == (3, 312_000, 318_000)


@pytest.mark.parametrize(
    ("model", "field", "text", "value"),
    [
        (MODEL, "seed", " 7 ", 7),
        (MODEL, "seed", "-1", -1),
        (MODEL, "seed", "7.5", "7.5"),
        (MODEL, "enhance_prompt", "False", False),
        (MODEL, "enhance_prompt", "yes", True),
        (MODEL, "enhance_prompt", "maybe", "maybe"),
        (MODEL, "aspect_ratio", "16:9", "16:9"),
        ("flux/schnell", "image_size", "512 × 768", {"width": 512, "height": 768}),
        ("flux/schnell", "image_size", "square_hd", "square_hd"),
        (f"{MODEL}@2025-05", "negative_prompt", " no dogs ", " no dogs "),
    ],
)
def test_parameters_are_read_by_their_kind(model: str, field: str, text: str, value: object) -> None:
    assert parse_parameter(load_registry().resolve(model).contract.fields[field], text) == value


def test_a_model_that_takes_files_takes_no_address() -> None:
    found = problems("openai/gpt-image-1", images=["https://example.org/a.png"], mask="https://example.org/b.png")
    assert all("files, not addresses: --image" in found[name] for name in ("images", "mask"))
    ImageRequest.build("openai:gpt-image-1", "a fox", {"images": ["https://example.org/a.png"]})
