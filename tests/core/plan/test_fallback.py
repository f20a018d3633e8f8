"""Who stands in for whom: the item that a row is, in plans, in files, and in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ItemState, Ledger, RunSpec
from prefect_imagen.core.plan import ModelAvailability, PlanWriter, make_plan, open_batch
from prefect_imagen.core.providers import WithdrawnModel
from prefect_imagen.core.request import RunRequest

IMAGEN, NANO = "google/imagen4/preview", "google/nano-banana-2"
PROMPTS = ["a red fox", "a blue fox", "a green fox"]
GONE = ModelAvailability(withdrawn={IMAGEN: "2026-11-01"})


def test_a_row_is_what_was_bought_or_may_have_been(sqlite: str, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger(sqlite)
    batch = open_batch(PROMPTS, RunRequest.by_flag({"fallback": NANO}))
    rows = list(batch.run_items())
    for state in ItemState:
        taken = state not in (ItemState.PLANNED, ItemState.FAILED, ItemState.CLAIMED)
        gone = replace(rows[0], active_index=1)
        assert gone.settled({gone.item.id: state}).model == (IMAGEN if taken else NANO), state
        assert rows[0].settled({rows[0].alternatives[0].id: state}).model == (NANO if taken else IMAGEN), state
    ledger.runs.start(RunSpec("run", IMAGEN))
    ledger.runs.add_items("run", rows)
    assert ledger.items.used_models() == [IMAGEN]
    gone = replace(batch, terms=GONE)
    assert ledger.runs.switch_items("run", gone.run_items()) == 3
    assert ledger.runs.switch_items("run", gone.run_items()) == 0
    assert set(ledger.items.used_models()) == {IMAGEN, NANO}
    assert ledger.runs.progress("run").total == 3
    other = open_batch(["another", *PROMPTS[1:]], RunRequest.by_flag({"fallback": NANO}))
    assert ledger.runs.switch_items("run", other.run_items()) == 2, "a row whose prompt is another one now was switched"


def test_a_plan_counts_who_is_bought_from(sqlite: str, open_ledger: Callable[..., Ledger]) -> None:
    batch = replace(open_batch(PROMPTS, RunRequest.by_flag({"fallback": NANO})), terms=GONE)
    plan = make_plan(batch, open_ledger(sqlite))
    assert (plan.model.spec.id, plan.replaced, plan.to_buy) == (NANO, IMAGEN, 3)
    assert plan.price_high == 3 * 420_000


def test_a_plan_in_a_file_is_carried_out_by_whoever_stands_in(tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    batch = open_batch(PROMPTS, RunRequest.by_flag({"seed": 7}))
    with PlanWriter(path, batch) as writer:
        for row in batch.run_items():
            writer.add(row)
        writer.finish(items=3)
    with pytest.raises(WithdrawnModel):
        replace(open_batch(str(path)), terms=GONE).check()
    with pytest.raises(BadInput, match="seed"):
        replace(open_batch(str(path), RunRequest.by_flag({"fallback": NANO})), terms=GONE).check()
    planned = replace(open_batch(str(path), RunRequest.by_flag({"fallback": NANO, "lenient": True})), terms=GONE)
    assert planned.check() == 3
    assert [row.settled({}).model for row in planned.run_items()] == [NANO] * 3
    assert [row.item.id for row in planned.run_items()] == [row.item.id for row in batch.run_items()]
    with pytest.raises(BadInput, match="says itself what is bought"):
        open_batch(str(path), RunRequest.by_flag({"fallback": NANO, "repeat": 2}))
