"""Identity: the ids below are what users own. A change here would buy everything again."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest
from prefect_imagen.core.ledger import Item, new_call_id
from prefect_imagen.core.providers import ImageRequest
from prefect_imagen.core.values import canonical_json

MODEL = "google/imagen4/preview"


def item(model: str, prompt: str, **parameters: object) -> str:
    request = ImageRequest.build(model, prompt, parameters)
    return Item(request.model.spec.id, prompt, request.identity()).id


@pytest.mark.parametrize(
    ("item", "digest"),
    [
        (Item(MODEL, "a fox", {}), "d040cbdc70d2751042c1d4d732c1ee9d81dbb9b77f4f6084952de91caeab4416"),
        (
            Item(MODEL, "a fox", {"aspect_ratio": "16:9", "seed": 7}),
            "e6c03bfe5f6c9b1bdb8777ed2cdf5747b2238eddcd61615899ab5873e0b9bf08",
        ),
        (
            Item(MODEL, "ein Füchslein 🦊 “quoted”\n\\", {}, "2026-01-01", 2),
            "ae5b534a3e870455df7cdb88da8f6362ddcd7bdf6a6e986557415e18994ff1c1",
        ),
        (
            Item("flux/schnell", "a fox", {"image_size": {"width": 512, "height": 768}}),
            "efe14baa6abda455a7eb1a0c659a752c8f858ace59f586bd031f5208b1a5e955",
        ),
    ],
)
def test_ids_never_move(item: Item, digest: str) -> None:
    assert item.id == digest


def test_a_default_given_is_a_default_left_out() -> None:
    plain = item(MODEL, "a fox")
    assert plain == item(
        MODEL,
        "a fox",
        aspect_ratio="1:1",
        num_images=1,
        enhance_prompt=True,
        person_generation="allow_adult",
        safety_setting="block_medium_and_above",
        add_watermark=False,
        seed=None,
    )
    assert plain != item(MODEL, "a fox", aspect_ratio="3:4")
    assert item("flux/schnell", "a fox") == item("flux/schnell", "a fox", aspect_ratio="4:3")


def test_the_wire_form_is_not_part_of_it() -> None:
    assert item(MODEL, "a fox") == item(MODEL, "a fox", convert_base64_to_url=False)


def test_neither_alias_nor_contract_is_part_of_it() -> None:
    ids = {item(name, "a fox", seed=3) for name in (MODEL, "imagen4/preview", f"{MODEL}@2025-05", f"{MODEL}@2026-08")}
    assert len(ids) == 1


def test_everything_else_is_part_of_it() -> None:
    ids = [
        Item(MODEL, "a fox", {}).id,
        Item(MODEL, "a fox ", {}).id,
        Item("flux/schnell", "a fox", {}).id,
        Item(MODEL, "a fox", {"seed": 0}).id,
        Item(MODEL, "a fox", {}, "2").id,
        Item(MODEL, "a fox", {}, "", 2).id,
    ]
    assert len(set(ids)) == len(ids)


def test_the_order_of_parameters_does_not_matter() -> None:
    assert Item(MODEL, "x", {"a": 1, "b": 2}).id == Item(MODEL, "x", {"b": 2, "a": 1}).id


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_ids_of_calls_are_in_the_order_of_time_and_all_different(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1, 1_800_000_000_000, 1_800_000_000_001, 2**48 - 1]
    monkeypatch.setattr(time, "time_ns", lambda: moment * 1_000_000)
    made = []
    for moment in times:
        made.append({new_call_id() for _ in range(1000)})
        assert len(made[-1]) == 1000
        parsed = [uuid.UUID(name.removeprefix("pi-")) for name in made[-1]]
        assert {(one.version, one.variant, one.int >> 80) for one in parsed} == {(7, uuid.RFC_4122, moment)}
        assert all(one.hex == name.removeprefix("pi-") for one, name in zip(parsed, made[-1], strict=True))
    assert all(max(one) < min(later) for one, later in itertools.pairwise(made))
