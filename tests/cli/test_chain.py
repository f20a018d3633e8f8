"""`prefect-imagen chain`: priced as a whole, one budget, each step bought once, nothing before all of it is right."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .conftest import Said, Terminal

STEPS = """\
- model: google/imagen4/preview
- model: klingai/image-o1
  template: "{{ prompt }}, without its background"
- model: topaz-labs/sharpen
  image: {parameters: {mode: Standard}}
"""


@pytest.fixture
def chain(terminal: Terminal, here: Callable[..., Said]) -> Callable[..., Said]:
    terminal.write("steps.yaml", STEPS)
    terminal.write("mugs.txt", "a white mug\na blue mug\n")
    return lambda *more: here("chain", "steps.yaml", "mugs.txt", "--to", "made", *more)


def test_a_chain_is_priced_bought_once_and_goes_on_where_it_stopped(
    terminal: Terminal, chain: Callable[..., Said]
) -> None:
    planned = chain("--plan", "--json")
    assert planned.code == 0, planned.err
    plan = json.loads(planned.out)["plan"]
    assert [step["model"] for step in plan["steps"]] == [
        "google/imagen4/preview", "klingai/image-o1", "topaz-labs/sharpen",
    ]  # fmt: skip
    assert (plan["images"], [step["images"] for step in plan["steps"]]) == (6, [2, 2, 2])
    assert plan["price_usd"] == pytest.approx(sum(step["price_usd"] for step in plan["steps"]))
    assert terminal.sandbox.calls() == []

    short = chain("--budget-usd", "0.3")
    assert short.code == 1
    assert "Step 1 of 3" in short.out
    begun = len(terminal.sandbox.bill()["entries"])
    assert 2 <= begun < 6
    done = chain("--json", "--yes")
    assert done.code == 0, done.err
    assert [run["images"] for run in json.loads(done.out)["runs"]] == [2, 2, 2]
    assert len(terminal.sandbox.bill()["entries"]) == 6
    assert plan["price_credits"] <= terminal.sandbox.bill()["credits"] <= plan["price_high_credits"]
    assert chain("--yes").code == 0
    assert len(terminal.sandbox.bill()["entries"]) == 6


def test_what_a_step_does_not_deliver_goes_no_further(terminal: Terminal, chain: Callable[..., Said]) -> None:
    refusal = {"fault": "safety_block", "form": "http_400", "match": {"prompt_contains": "blue"}}
    terminal.sandbox.set_faults([refusal])
    assert chain("--yes").code == 1
    assert len(terminal.sandbox.bill()["entries"]) == 3


@pytest.mark.parametrize(
    ("steps", "more", "message"),
    [
        ("- model: google/imagen4/preview\n" * 2, (), "this model takes no images"),
        (STEPS.replace("{mode: Standard}", "{}"), (), "mode"),
        (STEPS, ("--budget-usd", "0.1"), "below the price of one item of each step"),
        (STEPS + "  colour: red\n", (), "steps.yaml: step 3: colour"),
        ("- {template: a}\n", (), "steps.yaml: step 1: model: Field required"),
        ("model: google/imagen4/preview\n", (), "a list of steps is needed"),
        ("- [\n", (), "is no YAML or JSON"),
        ("", (), "a list of steps is needed"),
    ],
)
def test_a_chain_that_cannot_be_buys_nothing(
    terminal: Terminal, chain: Callable[..., Said], steps: str, more: tuple[str, ...], message: str
) -> None:
    terminal.write("steps.yaml", steps)
    said = chain("--yes", *more)
    assert (said.code, terminal.sandbox.calls()) == (2, []), said.err
    assert message in said.err


def test_much_is_bought_only_after_a_yes(terminal: Terminal, here: Callable[..., Said]) -> None:
    terminal.write("steps.yaml", STEPS)
    terminal.write("many.txt", "\n".join(f"fox number {number}" for number in range(120)))
    said = here("chain", "steps.yaml", "many.txt", "--to", "made")
    assert said.code == 2
    assert "this would buy 360 images for about" in said.err
    assert terminal.sandbox.calls() == []


def test_the_steps_that_the_help_shows_can_be_run(
    terminal: Terminal, chain: Callable[..., Said], here: Callable[..., Said]
) -> None:
    said = here("chain", "--help")
    assert said.code == 0
    terminal.write("steps.yaml", said.out[said.out.index("[{") : said.out.index("}]") + 2])
    planned = json.loads(chain("--plan", "--json").out)["plan"]
    assert [step["model"] for step in planned["steps"]] == [
        "google/imagen4/preview", "klingai/image-o1", "topaz-labs/sharpen",
    ]  # fmt: skip
