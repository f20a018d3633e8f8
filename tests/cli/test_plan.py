"""What `plan` says, to the last credit; it makes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from prefect_imagen.core.ledger import Ledger

from .conftest import Said, Terminal

PRODUCTS = "name,colour\nlamp,red\nchair,green\nlamp,red\n"
TEMPLATE = "{{ name }} in {{ colour }}, {dawn|noon|night}"


def test_golden_facts(here: Callable[..., Said], terminal: Terminal, tmp_path: Path) -> None:
    terminal.write("products.csv", PRODUCTS)
    terminal.write("template.txt", f"{TEMPLATE}\n")
    said = here("plan", "products.csv", "--template", "@template.txt", "--num-images", "2", "--to", "images", "--json")
    assert (said.code, said.err) == (0, "")
    plan = json.loads(said.out)
    counts = {name: plan[name] for name in ("prompts", "rows", "items", "duplicates", "to_buy", "images", "owned")}
    assert counts == {
        "prompts": 9,
        "rows": 9,
        "items": 6,
        "duplicates": 3,
        "to_buy": 6,
        "images": 12,
        "owned": 0,
    }
    assert (plan["price_credits"], plan["price_usd"]) == (12 * 104_000, 0.624)
    assert (plan["price_high_credits"], plan["price_high_usd"]) == (12 * 106_000, 0.636)
    assert (plan["model"], plan["contract"]) == ("google/imagen4/preview", "2025-11")
    assert plan["lifecycle"]["upstream_shutdown"] == "2026-08-17"
    assert plan["samples"][:2] == ["lamp in red, dawn", "lamp in red, noon"]
    assert plan["invalid"] == []
    assert plan["destination"] == (terminal.folder / "images").as_uri()
    assert plan["catalog"] is None
    assert sorted(path.name for path in terminal.folder.iterdir()) == ["products.csv", "template.txt"]
    # What the API's catalogue said is kept; nothing else was made.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "work"]
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["cache"]
    assert terminal.sandbox.calls() == []


def test_budgets_by_provider_and_how_pictures_come(here: Callable[..., Said]) -> None:
    assert here("budget", "--day", "5").code == 0
    for provider, most in (("openai", "2"), ("fal", "1")):
        assert here("budget", "--day", most, "--provider", provider).code == 0
    assert "no provider" in here("budget", "--day", "1", "--provider", "opanai").err
    asked = ("plan", "a red fox", "--model", "openai:gpt-image-2", "--offline")
    plan = json.loads(here(*asked, "--json").out)
    assert [(one["provider"], one["left_usd"]) for one in plan["budgets"]] == [(None, 5), ("openai", 2)]
    assert plan["returns"] == "bytes"
    said = here(*asked).out
    assert "day's budget for openai" in said
    assert "in the reply" in said
    assert "by address" in here("plan", "a red fox", "--offline").out


def test_for_a_person(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("products.csv", PRODUCTS)
    said = here("plan", "products.csv", "--template", TEMPLATE, "--repeat", "2")
    assert said.out.startswith("12 of 12 items to buy: 12 images, $0.624\n")
    for fact in (
        "$0.624 expected, $0.636 at most",
        "each 2 times",
        "6, bought once",
        "shut its own Imagen 4 endpoints down on 2026-08-17",
        "Successor: google/nano-banana-2",
        "  chair in green, noon\n",
    ):
        assert fact in said.out


def test_invalid_prompts_are_counted_named_and_skipped(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", f"a fox\n{'x' * 401}\n")
    said = here("plan", "prompts.txt", "--json")
    assert said.code == 2
    plan = json.loads(said.out)
    assert (plan["prompts"], plan["items"]) == (2, 1)
    assert [(bad["line"], "limit is 400" in bad["problem"]) for bad in plan["invalid"]] == [(2, True)]
    assert said.err.startswith("error: 1 of 2 prompts")
    skipped = here("plan", "prompts.txt", "--skip-invalid")
    assert (skipped.code, skipped.err) == (0, "")
    assert "invalid" in skipped.out


def test_a_price_without_a_range_and_another_model(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", "a fox\n")
    said = here("plan", "prompts.txt", "--model", "flux-schnell", "--set", "image_size=512x768", "--json")
    plan = json.loads(said.out)
    assert (plan["model"], plan["price_usd"], plan["price_high_usd"]) == ("flux/schnell", 0.004, 0.004)


def test_an_empty_ledger_owns_nothing_and_is_left_as_it_is(
    here: Callable[..., Said], terminal: Terminal, tmp_path: Path
) -> None:
    Ledger(str(tmp_path / "ledger.db")).close()
    before = (tmp_path / "ledger.db").read_bytes()
    terminal.write("prompts.txt", "a fox\n")
    plan = json.loads(here("plan", "prompts.txt", "--json").out)
    assert (plan["owned"], plan["to_buy"]) == (0, 1)
    assert str(tmp_path / "ledger.db") in plan["catalog"]
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_models(here: Callable[..., Said]) -> None:
    listed = here("models").out
    assert all(text in listed for text in ("google/imagen4/preview", "imagen4/preview", "flux/schnell", "$0.052"))
    assert "preview-06-06" not in listed, "a withdrawn model can only be looked at"
    every = here("models", "--all").out
    assert all(text in every for text in ("preview-06-06", "withdrawn", "2026-03-29"))
    one = here("models", "google/imagen4/preview").out
    assert "person_generation" in one
    assert "block_medium_and_above" in one
    assert "google/imagen4/preview@CONTRACT; without it 2025-11 is used" in one
    assert "negative_prompt" in here("models", "google/imagen4/preview@2025-05").out
    document = json.loads(here("models", "--json").out)
    assert {model["id"] for model in document} >= {"google/imagen4/preview", "flux/schnell"}
    assert json.loads(here("models", "imagen4/preview", "--json").out)["contract"] == "2026-08"


def test_texts_are_counted_and_priced(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", "a {red|blue} fox\n")
    terminal.write("brief.md", "Calm,\nhand-drawn.\n")
    rewriting = ("--rewrite", "gpt-4o-mini", "--rewrites", "3", "--brief", "@brief.md")
    plan = json.loads(here("plan", "prompts.txt", *rewriting, "--json").out)
    texts = plan["rewrites"]
    assert (plan["prompts"], plan["items"], texts["texts"], texts["to_buy"], texts["owned"]) == (2, 6, 6, 6, 0)
    assert plan["price_credits"] == 6 * 104_000 + texts["price_credits"]
    assert 0 < texts["price_usd"] < texts["price_high_usd"]
    said = here("plan", "prompts.txt", *rewriting)
    assert "2, each rewritten to 3" in said.out
    assert "6 texts by openai/gpt-4o-mini: 6 to buy for $0.00" in said.out
    assert json.loads(here("plan", "prompts.txt", "--json").out)["rewrites"] is None
    assert terminal.sandbox.calls() == []


def test_a_plan_file_says_itself_how_it_is_rewritten(here: Callable[..., Said], terminal: Terminal) -> None:
    terminal.write("prompts.txt", "a fox\n")
    assert here("plan", "prompts.txt", "--rewrite", "gpt-4o-mini", "--out", "plan.jsonl").code == 0
    again = here("plan", "plan.jsonl", "--json")
    assert json.loads(again.out)["rewrites"]["texts"] == 1
    said = here("plan", "plan.jsonl", "--rewrite", "gpt-5-nano", "--rewrites", "2")
    assert (said.code, "leave out --rewrite, --rewrites" in said.err) == (2, True)
    assert here("plan", "plan.jsonl", "--rewrite-fallback", "keep").code == 0


def test_a_model_that_changes_pictures_and_is_given_none(here: Callable[..., Said]) -> None:
    asked = ("plan", "a fox", "--offline", "--model", "google/nano-banana-edit", "--json")
    assert "changes pictures, and none is given" in here(*asked).out
    assert "none is given" not in here(*asked, "--set", 'image_urls=["https://example.com/a.png"]').out
