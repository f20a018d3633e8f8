"""Prompts × combinations of parameters, and templates that mean more than can be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ItemState, Ledger, RunSpec
from prefect_imagen.core.ledger.schema import items
from prefect_imagen.core.plan import BatchSpec, make_plan
from prefect_imagen.core.plan.plan import BYTES_AN_IMAGE, EXACT_ROWS
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.providers import InvalidRequest
from prefect_imagen.core.run.checks import check_batch

MODEL = "google/imagen4/preview"
PARTI = Path(__file__).parents[2] / "data" / "PartiPrompts.tsv"
RATIOS = {"aspect_ratio": ["1:1", "16:9"]}
TEN = "{0|1|2|3|4|5|6|7|8|9}"


def parti(styles: str) -> BatchSpec:
    # One of the prompts has 389 characters; with ", watercolour" it would pass the model's limit of 400.
    template = f"{{{{ Prompt|truncate_prompt(380) }}}}, {{{styles}}}"
    return BatchSpec(PromptSpec(PARTI, template=template), matrix=RATIOS)


@pytest.mark.slow
def test_one_more_style_buys_exactly_the_new_items(sqlite: str, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger(sqlite)
    first = parti("photo|watercolour|3d render")
    assert first.check() == 4_896
    ledger.runs.start(RunSpec("run", MODEL))
    ledger.runs.add_items("run", first.run_items())
    ledger.write(lambda connection: connection.execute(sa.update(items).values(state=ItemState.DELIVERED)))
    again = make_plan(first, ledger)
    assert (again.rows, again.items, again.owned, again.to_buy) == (9_792, 9_792, 9_792, 0)

    new: list[str] = []
    more = make_plan(
        parti("ink|photo|watercolour|3d render"), ledger, each=lambda row: new.append(row.item.id), destination="s3://b"
    )
    assert (more.items, more.owned, more.to_buy) == (13_056, 9_792, 3_264)
    assert (more.images, more.price, more.bytes) == (3_264, 3_264 * 104_000, 3_264 * BYTES_AN_IMAGE)
    with ledger.read() as connection:
        known = set(connection.scalars(sa.select(items.c.id)))
    ink = {row.item.id for row in parti("ink|ink").run_items()}
    assert len(new) == 13_056
    assert set(new) - known == ink


def test_combinations_come_in_order_and_are_the_items_own() -> None:
    matrix = {"num_images": [1, 3], "aspect_ratio": ["16:9", "1:1"]}
    spec = BatchSpec(PromptSpec(["a fox", "an owl"]), matrix=matrix, parameters={"seed": 7}, repeat=2)
    rows = list(spec.run_items())
    assert [row.position for row in rows] == list(range(16))
    assert [(row.item.prompt, dict(row.item.parameters), row.item.repeat) for row in rows[:8]] == [
        ("a fox", {"seed": 7, **more}, repeat)
        for more in (
            {"aspect_ratio": "16:9"},
            {},
            {"aspect_ratio": "16:9", "num_images": 3},
            {"num_images": 3},
        )
        for repeat in (1, 2)
    ]
    # The same items as those of a run without a matrix.
    plain = BatchSpec(PromptSpec(["a fox"]), parameters={"seed": 7, "aspect_ratio": "16:9", "num_images": 3}, repeat=2)
    assert [row.item.id for row in plain.run_items()] == [row.item.id for row in rows[4:6]]
    plan = make_plan(spec, requests_per_minute=60)
    assert (plan.prompts, plan.combinations, plan.rows, plan.items) == (2, 4, 16, 16)
    assert (plan.images, plan.price, plan.price_high) == (32, 32 * 104_000, 32 * 106_000)
    assert (plan.seconds, plan.samples) == (16, ("a fox", "an owl"))
    assert make_plan(spec).seconds is None


def test_the_price_is_that_of_the_combinations_still_to_buy(sqlite: str, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger(sqlite)
    spec = BatchSpec(PromptSpec(["a fox"]), matrix={"num_images": [1, 4]})
    ledger.runs.start(RunSpec("run", MODEL))
    ledger.runs.add_items("run", list(spec.run_items())[1:])
    ledger.write(lambda connection: connection.execute(sa.update(items).values(state=ItemState.DELIVERED)))
    plan = make_plan(spec, ledger)
    assert (plan.owned, plan.to_buy, plan.images, plan.price) == (1, 1, 1, 104_000)
    assert check_batch(spec, budget=106_000) == 1
    with pytest.raises(BadInput, match=r"below the price of one item: \$0\.053 for 1 image "):
        check_batch(spec, budget=105_999)


def test_what_is_owned_elsewhere_is_to_be_copied(sqlite: str, open_ledger: Callable[..., Ledger], shop_of: Any) -> None:
    ledger = open_ledger(sqlite)
    harness = shop_of(ledger)
    spec = BatchSpec(PromptSpec(["a fox", "an owl"]))
    ledger.runs.start(RunSpec("run", MODEL))
    rows = list(spec.run_items())
    ledger.runs.add_items("run", rows)
    harness.finish(harness.buy(rows[0].item.id))
    with ledger.read() as connection:
        there = connection.scalar(sa.text("SELECT destination FROM imagen_deliveries"))
    plans = [make_plan(spec, ledger, destination=place) for place in (None, there, "s3://elsewhere")]
    assert [(plan.owned, plan.to_copy) for plan in plans] == [(1, 0), (1, 0), (1, 1)]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no values": ({"aspect_ratio": []}, "aspect_ratio has no values"),
    "text": ({"aspect_ratio": "1:1"}, "aspect_ratio needs a list of values, not '1:1'"),
    "twice": ({"seed": [1, 2]}, r"seed is given for every prompt already \(7\)"),
    "many": ({"num_images": [1, 2, 3, 4], "seed_": range(251)}, "1,004 combinations; at most 1,000"),
    "the default and itself": ({"aspect_ratio": ["1:1", None]}, "'1:1' and aspect_ratio=None are the same purchase"),
    "wire form": ({"convert_base64_to_url": [True, False]}, "are the same purchase"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_matrix_that_cannot_be_meant(name: str) -> None:
    matrix, pattern = BAD[name]
    parameters = {"seed": 7} if name == "twice" else {}
    with pytest.raises(BadInput, match=pattern):
        BatchSpec(PromptSpec(["a fox"]), matrix=matrix, parameters=parameters).check()


def test_a_combination_that_does_not_fit_is_found_before_any_prompt() -> None:
    spec = BatchSpec(PromptSpec("/no/such/file.txt"), matrix={"aspect_ratio": ["1:1", "7:5"]})
    for attempt in (spec.check, lambda: make_plan(spec), lambda: list(spec.run_items())):
        with pytest.raises(InvalidRequest, match="aspect_ratio: '7:5' is not allowed"):
            attempt()


def test_an_invalid_prompt_is_reported_once_not_for_every_combination() -> None:
    spec = BatchSpec(PromptSpec(["x" * 401, "a fox"]), matrix=RATIOS, skip_invalid=True)
    plan = make_plan(spec)
    assert (len(plan.invalid), plan.prompts, plan.rows, spec.check()) == (1, 2, 2, 1)


def test_a_template_of_10_to_the_12th_is_planned_at_once_and_never_run() -> None:
    spec = BatchSpec(PromptSpec([TEN * 12]), matrix=RATIOS)
    start = time.process_time()
    plan = make_plan(spec)
    assert time.process_time() - start < 30
    assert (plan.exact, plan.prompts, plan.rows, plan.to_buy) == (False, 10**12, 2 * 10**12, 2 * 10**12)
    assert plan.price == 2 * 10**12 * 104_000
    assert plan.samples == tuple(f"{tenth}{'0' * 11}" for tenth in range(10))
    with pytest.raises(BadInput, match=r"2,000,000,000,000 rows are asked for; a run takes at most 10,000,000"):
        spec.check()
    few = make_plan(BatchSpec(PromptSpec([TEN * 12], sample=20), matrix=RATIOS))
    assert (few.exact, few.prompts, few.items, len(few.samples)) == (True, 20, 40, 10)


def test_many_repeats_of_few_prompts_are_many_rows() -> None:
    spec = BatchSpec(PromptSpec([TEN * 4]), repeat=1000, matrix=RATIOS)
    plan = make_plan(spec)
    assert (plan.exact, plan.rows) == (False, 20_000_000)
    assert plan.rows > EXACT_ROWS
    with pytest.raises(BadInput, match="20,000,000 rows"):
        spec.check()


def test_parti_prompts_in_three_styles_and_two_ratios() -> None:
    """The issue's own numbers. One row of the public file is longer than the limit, hence the filter."""
    parti = Path(__file__).parents[2] / "data" / "PartiPrompts.tsv"

    def ids(styles: str) -> set[str]:
        prompts = PromptSpec(parti, template="{{ Prompt|truncate_prompt(380) }}, {" + styles + "}")
        spec = BatchSpec(prompts, matrix={"aspect_ratio": ["1:1", "16:9"]})
        return {row.item.id for row in spec.run_items()}

    three, four = ids("photo|watercolour|3d render"), ids("photo|watercolour|3d render|oil")
    assert len(three) == 1632 * 3 * 2 == 9792
    assert (len(four - three), three - four) == (1632 * 2, set())
