"""`models`: the list and its filters, one model, and what will go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from .conftest import Said, Terminal

IMAGEN, NANO = "google/imagen4/preview", "google/nano-banana-2"


@pytest.fixture(autouse=True)
def shelf(terminal: Terminal) -> Iterator[None]:
    yield
    terminal.sandbox.set_models()


def listed(here: Callable[..., Said], *arguments: str) -> set[str]:
    said = here("models", *arguments, "--json")
    assert said.code == 0
    return {spec["id"] for spec in json.loads(said.out)}


def test_filters(here: Callable[..., Said]) -> None:
    everything = listed(here)
    assert len(everything) > 50
    assert "dall-e-2" not in everything
    assert "dall-e-2" in listed(here, "--all")
    assert listed(here, "--search", "imagen 4") == {
        name for name in everything if "imagen-4.0" in name or name == IMAGEN
    }
    negative = listed(here, "--takes", "negative_prompt", "--takes", "seed", "--max-usd", "0.04")
    assert "alibaba/wan-2-7-image" in negative
    assert IMAGEN not in negative
    assert listed(here, "--aspect-ratio", "9:19.5") == {"x-ai/grok-imagine-image", "x-ai/grok-imagine-image-pro"}
    several = {"klingai/image-o1", "meta/muse-image", "meta/muse-image-edit"}
    assert listed(here, "--num-images", "9", "--aspect-ratio", "21:9") == several
    assert "No model can" in here("models", "--num-images", "1000").out


def test_one_model_by_either_word(here: Callable[..., Said]) -> None:
    assert here("models", IMAGEN).out == here("models", "show", IMAGEN).out
    assert "guidance_scale" in here("models", "show", "flux/dev").out
    assert here("models", "show", "nothing").code == 2


def test_what_will_go(here: Callable[..., Said], terminal: Terminal) -> None:
    assert here("models", "check").code == 0
    said = here("models", "check", NANO, "--json")
    assert (said.code, json.loads(said.out)["models"][0]["soon"]) == (0, False)
    terminal.sandbox.set_models(**{NANO: {"status": "deprecated", "shutdown_at": "2099-01-01", "replaced_by": "a/b"}})
    assert here("models", "check", NANO).code == 0
    said = here("models", "check", NANO, "--days", "99999", "--json")
    (row,) = json.loads(said.out)["models"]
    assert (said.code, row["status"], row["shutdown"], row["successor"]) == (1, "deprecated", "2099-01-01", "a/b")
    said = here("models", "check", IMAGEN)
    assert said.code == 1
    assert "2026-08-17" in said.out
    offline = here("models", "check", NANO, "--offline")
    assert (offline.code, "not asked" in offline.out) == (0, True)


def test_a_withdrawn_model_names_the_command_that_goes_on(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("p.txt", "a fox\n")
    terminal.sandbox.set_models(**{IMAGEN: {"status": "withdrawn"}})
    for command in (["plan", "p.txt"], ["run", "p.txt", "--to", "out"]):
        said = here(*command, "--seed", "7")
        assert said.code == 2
        assert f"prefect-imagen {' '.join(command)} --seed 7 --lenient --fallback {NANO}" in said.err
    assert terminal.sandbox.calls() == []
    said = here("plan", "p.txt", "--seed", "7", "--lenient", "--fallback", NANO, "--json")
    plan = json.loads(said.out)
    assert (said.code, plan["model"], plan["replaced"], plan["to_buy"]) == (0, NANO, IMAGEN, 1)
    assert [one["field"] for one in plan["omitted"]] == ["seed"]


def test_models_of_ones_own(here: Callable[..., Said], terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_IMAGEN_MODELS", "")
    terminal.write("p.txt", "a fox\n")
    terminal.write("m.yaml", "version: 1\nmodels: [{id: acme/a, like: flux/dev}]\n")
    said = here("plan", "p.txt", "--models", "m.yaml", "--model", "acme/a", "--json", "--offline")
    assert (said.code, json.loads(said.out)["model"]) == (0, "acme/a")
    said = here("plan", "p.txt", "--models", "nowhere.yaml")
    assert (said.code, "cannot be read" in said.err) == (2, True)
