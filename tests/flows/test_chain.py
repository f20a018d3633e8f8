"""A chain of three steps: each is bought once, priced as a whole, under one budget; what fails costs nothing more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect_imagen import ChainStep, ImageOptions, imagen_chain
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.providers import InvalidRequest
from prefect_imagen.core.request import Limits, Policy
from prefect_imagen.core.run.report import IncompleteRun, RunReport

from .conftest import FlowHarness

STEPS = [
    ChainStep(model="google/imagen4/preview"),
    ChainStep(model="klingai/image-o1", template="{{ prompt }}, without its background"),
    ChainStep(model="topaz-labs/sharpen", image=ImageOptions(parameters={"mode": "Standard"})),
]
PROMPTS = [f"a mug, number {n}" for n in range(4)]


def chain(harness: FlowHarness, steps: list[ChainStep] = STEPS, **parameters: Any) -> State[Any]:
    return imagen_chain(
        PROMPTS,
        steps,
        harness.store,
        harness.credentials,
        harness.catalog,
        limits=Limits(concurrency=4),
        policy=parameters.pop("policy", Policy(ask_catalogue=False, wait_for_others=0)),
        return_state=True,
        **parameters,
    )


def test_each_step_is_bought_once_and_goes_on_where_it_was(harness: FlowHarness) -> None:
    short = chain(harness, budget_usd=0.4)
    assert short.name == "BudgetReached"
    begun = len(harness.billed())
    assert 4 <= begun < 12
    done = chain(harness)
    assert done.name == "Completed", done.message
    reports: list[RunReport] = done.result()
    assert [report.images for report in reports] == [4, 4, 4]
    assert len(harness.billed()) == 12
    assert [report.account.billed for report in chain(harness).result()] == [0, 0, 0]
    assert len(harness.billed()) == 12
    rows = {row["sha256"]: row for row in harness.ledger.catalog.rows()}
    last = [row for row in rows.values() if row["model"] == "topaz-labs/sharpen"]
    for row in last:
        (before,) = json.loads(row["inputs"])
        (first,) = json.loads(rows[before["sha256"]]["inputs"])
        assert rows[first["sha256"]]["prompt"] in PROMPTS


def test_what_a_step_does_not_deliver_costs_nothing_further(harness: FlowHarness) -> None:
    refusal = {"fault": "safety_block", "form": "http_400", "match": {"prompt_contains": "number 2"}}
    harness.sandbox.set_faults([refusal])
    try:
        ended = chain(harness)
    finally:
        harness.sandbox.clear_faults()
    result = ended.result(raise_on_failure=False)
    assert isinstance(result, IncompleteRun)
    made = [row["model"] for row in harness.ledger.catalog.rows()]
    assert [made.count(step.model) for step in STEPS] == [3, 3, 3]


@pytest.mark.parametrize(
    ("steps", "options", "error", "message"),
    [
        ([STEPS[0], STEPS[0]], {}, InvalidRequest, "this model takes no images"),
        ([STEPS[0], ChainStep(model="topaz-labs/sharpen")], {}, InvalidRequest, "mode"),
        (STEPS, {"budget_usd": 0.1}, BadInput, "below the price of one item of each step"),
    ],
)
def test_a_later_step_that_cannot_be_is_found_before_the_first_buys(
    harness: FlowHarness, steps: list[ChainStep], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        chain(harness, steps, **options).result()
    assert harness.billed() == []
