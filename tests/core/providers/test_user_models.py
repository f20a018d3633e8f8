"""A user's own file of models: what it can add and change, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect_imagen.core.providers import ImageRequest, load_registry
from prefect_imagen.core.providers.data import ModelFileError
from prefect_imagen.core.providers.registry import MODELS_VARIABLE, Registry

NEW = """
version: 1
models:
  - id: acme/painter-2
    title: Painter 2
    like: google/nano-banana-2
    price: {usd: 0.1, usd_high: 0.2, as_of: 2026-11-01, source: our contract}
  - id: google/imagen4/preview
    price: {usd: "0.06", usd_high: "0.07", as_of: "2026-11", source: our invoice}
"""


def load(monkeypatch: pytest.MonkeyPatch, path: Path, text: str | None = None) -> Registry:
    if text is not None:
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv(MODELS_VARIABLE, str(path))
    return load_registry()


def test_models_are_added_and_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry = load(monkeypatch, tmp_path / "models.yaml", NEW)
    painter = registry.resolve("acme/painter-2")
    assert (painter.spec.title, painter.spec.price and painter.spec.price.credits_high) == ("Painter 2", 400_000)
    assert ImageRequest.build("acme/painter-2", "a fox", {"aspect_ratio": "16:9"}).body()["model"] == "acme/painter-2"
    assert ImageRequest.build("google/imagen4/preview", "a fox").price_high == 140_000
    assert registry.resolve("imagen4/preview").wire_model == "imagen4/preview", "what was not named is as it was"
    monkeypatch.delenv(MODELS_VARIABLE)
    assert ImageRequest.build("google/imagen4/preview", "a fox").price_high == 106_000


def test_json_is_read_and_changes_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    entry = {"id": "acme/a", "like": "flux/schnell", "prices": 1}
    assert load(monkeypatch, path, json.dumps({"version": 1, "models": []})).names()
    with pytest.raises(ModelFileError, match="acme/a: prices: Extra inputs"):
        load(monkeypatch, path, json.dumps({"version": 1, "models": [entry]}))
    del entry["prices"]
    assert load(monkeypatch, path, json.dumps({"version": 1, "models": [entry]})).resolve("acme/a")


def test_a_contract_of_ones_own_may_use_the_shared_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = """
version: 1
models:
  - id: acme/own
    title: Own
    default_contract: v1
    contracts:
      v1:
        since: 2026-11-01
        source: their page
        prompt_limit: 1000
        aspect_ratios: {"1:1": square_hd, "16:9": [1280, 720], 16:10: [1280, 800]}
        fields:
          image_size: {like: size_512_2048, multiple_of: 16}
          seed: seed_u32
          steps: {kind: integer, minimum: 1, maximum: 4, default: 2, description: Steps.}
"""
    load(monkeypatch, tmp_path / "models.yaml", text)
    request = ImageRequest.build("acme/own", "a fox", {"aspect_ratio": "16:9", "seed": 3, "steps": 2})
    assert request.body()["image_size"] == {"width": 1280, "height": 720}
    assert request.identity() == {"image_size": {"width": 1280, "height": 720}, "seed": 3}
    assert ImageRequest.build("acme/own", "a fox", {"aspect_ratio": "16:10"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [}", "line 1: neither YAML nor JSON"),
        ("- a", "needs a list `models`"),
        ("version: 2\nmodels: []", "version 2 is not 1"),
        ("version: 1\nmodels: []\nmodel: []", "unknown key 'model'"),
        ("version: 1\nmodels: [fox]", r"models\[1\]: not a mapping"),
        ("version: 1\nmodels: [{id: acme/a}]", "acme/a: title: Field required"),
        ("version: 1\nmodels: [{id: acme/a, like: nothing}]", "there is no model 'nothing'"),
        ("version: 1\nmodels: [{id: 'a b', like: flux/schnell}]", "a b: id: String should match"),
        ("version: 1\nmodels: [{id: flux/schnell, like: flux/dev}]", "`like` is for new models"),
        ("version: 1\nmodels: [{id: acme/a, like: flux/dev, aliases: [{name: flux/schnell}]}]", "is one of"),
        ("version: 1\nmodels: [{id: acme/a, like: flux/dev, default_contract: v9}]", "there is no contract 'v9'"),
        (
            "version: 1\nmodels: [{id: flux/dev, price: {usd: 2, usd_high: 1, as_of: x, source: y}}]",
            "usd_high must not",
        ),
        (
            "version: 1\nmodels: [{id: flux/dev, contracts: {v: {since: x, source: y, fields: {a: nope}}}}]",
            "no shared field",
        ),
        (
            "version: 1\nmodels: [{id: flux/dev, contracts: {v: {since: x, source: y, fields: {seed: {kind: choice, "
            "description: d}}}}}]",
            "a choice needs choices",
        ),
        (
            "version: 1\nmodels: [{id: flux/dev, contracts: {v: {since: x, source: y, fields: {num_images: "
            "{like: images_1_4, default: 2}}}}}]",
            "default and identity of a known model's field cannot be changed",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=said) as caught:
        load(monkeypatch, tmp_path / "models.yaml", text)
    assert str(caught.value).startswith(str(tmp_path))


def test_every_wrong_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load(monkeypatch, tmp_path / "m.yaml", "version: 1\nmodels: [{id: acme/a, like: x}, {id: acme/b, like: y}]")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["acme/a", "acme/b"]


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read: No such file.*PREFECT_IMAGEN_MODELS"):
        load(monkeypatch, tmp_path / "nowhere.yaml")
