"""One vocabulary, every model's own words: what is translated, what is refused, what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_imagen.core.providers import ImageRequest, InvalidRequest, load_registry
from prefect_imagen.core.providers.common_parameters import read_parameter, to_native, translate
from prefect_imagen.core.providers.request import UnknownPrice

IMAGEN, NANO, FLUX, GPT = "google/imagen4/preview", "google/nano-banana-2", "flux/schnell", "openai/gpt-image-2"
SEEDREAM, GROK, FLUX2 = "bytedance/seedream-4-5", "x-ai/grok-imagine-image", "blackforestlabs/flux-2"
REGISTRY = load_registry()


@pytest.mark.parametrize(
    ("model", "asked", "native"),
    [
        (IMAGEN, {"aspect_ratio": "16:9", "num_images": 2}, {"aspect_ratio": "16:9", "num_images": 2}),
        (IMAGEN, {"size": "1408x768"}, {"aspect_ratio": "16:9"}),
        (
            NANO,
            {"aspect_ratio": "3:4", "resolution": "2k", "num_images": 1},
            {"aspect_ratio": "3:4", "resolution": "2K"},
        ),
        (GROK, {"resolution": "1K", "num_images": 3}, {"resolution": "1k", "n": 3}),
        (FLUX, {"aspect_ratio": "9:16"}, {"image_size": "portrait_16_9"}),
        (FLUX, {"aspect_ratio": "3:2"}, {"image_size": {"width": 1248, "height": 832}}),
        (FLUX, {"size": "512x768"}, {"image_size": {"width": 512, "height": 768}}),
        (GPT, {"aspect_ratio": "2:3", "num_images": 1}, {"size": "1024x1536", "n": 1}),
        (GPT, {"size": "1024 X 1024"}, {"size": "1024x1024"}),
        (SEEDREAM, {"resolution": "4k"}, {"image_size": "4K"}),
        (SEEDREAM, {"aspect_ratio": "16:9"}, {"image_size": {"width": 2560, "height": 1440}}),
        (SEEDREAM, {"aspect_ratio": "16:9", "resolution": "4K"}, {"image_size": {"width": 4096, "height": 2304}}),
        (FLUX2, {"guidance_scale": 3.0}, {"guidance_scale": 3}),
        (GPT, {"output_format": "webp", "quality": "low"}, {"output_format": "webp", "quality": "low"}),
    ],
)
def test_words_become_the_models_own(model: str, asked: dict[str, Any], native: dict[str, Any]) -> None:
    translation = to_native(REGISTRY.resolve(model), asked)
    assert translation.problems == ()
    assert translation.native == native
    assert ImageRequest.build(model, "a fox", asked).num_images == asked.get("num_images", 1)


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        (NANO, {"num_images": 4}, "one image a request; repeat buys more"),
        (NANO, {"seed": 7}, "fields of this model"),
        (NANO, {"aspect_ratio": "21:9"}, "one of 1:1, 9:16, 16:9, 3:4, 4:3"),
        (NANO, {"resolution": "8K"}, "one of 1K, 2K, 4K"),
        (NANO, {"size": "1000x1000"}, "or aspect_ratio"),
        (IMAGEN, {"resolution": "2K"}, "fields of this model"),
        (IMAGEN, {"negative_prompt": "dogs"}, "fields of this model"),
        (FLUX, {"aspect_ratio": "7:5"}, "one of 1:1.*or image_size"),
        (FLUX, {"size": "100x100"}, "multiples of 32"),
        (FLUX, {"aspect_ratio": "1:1", "size": "512x512"}, "aspect_ratio or size, not both"),
        (FLUX, {"image_size": "square", "size": "512x512"}, "size or image_size, not both"),
        (FLUX, {"resolution": "2K"}, "fields of this model"),
        (GPT, {"aspect_ratio": "16:9"}, "one of 1:1, 2:3, 3:2, or size"),
        (GPT, {"size": "2048x2048"}, "1024x1024, 1024x1536, 1536x1024"),
        (GPT, {"num_images": 2}, "an integer, 1 to 1"),
        (GPT, {"num_images": 1, "n": 1}, "not both"),
        (SEEDREAM, {"resolution": "1K"}, "one of 2K, 4K"),
        (SEEDREAM, {"aspect_ratio": "21:9"}, "one of 1:1"),
        (SEEDREAM, {"aspect_ratio": "21:9", "size": "2048x2048"}, "not both"),
        (GROK, {"num_images": 11}, "1 to 10"),
        ("alibaba/wan-2-7-image", {"negative_prompt": "x" * 501}, "… to 500 characters"),
        ("recraft-v3", {"colors": [{"r": 1, "g": 2}]}, "an object with r, g, b"),
        ("recraft-v3", {"num_images": 2}, "1 to 1"),
        (NANO, {"image_urls": ["file:///etc/passwd"]}, "an address of an image"),
        (NANO, {"image_urls": ["https://a.org/b.png"] * 6}, "a list, … to 5 long"),
        (FLUX, {"negativ_prompt": "dogs"}, "fields of this model"),
        (FLUX, {"num_image": 1}, r"did you mean num_images\?"),
    ],
)
def test_what_a_model_cannot_do_is_named(model: str, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        ImageRequest.build(model, "a fox", asked)
    assert {problem.field for problem in caught.value.problems} <= set(asked)


def test_an_image_that_is_needed_is_asked_for() -> None:
    with pytest.raises(InvalidRequest, match=r"image_urls: it is not given .*--image-column"):
        ImageRequest.build("klingai/image-o1", "a fox")


def test_lenient_leaves_out_what_another_model_could_do() -> None:
    asked = {"seed": 7, "negative_prompt": "dogs", "num_images": 4, "aspect_ratio": "16:9"}
    request = ImageRequest.build(NANO, "a fox", asked, lenient=True)
    assert request.body() == {"model": NANO, "prompt": "a fox", "aspect_ratio": "16:9"}
    assert {(omission.field, omission.value) for omission in request.omitted} == {
        ("seed", 7),
        ("negative_prompt", "dogs"),
        ("num_images", 4),
    }
    # The same item as if it had not been asked for at all: the id is of what is sent.
    assert request.identity() == ImageRequest.build(NANO, "a fox", {"aspect_ratio": "16:9"}).identity()


@pytest.mark.parametrize(
    "asked", [{"aspect_ration": "16:9"}, {"aspect_ratio": "16;9"}, {"num_images": 0}, {"seed": "seven"}]
)
def test_lenient_does_not_forgive_a_slip_of_the_pen(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ImageRequest.build(NANO, "a fox", asked, lenient=True)


@pytest.mark.parametrize(
    ("old", "new", "given", "carried"),
    [
        (IMAGEN, NANO, {"seed": 7, "enhance_prompt": False}, {"seed": 7, "enhance_prompt": False}),
        (IMAGEN, FLUX2, {}, {"aspect_ratio": "1:1"}),
        (IMAGEN, NANO, {}, {}),
        (IMAGEN, GROK, {"num_images": 2, "convert_base64_to_url": False}, {"num_images": 2, "aspect_ratio": "1:1"}),
        (FLUX, NANO, {"image_size": "portrait_16_9"}, {"aspect_ratio": "9:16"}),
        (FLUX, NANO, {"image_size": {"width": 1024, "height": 576}}, {"aspect_ratio": "16:9"}),
        (FLUX, FLUX2, {"image_size": {"width": 640, "height": 512}}, {"size": "640x512"}),
        (FLUX, NANO, {"image_size": "square"}, {"aspect_ratio": "1:1"}),
        (GPT, IMAGEN, {"n": 1, "size": "1024x1024"}, {"num_images": 1, "aspect_ratio": "1:1"}),
        (GPT, IMAGEN, {"response_format": "b64_json"}, {}),
        (SEEDREAM, NANO, {"image_size": "4K"}, {"resolution": "4K"}),
        (SEEDREAM, "google/nano-banana-pro", {"image_size": {"width": 4096, "height": 2304}},
         {"aspect_ratio": "16:9", "resolution": "4K"}),
    ],
)  # fmt: skip
def test_a_request_is_carried_over_to_another_model(
    old: str, new: str, given: dict[str, Any], carried: dict[str, Any]
) -> None:
    assert translate(REGISTRY.resolve(old), REGISTRY.resolve(new), given) == carried


@pytest.mark.parametrize(
    ("model", "name", "text", "value"),
    [
        (GPT, "num_images", "1", 1),
        (NANO, "num_images", "4", 4),
        (NANO, "seed", "7", 7),
        (FLUX, "aspect_ratio", "16:9", "16:9"),
        (FLUX, "size", "512x512", "512x512"),
        (FLUX2, "guidance_scale", "3.5", 3.5),
        (
            NANO,
            "image_urls",
            "https://a.org/1.png, https://a.org/2.png",
            ["https://a.org/1.png", "https://a.org/2.png"],
        ),
        (NANO, "image_urls", "data:image/png;base64,AA,BB", ["data:image/png;base64,AA,BB"]),
        ("recraft-v3", "colors", '[{"r": 1, "g": 2, "b": 3}]', [{"r": 1, "g": 2, "b": 3}]),
        ("recraft-v3", "colors", "[red", "[red"),
    ],
)
def test_what_is_typed(model: str, name: str, text: str, value: Any) -> None:
    assert read_parameter(REGISTRY.resolve(model), name, text) == value


def test_urls_are_asked_for_where_there_is_a_choice() -> None:
    assert ImageRequest.build(GPT, "a fox").body() == {"model": GPT, "prompt": "a fox", "response_format": "url"}
    assert ImageRequest.build(GPT, "a fox", {"response_format": "b64_json"}).identity() == {}


def test_a_price_that_nobody_knows_is_no_price() -> None:
    request = ImageRequest.build("luma/uni-1", "a fox")
    with pytest.raises(UnknownPrice, match="price of luma/uni-1 is not known"):
        _ = request.price_high
