"""What a run would do and cost, without doing it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ImageState, ItemState, Ledger, Refused, RunSpec, Unbilled, Unknown
from prefect_imagen.core.plan import BatchSpec, InvalidPrompts, make_plan, open_batch, read_parameters
from prefect_imagen.core.prompts import PromptError, PromptSpec
from prefect_imagen.core.providers import InvalidRequest, UnknownModel, load_registry
from prefect_imagen.core.request import PromptOptions, RunRequest
from prefect_imagen.core.run.checks import check_batch

MODEL = "google/imagen4/preview"


def batch(prompts: list[str], **options: Any) -> BatchSpec:
    return BatchSpec(PromptSpec(prompts), **options)


LONG = "x" * 401
MIXED = ["a fox", LONG, "an owl", "🦊" * 201, "a fox"]


def test_all_invalid_prompts_are_reported_with_their_place() -> None:
    with pytest.raises(InvalidPrompts) as caught:
        batch(MIXED).check()
    assert [problem.line for problem in caught.value.problems] == [2, 4]
    text = str(caught.value)
    assert "2 of 5 prompts do not fit the model; nothing was sent" in text
    assert "<list>:2: prompt:" in text
    assert "401 characters; the limit is 400" in text
    assert "402 characters" in text
    assert "--skip-invalid" in text


def test_many_invalid_prompts_make_a_readable_message() -> None:
    with pytest.raises(InvalidPrompts) as caught:
        batch([LONG] * 500).check()
    assert len(caught.value.problems) == 500
    assert "and 480 more" in str(caught.value)


def test_invalid_prompts_can_be_left_out() -> None:
    spec = batch(MIXED, skip_invalid=True)
    assert spec.check() == 3
    assert [row.item.prompt for row in spec.run_items()] == ["a fox", "an owl", "a fox"]
    assert [row.line for row in spec.run_items()] == [1, 3, 5]


@pytest.mark.parametrize("prompts", [[LONG], [LONG, LONG]])
def test_nothing_left_to_run(prompts: list[str]) -> None:
    with pytest.raises(BadInput, match="no prompt is left"):
        batch(prompts, skip_invalid=True).check()


def test_no_prompts_at_all() -> None:
    with pytest.raises(BadInput):
        batch([]).check()


def test_wrong_parameters_are_said_once_not_for_every_prompt() -> None:
    with pytest.raises(InvalidRequest) as caught:
        batch(["a", "b"], parameters={"num_images": 9, "aspect_ratio": "7:5"}).check()
    assert {problem.field for problem in caught.value.problems} == {"num_images", "aspect_ratio"}


def test_bad_input_of_every_kind_is_bad_input() -> None:
    for spec in (batch(["a"], model="no such"), BatchSpec(PromptSpec("/no/such/file.txt"))):
        for attempt in (spec.check, lambda spec=spec: make_plan(spec), lambda spec=spec: list(spec.run_items())):
            with pytest.raises(BadInput) as caught:
                attempt()
            assert isinstance(caught.value, UnknownModel | PromptError)
    for options in ({"repeat": 0}, {"repeat": 1001}, {"edition": "a\nb"}, {"edition": "x" * 201}):
        with pytest.raises(BadInput, match=next(iter(options))):
            batch(["a"], **options)


def test_rows_say_where_they_come_from() -> None:
    rows = list(batch(["a {red|blue} fox", "an owl"], repeat=2, edition="e").run_items())
    assert [row.position for row in rows] == list(range(6))
    assert [(row.item.prompt, row.item.repeat, row.line) for row in rows[:3]] == [
        ("a red fox", 1, 1),
        ("a red fox", 2, 1),
        ("a blue fox", 1, 1),
    ]
    assert rows[2].choices == ("blue",)
    assert {row.item.edition for row in rows} == {"e"}
    assert len({row.item.id for row in rows}) == 6


def test_a_plan_counts_and_prices() -> None:
    plan = make_plan(batch(MIXED, parameters={"num_images": 2}, repeat=3))
    assert (plan.prompts, plan.rows, plan.items, plan.duplicates) == (5, 9, 6, 3)
    assert [problem.line for problem in plan.invalid] == [2, 4]
    assert (plan.to_buy, plan.images, plan.price, plan.price_high) == (6, 12, 12 * 104_000, 12 * 106_000)
    assert plan.samples == ("a fox", "an owl", "a fox")
    assert plan.model.name == MODEL


def test_a_plan_knows_what_the_ledger_has(sqlite: str, open_ledger: Callable[..., Ledger], shop_of: Any) -> None:
    ledger = open_ledger(sqlite)
    harness = shop_of(ledger)
    names = ["new", "delivered", "generated", "lost", "refused", "unknown", "flying", "failed", "claimed"]
    spec = batch(names)
    ledger.runs.start(RunSpec("run", MODEL))
    rows = list(spec.run_items())
    ledger.runs.add_items("run", rows[1:])
    ids = dict(zip(names, (row.item.id for row in rows), strict=True))
    harness.finish(harness.buy(ids["delivered"]))
    harness.buy(ids["generated"])
    harness.finish(harness.buy(ids["lost"]), ImageState.LOST)
    ledger.calls.settle(harness.send(ids["refused"]), Refused("safety"))
    ledger.calls.settle(harness.send(ids["unknown"]), Unknown("cut"))
    harness.send(ids["flying"])
    ledger.calls.settle(harness.send(ids["failed"]), Unbilled("429", ItemState.FAILED))
    ledger.items.claim([ids["claimed"]])
    before = ledger.costs.of()
    plan = make_plan(spec, ledger)
    assert (plan.owned, plan.paid, plan.held, plan.refused, plan.to_buy) == (1, 1, 2, 2, 3)
    assert plan.owned + plan.paid + plan.held + plan.refused + plan.to_buy == plan.items == 9
    assert plan.price == 3 * 104_000
    assert ledger.costs.of() == before
    assert make_plan(batch(names, edition="2"), ledger).to_buy == 9


def test_samples_are_spread_over_the_batch() -> None:
    plan = make_plan(batch([f"prompt {n}" for n in range(1000)]))
    numbers = [int(text.split()[1]) for text in plan.samples]
    assert len(numbers) == 10
    assert numbers == sorted(set(numbers))
    assert numbers[0] < 200
    assert numbers[-1] > 700
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    assert max(gaps) <= 4 * min(gaps)


PLAN = """
    import resource, sys
    from prefect_imagen.core.plan import BatchSpec, make_plan
    from prefect_imagen.core.prompts import PromptSpec
    make_plan(BatchSpec(PromptSpec(["a fox"])))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = make_plan(BatchSpec(PromptSpec(sys.argv[1])))
    print(plan.items, plan.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs elsewhere")
def test_100_000_prompts_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"prompt number {n}, which is about as long as a usual one\n" for n in range(100_000)))
    command = [sys.executable, "-c", textwrap.dedent(PLAN), str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    items, rows, kibibytes = map(int, told.split())
    assert items == rows == 100_000
    assert kibibytes < 50_000


def test_parameters_of_a_command_line_are_read() -> None:
    model = load_registry().resolve("flux/schnell")
    texts = {"image_size": "512x768", "seed": "7", "enable_safety_checker": "no", "typo": "1"}
    assert read_parameters(model, texts) == {
        "image_size": {"width": 512, "height": 768},
        "seed": 7,
        "enable_safety_checker": False,
        "typo": "1",
    }


def test_a_budget_below_the_price_of_one_item_is_bad_input() -> None:
    spec = batch(["a fox", "an owl"], parameters={"num_images": 2})
    assert check_batch(spec, budget=212_000) == 2
    assert check_batch(spec, budget=None) == 2
    with pytest.raises(BadInput, match=r"budget of \$0\.10 is below the price of one item: \$0\.106 for 2 images"):
        check_batch(spec, budget=200_000)


def test_rows_of_which_nothing_can_be_made_are_named_together_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a tin lamp\na {felt hat\na } jug\n\x1b[31m\n{a|b} vase\n")
    batch = open_batch(path)
    for check in (batch.check, lambda: make_plan(batch)):
        with pytest.raises(BadInput, match=r"3 rows cannot be read:\n.*p.txt:2: unclosed") as caught:
            check()
        assert all(f"p.txt:{line}: " in str(caught.value) for line in (2, 3, 4))
    lenient = open_batch(path, RunRequest(select=PromptOptions(skip_invalid=True)))
    assert lenient.check() == lenient.count_rows() == 3
    assert [row.item.prompt for row in lenient.run_items()] == ["a tin lamp", "a vase", "b vase"]
    plan = make_plan(lenient)
    assert ([bad.line for bad in plan.invalid], plan.prompts, plan.to_buy) == ([2, 3, 4], 6, 3)
