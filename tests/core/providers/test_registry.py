"""The registry: data that has to be consistent with itself."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.providers import ImageRequest, ModelSpec, UnknownModel, WithdrawnModel, load_registry
from prefect_imagen.core.providers.common_parameters import PICTURES
from prefect_imagen.core.providers.registry import Registry
from prefect_imagen.core.providers.spec import Contract, FieldSpec
from prefect_imagen.core.request import SHIPPED_MODEL

REGISTRY = load_registry()
PREVIEW = "google/imagen4/preview"
LISTED = [spec for spec in REGISTRY.models if spec.lifecycle.status != "withdrawn"]


def by_id(spec: ModelSpec) -> str:
    return spec.id


def needed(contract: Contract) -> dict[str, Any]:
    """What a request cannot be without."""
    address = "https://example.org/fox.png"
    values = {"list": [address], "url": address}
    return {name: values.get(rule.kind) or rule.choices[0] for name, rule in contract.fields.items() if rule.required}


def built(spec: ModelSpec, contract_name: str, parameters: dict[str, Any]) -> ImageRequest:
    whole = {**needed(spec.contracts[contract_name]), **parameters}
    return ImageRequest.build(f"{spec.id}@{contract_name}", "a fox", whole)


DATA = "data:image/png;base64,AAAA"
GOOD: dict[str, list[Any]] = {
    "boolean": [True, False],
    "url": ["https://example.org/fox.png", DATA],
}
BAD: dict[str, list[Any]] = {
    "boolean": [0, "true"],
    "integer": [True, 1.5],
    "number": [True, "1", float("nan"), float("inf")],
    "url": ["fox.png", "file:///etc/passwd", 7],
    "size": ["0x0", {"width": 100_000, "height": 100_000}, {"width": 64}],
}


def values(rule: FieldSpec) -> tuple[list[Any], list[Any]]:
    """Values that a field takes, and some that it does not."""
    good, bad = list(GOOD.get(rule.kind, rule.choices)), ["nonsense", [], {}, *BAD.get(rule.kind, [])]
    low, high = rule.minimum, rule.maximum
    if rule.kind in ("integer", "number"):
        good = [bound for bound in (low, high) if bound is not None]
        bad += [low - 1] if low is not None else []
        bad += [high + 1] if high is not None else []
    elif rule.kind == "text":
        good, bad = ["x"], [7, [], "\x00"]
        if high is not None:
            good, bad = [*good, "x" * int(high)], [*bad, "x" * (int(high) + 1)]
    elif rule.kind == "size":
        good.append({"width": 1536, "height": 1536} if (high or 0) >= 1536 else {"width": 1024, "height": 1024})
    elif rule.kind == "list":
        assert rule.items is not None
        one = values(rule.items)[0][0]
        good, bad = [[one] * int(low or 1)], ["nonsense", {}, [one, 7], [one] * (int(high or 0) + 1) if high else 7]
    elif rule.kind == "object":
        whole = {name: values(field)[0][0] for name, field in rule.fields.items()}
        good, bad = [whole], [7, {**whole, "nonsense": 1}]
    return good, bad


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
        request = built(spec, name, defaults)
        assert request.identity() == needed(contract), "a default given differs from the default left out"
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
            good, bad = values(rule)
            if contract.inputs.by == "form" and name in PICTURES:
                good, bad = [DATA if rule.kind == "url" else [DATA]], [*bad, good[0]]
            for value in good:
                assert built(spec, contract_name, {name: value})
            for value in bad:
                with pytest.raises(BadInput, match=name):
                    built(spec, contract_name, {name: value})


@pytest.mark.parametrize("spec", REGISTRY.models, ids=by_id)
def test_facts_are_complete(spec: ModelSpec) -> None:
    if spec.price is not None:
        assert 0 < spec.price.credits <= spec.price.credits_high
        assert spec.price.source
        assert spec.price.as_of
    assert spec.lifecycle.source
    assert spec.family
    for name, contract in spec.contracts.items():
        assert contract.source
        for resolution in contract.resolutions or {"": None}:
            for ratio in (contract.resolutions.get(resolution) or contract.aspect_ratios or {}) if contract else {}:
                asked = {"aspect_ratio": ratio, **({"resolution": resolution} if resolution else {})}
                assert spec.lifecycle.status == "withdrawn" or built(spec, name, asked)
        sizing = contract.sizing
        if sizing is not None:
            assert contract.aspect_ratios
            assert set(contract.fields[sizing].choices) <= set(spec.pixels), "a size without its pixels"


def test_pixels_of_a_ratio_have_that_ratio() -> None:
    """Of the tables that are this package's own; a provider's preset may be a little off."""
    for spec in REGISTRY.models:
        for contract in spec.contracts.values():
            for table in (contract.aspect_ratios or {}, *contract.resolutions.values()):
                for ratio, size in table.items():
                    wide, high = map(int, ratio.split(":"))
                    if not isinstance(size, str):
                        assert size[0] * high == size[1] * wide, (spec.id, ratio, size)


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


def test_the_default_model_lives_as_far_as_public_documents_tell() -> None:
    spec = REGISTRY.resolve(SHIPPED_MODEL).spec
    assert (spec.lifecycle.status, spec.lifecycle.upstream_shutdown, spec.lifecycle.successor) == ("listed", None, None)
    assert spec.price is not None


def test_the_environment_may_name_another_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def default(wanted: str) -> str:
        monkeypatch.setenv("PREFECT_IMAGEN_MODEL", wanted)
        found = importlib.util.find_spec("prefect_imagen.core.request")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        monkeypatch.setitem(sys.modules, found.name, module)
        found.loader.exec_module(module)
        return str(module.RunRequest().model)

    assert default("flux/schnell") == "flux/schnell"
    assert default("") == SHIPPED_MODEL
