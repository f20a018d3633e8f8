"""Models that go: before a run, in the middle of one, with somebody to stand in and without. Held to the bill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.providers import WithdrawnModel

from .conftest import FlowHarness


@pytest.fixture
def harness(either: FlowHarness) -> FlowHarness:
    """It is the run that is looked at, in Prefect or without."""
    return either


IMAGEN, NANO, FLUX = "google/imagen4/preview", "google/nano-banana-2", "blackforestlabs/flux-2"
PROMPTS = [f"fox number {n}" for n in range(30)]


@pytest.fixture(autouse=True)
def shelf(harness: FlowHarness) -> Iterator[None]:
    yield
    harness.sandbox.set_models()


def made_by(harness: FlowHarness) -> Counter[str]:
    """Images by the model that made them, as the catalog tells."""
    return Counter(model for (model,) in harness.query("SELECT wire_model FROM catalog WHERE state = 'stored'"))


def billed_by(harness: FlowHarness) -> Counter[str]:
    return Counter(entry["model"] for entry in harness.sandbox.bill()["entries"])


def assert_each_prompt_was_bought_once(harness: FlowHarness, prompts: list[str] = PROMPTS) -> None:
    assert Counter(entry["prompt"] for entry in harness.sandbox.bill()["entries"]) == Counter(prompts)
    harness.assert_sum_closes()


def gone(**label: Any) -> dict[str, Any]:
    return {IMAGEN: {"status": "withdrawn", "shutdown_at": "2026-11-01", **label}}


def test_withdrawn_between_two_runs(harness: FlowHarness) -> None:
    first = harness.run(PROMPTS[:10])
    assert first.complete
    harness.sandbox.set_models(**gone(replaced_by=NANO))
    with pytest.raises(WithdrawnModel, match=f"--fallback {NANO}"):
        harness.run(PROMPTS)
    assert len(harness.billed()) == 10
    rest = harness.run(PROMPTS, fallback=[NANO])
    assert (rest.complete, rest.owned, rest.delivered) == (True, 10, 30)
    assert made_by(harness) == billed_by(harness) == {IMAGEN: 10, NANO: 20}
    assert_each_prompt_was_bought_once(harness)
    # Neither the same command again nor the successor itself buys anything again; what it did not make, it would.
    again = harness.run(PROMPTS, fallback=[NANO])
    assert (again.complete, again.owned, len(harness.billed())) == (True, 30, 30)
    assert harness.run(PROMPTS[10:], model=NANO).owned == 20
    assert len(harness.billed()) == 30


def test_withdrawn_in_the_middle_stops_and_a_rerun_finishes(harness: FlowHarness) -> None:
    rule = {"fault": "withdrawn_model", "after": 12, "replaced_by": NANO, "match": {"model": IMAGEN}}
    harness.sandbox.set_faults([rule])
    stopped = harness.run(PROMPTS)
    assert stopped.outcome == "Blocked"
    assert stopped.message.startswith("model not served: ")
    assert stopped.successor == NANO
    assert stopped.states["delivered"] == 12
    assert stopped.states["planned"] == 18
    with pytest.raises(WithdrawnModel, match=f"Its successor is {NANO}"):
        harness.run(PROMPTS)
    rest = harness.run(PROMPTS, fallback=[NANO])
    assert (rest.complete, rest.owned) == (True, 12)
    assert made_by(harness) == {IMAGEN: 12, NANO: 18}
    assert_each_prompt_was_bought_once(harness)


@pytest.mark.parametrize("either", ["alone", "in Prefect"], indirect=True)
def test_withdrawn_in_the_middle_with_somebody_to_stand_in(harness: FlowHarness) -> None:
    """Nobody announced it: the first 404 tells."""
    rule = {"fault": "withdrawn_model", "after": 12, "announced": False, "match": {"model": IMAGEN}}
    harness.sandbox.set_faults([rule])
    report = harness.run(PROMPTS, fallback=[NANO, FLUX], aspect_ratio="16:9")
    assert (report.complete, report.delivered) == (True, 30)
    assert made_by(harness) == {IMAGEN: 12, NANO: 18}
    assert_each_prompt_was_bought_once(harness)
    rows = harness.query("SELECT model, parameters FROM catalog WHERE wire_model = 'google/nano-banana-2'")
    assert set(rows) == {(NANO, '{"aspect_ratio": "16:9"}')}


def test_the_second_one_stands_in_when_the_first_is_gone_too(harness: FlowHarness) -> None:
    rules = [
        {"fault": "withdrawn_model", "after": 5, "announced": False, "match": {"model": model}}
        for model in (IMAGEN, NANO)
    ]
    harness.sandbox.set_faults(rules)
    report = harness.run(PROMPTS, fallback=[NANO, FLUX])
    assert (report.complete, report.delivered) == (True, 30)
    assert made_by(harness) == {IMAGEN: 5, NANO: 5, FLUX: 20}
    sizes = harness.query("SELECT DISTINCT width, height FROM catalog WHERE wire_model = 'blackforestlabs/flux-2'")
    assert sizes == [(1024, 1024)], "the aspect ratio that the wanted model assumes was not said to the other one"
    assert_each_prompt_was_bought_once(harness)


def test_what_is_left_out_is_reported_and_the_same_item_is_not_bought_again(harness: FlowHarness) -> None:
    harness.sandbox.set_models(**gone())
    asked = {"num_images": 2, "seed": 7, "fallback": [NANO]}
    with pytest.raises(BadInput, match="one image a request"):
        harness.run(PROMPTS[:3], **asked)
    assert harness.sandbox.calls() == []
    report = harness.run(PROMPTS[:3], lenient=True, **asked)
    assert (report.complete, report.images) == (True, 3)
    assert [text.partition(" ")[0] for text in report.omitted] == ["num_images=2", "seed=7"]
    assert report.as_dict()["omitted"] == list(report.omitted)
    assert harness.run(PROMPTS[:3], model=NANO).owned == 3
    assert_each_prompt_was_bought_once(harness, PROMPTS[:3])


def test_a_dearer_price_is_reserved(harness: FlowHarness) -> None:
    harness.sandbox.set_models(**{IMAGEN: {"price_usd": "0.2"}})
    with pytest.raises(BadInput, match=r"below the price of one item: \$0\.2"):
        harness.run(PROMPTS[:5], budget_usd=0.1)
    report = harness.run(PROMPTS[:5], budget_usd=0.5)
    assert (report.outcome, report.delivered, report.account.billed) == ("BudgetReached", 2, 800_000)
    assert {reserved for (reserved,) in harness.query("SELECT reserved FROM imagen_calls")} == {400_000}


def test_a_price_that_is_not_known_buys_nothing(harness: FlowHarness) -> None:
    harness.sandbox.set_models(**{"luma/uni-1": {"kind": "variable"}})
    with pytest.raises(BadInput, match="the price of luma/uni-1 is not known"):
        harness.run(PROMPTS[:2], model="luma/uni-1")
    harness.sandbox.set_models()
    assert harness.sandbox.calls() == []
    assert harness.run(PROMPTS[:2], model="luma/uni-1").complete


def test_token_prices_are_reserved_at_their_highest_and_settled_as_billed(harness: FlowHarness) -> None:
    report = harness.run(PROMPTS[:5], model=NANO)
    rows = harness.query("SELECT reserved, settled FROM imagen_calls")
    assert {reserved for reserved, _ in rows} == {420_000}
    assert len({settled for _, settled in rows}) > 1
    assert report.account.billed == harness.sandbox.bill()["credits"] == sum(settled for _, settled in rows)
    harness.assert_sum_closes()
