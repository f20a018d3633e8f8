"""The registry: data that has to be consistent with itself."""

from __future__ import annotations

import pytest
from prefect_imagen.core.aimlapi import ImageRequest, ModelSpec, UnknownModel, WithdrawnModel, load_registry
from prefect_imagen.core.aimlapi.registry import Registry
from prefect_imagen.core.errors import BadInput

REGISTRY = load_registry()
PREVIEW = "google/imagen4/preview"
LISTED = [spec for spec in REGISTRY.models if spec.lifecycle.status != "withdrawn"]


def by_id(spec: ModelSpec) -> str:
    return spec.id


def test_what_the_project_promises_is_there() -> None:
    for name in (
        PREVIEW,
        "imagen4/preview",
        "google/imagen-4.0-generate-001",
        "google/imagen-4.0-fast-generate-001",
        "google/imagen-4.0-ultra-generate-001",
        "flux/schnell",
    ):
        assert REGISTRY.resolve(name)


@pytest.mark.parametrize("spec", LISTED, ids=by_id)
def test_every_default_is_within_its_own_rules(spec: ModelSpec) -> None:
    for name, contract in spec.contracts.items():
        defaults = {field: rule.default for field, rule in contract.fields.items() if rule.default is not None}
        request = ImageRequest.build(f"{spec.id}@{name}", "a fox", defaults)
        assert request.identity() == {}, "a default given differs from the default left out"
        assert request.num_images == 1


@pytest.mark.parametrize("spec", LISTED, ids=by_id)
def test_a_default_is_the_same_in_every_contract(spec: ModelSpec) -> None:
    """Else an item's identity would depend on the contract."""
    seen: dict[str, object] = {}
    for contract in spec.contracts.values():
        for name, rule in contract.fields.items():
            assert seen.setdefault(name, (rule.default, rule.identity)) == (rule.default, rule.identity)


@pytest.mark.parametrize("spec", LISTED, ids=by_id)
def test_every_allowed_value_is_accepted_and_its_neighbours_are_not(spec: ModelSpec) -> None:
    for contract_name, contract in spec.contracts.items():
        for name, rule in contract.fields.items():
            good = list(rule.choices)
            bad: list[object] = ["nonsense", [], {}]
            if rule.kind == "integer":
                good, bad = [bound for bound in (rule.minimum, rule.maximum) if bound is not None], [*bad, True, 1.5]
                bad += [rule.minimum - 1] if rule.minimum is not None else []
                bad += [rule.maximum + 1] if rule.maximum is not None else []
            if rule.kind == "boolean":
                good, bad = [True, False], [*bad, 0, "true"]
            if rule.kind == "text":
                good, bad = ["x", ""], [7, [], "\x00"]
            for value in good:
                assert ImageRequest.build(f"{spec.id}@{contract_name}", "a fox", {name: value})
            for value in bad:
                with pytest.raises(BadInput, match=name):
                    ImageRequest.build(f"{spec.id}@{contract_name}", "a fox", {name: value})


@pytest.mark.parametrize("spec", REGISTRY.models, ids=by_id)
def test_facts_are_complete(spec: ModelSpec) -> None:
    assert 0 < spec.price.credits <= spec.price.credits_high
    assert spec.price.source
    assert spec.price.as_of
    assert spec.lifecycle.source
    for contract in spec.contracts.values():
        assert contract.source
        ratios = contract.aspect_ratios or {}
        for preset in ratios.values():
            assert preset in contract.fields["image_size"].choices
        sizes = contract.fields.get("aspect_ratio") or contract.fields["image_size"]
        assert set(sizes.choices) <= set(spec.pixels), "a size without its pixels"


def test_every_name_resolves_to_its_model() -> None:
    for spec in REGISTRY.models:
        for name in (spec.id, *(alias.name for alias in spec.aliases)):
            resolved = REGISTRY.resolve(name, allow_withdrawn=True)
            assert resolved.spec is spec
            assert REGISTRY.resolve(resolved.name, allow_withdrawn=True) == resolved
            assert name in REGISTRY.names()


def test_contracts_are_chosen_as_documented() -> None:
    assert REGISTRY.resolve(PREVIEW).contract_name == "2025-11"
    assert REGISTRY.resolve(PREVIEW).contract.prompt_limit == 400
    assert REGISTRY.resolve(f"{PREVIEW}@2025-05").contract.prompt_limit == 4000
    alias = REGISTRY.resolve("imagen4/preview")
    assert (alias.spec.id, alias.wire_model, alias.contract_name) == (PREVIEW, "imagen4/preview", "2026-08")
    assert REGISTRY.resolve("imagen4/preview@2025-11").wire_model == PREVIEW
    with pytest.raises(BadInput, match=r"no contract '1999'; it has 2025-05, 2025-11, 2026-08"):
        REGISTRY.resolve(f"{PREVIEW}@1999")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("google/imagen4-preview", PREVIEW), ("imagen4/prewiev", "imagen4/preview"), ("flux/shnell", "flux/schnell")],
)
def test_nearest_names_are_given(typed: str, meant: str) -> None:
    with pytest.raises(UnknownModel, match=f"Did you mean.*{meant}"):
        REGISTRY.resolve(typed)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownModel) as caught:
        REGISTRY.resolve("zzzz")
    assert caught.value.nearest == ()
    assert "prefect-imagen models" in str(caught.value)


def test_a_withdrawn_model_names_its_successor() -> None:
    withdrawn = next(spec for spec in REGISTRY.models if spec.lifecycle.status == "withdrawn")
    with pytest.raises(WithdrawnModel, match="withdrawn by the provider") as caught:
        REGISTRY.resolve(withdrawn.id)
    assert caught.value.successor
    assert f"--model {caught.value.successor}" in str(caught.value)
    assert REGISTRY.resolve(caught.value.successor), "the successor cannot be used, either"
    assert REGISTRY.resolve(withdrawn.id, allow_withdrawn=True).spec is withdrawn


def test_a_registry_that_contradicts_itself_is_not_loaded() -> None:
    data = REGISTRY.model_dump(mode="json", by_alias=True)
    twice = {**data, "models": [*data["models"], data["models"][0]]}
    with pytest.raises(ValueError, match="names used twice"):
        Registry.model_validate(twice)
    lost = {**data, "models": [{**data["models"][0], "default_contract": "1999"}]}
    with pytest.raises(ValueError, match="no contract '1999'"):
        Registry.model_validate(lost)
