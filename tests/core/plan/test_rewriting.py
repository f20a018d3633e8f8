"""Prompts that are rewritten first: which items, how many texts, at what price; before any of it is bought."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import (
    CallIntent,
    Ledger,
    Refused,
    Rewritten,
    RunSpec,
    Unknown,
)
from prefect_imagen.core.ledger.schema import items
from prefect_imagen.core.plan import BatchSpec, PlanWriter, make_plan, open_batch, open_plan
from prefect_imagen.core.prompts import PromptFileError, PromptSpec
from prefect_imagen.core.request import RewriteFallback, RunRequest
from prefect_imagen.core.rewrite import RewriteSpec, price, price_high
from prefect_imagen.core.run.checks import check_batch

MINI = RewriteSpec("gpt-4o-mini", 2, "calm")
MODEL = "google/imagen4/preview"


def batch(prompts: list[str], **options: Any) -> BatchSpec:
    return BatchSpec(PromptSpec(prompts), **{"rewrite": MINI, **options})


@pytest.fixture
def ledger(sqlite: str, open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger(sqlite)


def settle(ledger: Ledger, item_id: str, outcome: Any) -> None:
    """Buy one item, with this outcome."""
    assert [item.id for item in ledger.items.claim([item_id])] == [item_id]
    call = CallIntent(f"pi-{item_id[:30]}", item_id, "run", ledger.worker.id, 1000, 1, None, "m", "chat")
    ledger.calls.begin(call)
    ledger.calls.settle(call.id, outcome)
    ledger.items.release([item_id])


def test_rows_come_by_prompt_text_combination_and_repeat() -> None:
    spec = batch(["a fox", "a dog"], matrix={"aspect_ratio": ["1:1", "16:9"]}, repeat=2)
    rows = list(spec.run_items())
    assert len(rows) == spec.count_rows() == 16
    assert spec.check() == 2
    shown = [
        (row.item.prompt, row.item.rewrite.variation, row.item.parameters.get("aspect_ratio"), row.item.repeat)
        for row in rows
        if row.item.rewrite is not None
    ]
    assert shown[:5] == [
        ("a fox", 1, None, 1),
        ("a fox", 1, None, 2),
        ("a fox", 1, "16:9", 1),
        ("a fox", 1, "16:9", 2),
        ("a fox", 2, None, 1),
    ]
    assert [row.position for row in rows] == list(range(16))
    assert len({row.item.id for row in rows}) == 16
    assert len({row.item.rewrite.id for row in rows if row.item.rewrite}) == 4


def test_nothing_that_was_bought_without_it_is_owned_with_it() -> None:
    plain = {row.item.id for row in batch(["a fox"], rewrite=None).run_items()}
    assert plain.isdisjoint(row.item.id for row in batch(["a fox"]).run_items())


def test_more_texts_and_editions_leave_the_others_what_they_were() -> None:
    def ids(**options: Any) -> list[str]:
        return [row.item.id for row in batch(["a fox"], **options).run_items()]

    assert ids(rewrite=RewriteSpec("openai/gpt-4o-mini", 3, "  calm "))[:2] == ids()
    texts = [
        [row.item.rewrite.id for row in batch(["a fox"], edition=edition).run_items() if row.item.rewrite]
        for edition in ("", "2027")
    ]
    assert texts[0] == texts[1], "an edition asks for other images, not for other words"


def test_a_prompt_may_be_longer_than_the_model_allows() -> None:
    assert batch(["a long way " * 60]).check() == 1
    spec = batch(["a fox", "x" * 8001], skip_invalid=True)
    assert spec.check() == 1
    made = make_plan(spec)
    assert [problem.line for problem in made.invalid] == [2]
    assert "8000" in made.invalid[0].problem


def test_two_combinations_that_are_one_purchase() -> None:
    twice = batch(["a fox"], matrix={"enhance_prompt": [False, True], "aspect_ratio": ["1:1", "1:1"]})
    with pytest.raises(BadInput, match="same purchase"):
        twice.forms()
    both = batch(["a fox"], matrix={"enhance_prompt": [False, True]}).forms()
    assert [dict(form.identity) for form in both] == [{}, {"enhance_prompt": True}]


def test_a_plan_counts_and_prices_the_texts() -> None:
    spec = batch(["a fox", "a dog", "a fox"], repeat=2)
    made = make_plan(spec, requests_per_minute=60)
    texts = made.rewrites
    assert texts is not None
    assert (made.prompts, made.rows, made.items, made.duplicates, made.to_buy) == (3, 12, 8, 4, 8)
    assert (texts.model, texts.variations, texts.texts, texts.to_buy) == ("openai/gpt-4o-mini", 2, 4, 4)
    model = MINI.chat_model()
    wanted = [rewrite for source in ("a fox", "a dog") for rewrite in MINI.rewrites(source, 400)]
    assert texts.price == sum(price(model, rewrite) for rewrite in wanted)
    assert texts.price_high == sum(price_high(model, rewrite) for rewrite in wanted)
    assert made.price == 8 * 104_000 + texts.price
    assert made.price_high == 8 * 106_000 + texts.price_high
    assert made.seconds == 12.0


def test_a_plan_knows_what_is_owned_held_and_failed(ledger: Ledger) -> None:
    spec = batch(["a fox", "a dog"])
    ledger.runs.start(RunSpec("run", MODEL))
    rows = list(spec.run_items())
    ledger.runs.add_items("run", rows)
    texts = [row.item.rewrite.id for row in rows if row.item.rewrite]
    settle(ledger, texts[0], Rewritten("a red fox", 100, "reply"))
    settle(ledger, texts[1], Rewritten(None, 100, "reply", "too long"))
    settle(ledger, texts[2], Unknown("cut"))
    made = make_plan(spec, ledger)
    assert made.rewrites is not None
    counted = (made.rewrites.owned, made.rewrites.failed, made.rewrites.held, made.rewrites.to_buy)
    assert counted == (1, 1, 1, 1)
    assert (made.to_buy, made.refused) == (3, 1)
    kept = make_plan(spec, ledger, rewrite_fallback=RewriteFallback.KEEP)
    assert (kept.to_buy, kept.refused) == (4, 0)


def test_texts_of_owned_images_are_not_bought(ledger: Ledger) -> None:
    spec = batch(["a fox"], rewrite=RewriteSpec("gpt-4o-mini"))
    ledger.runs.start(RunSpec("run", MODEL))
    rows = list(spec.run_items())
    ledger.runs.add_items("run", rows)
    settle(ledger, rows[0].item.id, Refused("no", 0))
    made = make_plan(spec, ledger)
    assert made.rewrites is not None
    assert (made.to_buy, made.rewrites.to_buy, made.rewrites.texts) == (0, 0, 1)


@pytest.mark.slow
def test_a_plan_too_large_to_look_at_is_an_upper_bound() -> None:
    digits = "{0|1|2|3|4|5|6|7|8|9}" * 6
    made = make_plan(batch([digits]))
    assert not made.exact
    assert made.rewrites is not None
    assert (made.prompts, made.items, made.rewrites.to_buy) == (1_000_000, 2_000_000, 2_000_000)
    exact = make_plan(batch(["{0|1|2|3|4|5|6|7|8|9}"]))
    assert exact.rewrites is not None
    assert made.rewrites.price_high / 2_000_000 > exact.rewrites.price_high / 20


def test_the_budget_has_to_cover_a_text_too() -> None:
    check_batch(batch(["a fox"], rewrite=None), budget=106_000)
    with pytest.raises(BadInput, match="a rewritten prompt by openai/gpt-4o-mini"):
        check_batch(batch(["a fox"]), budget=106_000)
    check_batch(batch(["a fox"]), budget=120_000)


class TestOptions:
    def test_they_make_a_spec(self) -> None:
        asked = {"rewrite": "gpt-4o-mini", "rewrites": 3, "brief": "calm", "rewrite_price": "1,2"}
        spec = open_batch(["a fox"], RunRequest.by_flag(asked))
        assert spec.rewrite == RewriteSpec("gpt-4o-mini", 3, "calm", "1,2")
        assert open_batch(["a fox"], RunRequest.by_flag({"rewrite": None, "brief": None})).rewrite is None

    @pytest.mark.parametrize("options", [{"brief": "calm"}, {"rewrites": 2}, {"rewrite_price": "1,2"}])
    def test_what_is_about_rewriting_needs_a_model(self, options: dict[str, Any]) -> None:
        with pytest.raises(BadInput, match="name the language model"):
            open_batch(["a fox"], RunRequest.by_flag(options))


class TestFile:
    def write(self, spec: BatchSpec, path: Path) -> Any:
        with PlanWriter(path, spec) as writer:
            writer.finish(items=make_plan(spec, each=writer.add).items)
        return open_plan(path)

    def test_the_same_rows_come_out(self, tmp_path: Path) -> None:
        spec = batch(["a {red|blue} fox"], matrix={"aspect_ratio": ["1:1", "16:9"]}, repeat=2)
        plan = self.write(spec, tmp_path / "plan.jsonl")
        assert list(plan.run_items()) == list(spec.run_items())
        assert [row.item.id for row in plan.run_items()] == [row.item.id for row in spec.run_items()]
        assert (plan.check(), plan.rewrite) == (2, MINI)
        assert make_plan(plan) == make_plan(spec)

    @pytest.mark.parametrize(("line", "field", "value"), [(0, "brief", "wild"), (1, "variation", 2)])
    def test_an_edited_one_is_found(self, tmp_path: Path, line: int, field: str, value: object) -> None:
        path = tmp_path / "plan.jsonl"
        self.write(batch(["a fox"]), path)
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        if line == 0:
            lines[0]["rewrite"][field] = value
        else:
            lines[line][field] = value
        path.write_text("".join(f"{json.dumps(text)}\n" for text in lines))
        plan = open_plan(path)
        assert plan is not None
        with pytest.raises(PromptFileError, match="was edited"):
            plan.check()

    def test_a_model_that_is_not_known_any_more(self, tmp_path: Path) -> None:
        path = tmp_path / "plan.jsonl"
        self.write(batch(["a fox"]), path)
        path.write_text(path.read_text().replace('"gpt-4o-mini"', '"gone/model"', 1))
        with pytest.raises(PromptFileError, match="gone/model"):
            open_plan(path)

    def test_a_plan_without_it_is_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "plan.jsonl"
        self.write(batch(["a fox"], rewrite=None), path)
        assert "rewrite" not in path.read_text()
        assert "variation" not in path.read_text()


def test_the_ledger_keeps_source_and_wish(ledger: Ledger) -> None:
    ledger.runs.start(RunSpec("run", MODEL))
    ledger.runs.add_items("run", batch(["a fox"]).run_items())
    with ledger.read() as connection:
        query = sa.select(items.c.kind, items.c.model, items.c.prompt, items.c.parameters, items.c.variation)
        rows = sorted(tuple(row) for row in connection.execute(query.order_by(items.c.kind, items.c.variation)))
    assert rows == [
        ("image", MODEL, "a fox", {}, 1),
        ("image", MODEL, "a fox", {}, 2),
        ("rewrite", "openai/gpt-4o-mini", "a fox", {"brief": "calm", "limit": 400}, 1),
        ("rewrite", "openai/gpt-4o-mini", "a fox", {"brief": "calm", "limit": 400}, 2),
    ]
    assert ledger.runs.progress("run").total == 2, "texts are no items of a run"
