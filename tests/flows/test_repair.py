"""Repair as a flow, and what a run settles of the past before it buys."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import BeginResult, CallIntent, Item, Ledger, RunItem, RunSpec
from prefect_imagen.core.ledger.schema import workers
from prefect_imagen.core.providers import ImageRequest
from prefect_imagen.core.purchase import ReplySpool
from prefect_imagen.core.repair import IncompleteRepair, RepairReport
from prefect_imagen.core.request import Delivery, UnknownPolicy
from prefect_imagen.core.run.services import spool_folder
from prefect_imagen.flows import imagen_repair

from ..bill import check_bill
from .conftest import FlowHarness

MODEL = "google/imagen4/preview"


def mended(harness: FlowHarness, **options: Any) -> tuple[str, RepairReport]:
    """Run the flow; the name of its final state, and its report."""
    state = imagen_repair(harness.store, harness.credentials, harness.catalog, return_state=True, **options)
    result = state.result(raise_on_failure=False)
    if isinstance(result, IncompleteRepair):
        result = result.report
    assert isinstance(result, RepairReport), result
    return str(state.name), result


def test_unknown_items_are_held_then_decided_on(harness: FlowHarness) -> None:
    harness.sandbox.set_faults([{"fault": "cut_after_billing", "times": 2}])
    first = harness.run([f"repair {n}" for n in range(5)])
    assert (first.delivered, first.states["unknown"]) == (3, 2)
    harness.sandbox.clear_faults()
    waiting = harness.state([f"repair {n}" for n in range(5)], chunk_size=5)
    assert waiting.name == "Incomplete", "the log says that they were billed: they are lost, not bought again"
    assert check_bill(harness.ledger, harness.sandbox, settled=True).lost.calls == 2
    assert mended(harness)[0] == "Completed", "nothing is unknown, nothing is unfinished"
    name, report = mended(harness, unknown=UnknownPolicy.RETRY)
    assert (name, report.bought, report.stored) == ("Completed", 2, 2)
    assert len(harness.objects()) == 5
    assert check_bill(harness.ledger, harness.sandbox, settled=True).delivered.calls == 7


def test_what_is_left_is_a_failed_run_with_its_report(harness: FlowHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    harness.sandbox.set_faults([{"fault": "cut_after_billing", "times": 1}])
    harness.run(["a fox", "an owl"])
    state = imagen_repair(harness.store, None, harness.catalog, return_state=True)
    assert state.name == "Incomplete", "without a key the log cannot be asked"
    report = state.result(raise_on_failure=False)
    assert isinstance(report, IncompleteRepair)
    assert report.report.unknown == 1
    check_bill(harness.ledger, harness.sandbox)


def test_an_answer_in_the_spool_of_a_dead_process_is_not_bought_again(harness: FlowHarness) -> None:
    item = Item(MODEL, "a fox in the spool", {})
    dead = Ledger(str(harness.database))
    dead.bind("sandbox")
    dead.runs.start(RunSpec("dead", MODEL))
    dead.runs.add_items("dead", [RunItem(0, item, "x", 1)])
    dead.items.claim([item.id])
    intent = CallIntent("pi-" + "7" * 32, item.id, "dead", dead.worker.id, 106_000, 1, 7, MODEL, "2025-11")
    assert dead.calls.begin(intent) is BeginResult.YES
    raw = harness.credentials.get_client().ask(ImageRequest.build(MODEL, item.prompt, {}), intent.id, seed=7)
    ReplySpool(spool_folder(Delivery()) / dead.id / "replies").save(intent.id, raw)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    this = sa.update(workers).where(workers.c.id == dead.worker.id).values(pid=gone.pid)
    dead.write(lambda connection: connection.execute(this))

    report = harness.run([item.prompt], unknown=UnknownPolicy.RETRY)
    assert (report.outcome, report.delivered, report.account.delivered.calls) == ("Completed", 1, 0)
    assert harness.billed() == [intent.id]
    check_bill(harness.ledger, harness.sandbox, settled=True)
    dead.close()
