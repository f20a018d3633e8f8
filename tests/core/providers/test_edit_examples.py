"""The example of each model that starts from pictures, as the provider's pages have it: it fits the contract here and
the sandbox's, which checks as the published schemas do."""

from __future__ import annotations

from typing import Any

import pytest
from prefect_imagen.core.providers import ImageRequest, load_registry
from prefect_imagen.core.providers.common_parameters import PICTURES
from prefect_imagen.sandbox.validation import Accepted, check_body

A, B = "https://example.org/t-rex.png", "https://example.org/blue-mug.jpg"
EXAMPLES: dict[str, dict[str, Any]] = {
    "alibaba/qwen-image-edit": {"image": A},
    "alibaba/qwen-image-3-edit": {"image_urls": [A]},
    "beeble/switchx-image-to-image": {"image_url": A},
    "blackforestlabs/flux-2-edit": {"image_urls": [A, B], "guidance_scale": 19},
    "blackforestlabs/flux-2-lora-edit": {"image_urls": [A, B], "guidance_scale": 19},
    "blackforestlabs/flux-2-pro-edit": {"image_urls": [A, B]},
    "bytedance/dreamina-creative-upscale": {"image_url": A, "resolution": "2k", "scale": 50, "response_format": "url"},
    "bytedance/seededit-3.0-i2i": {"image": A},
    "bytedance/seedream-v4-edit": {"image_urls": [A]},
    "bytedance/uso": {"image_urls": [A]},
    "fal:fal-ai/flux-pro/kontext": {"image_url": A},
    "fal:fal-ai/nano-banana-2/edit": {"image_urls": [A, B]},
    "flux/dev/image-to-image": {"image_url": A, "strength": 0.8},
    "flux/kontext-max/image-to-image": {"image_url": A},
    "flux/kontext-pro/image-to-image": {"image_url": A},
    "flux/srpo/image-to-image": {"image_url": A, "strength": 0.9},
    "google/gemini-3-pro-image-edit": {"image_urls": [A, B], "aspect_ratio": "16:9", "resolution": "1K"},
    "google/nano-banana-edit": {"image_urls": [A, B]},
    "klingai/image-o1": {"image_urls": [A, B]},
    "meta/muse-image-edit": {"image_urls": [A]},
    "reve/edit-image": {"image_url": A},
    "reve/remix-edit-image": {"image_urls": [A, B]},
    "topaz-labs/sharpen": {"image_url": A, "mode": "Natural", "strength": 0.6, "output_format": "jpeg"},
    "topaz-labs/sharpen-gen": {"image_url": A, "mode": "Super Focus V2", "strength": 0.6, "output_format": "jpeg"},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_each_page_fits(name: str) -> None:
    model = load_registry().resolve(name)
    request = ImageRequest.build(model, "Add a bird to the foreground of the photo.", EXAMPLES[name])
    body = request.body(seed=request.seed("0" * 64))
    assert isinstance(check_body(body, model), Accepted)
    assert ("prompt" in body) == model.contract.takes_prompt
    # The same by the common word.
    field = model.contract.field_for(PICTURES[0])
    assert field is not None
    given = {("images" if key == field else key): value for key, value in EXAMPLES[name].items()}
    assert ImageRequest.build(model, "a", given).identity() == request.identity()


def test_every_model_that_needs_a_picture_has_an_example() -> None:
    needing = {
        spec.id
        for spec in load_registry().models
        for contract in spec.contracts.values()
        if any(field.required and field.means == "images" for field in contract.fields.values())
    }
    assert needing <= EXAMPLES.keys()
