"""How a run's end reaches the terminal where Prefect's answer does not carry it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.exceptions import FailedRun, MissingResult
from prefect_imagen.cli.job import report_after
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Item, Ledger, RunItem, RunSpec

MODEL = "google/imagen4/preview"


@pytest.mark.parametrize(("rows", "outcome", "complete"), [(0, "Completed", True), (1, "Blocked", False)])
@pytest.mark.parametrize("answer", [FailedRun("no data"), MissingResult("no data")])
def test_a_state_without_its_result_is_read_from_the_ledger(
    tmp_path: Path, answer: Exception, rows: int, outcome: str, complete: bool
) -> None:
    ledger = Ledger(str(tmp_path / "ledger.db"))
    with pytest.raises(type(answer)):
        report_after(answer, ledger)  # nothing has begun: whatever it is, it is not this run's end
    ledger.runs.start(RunSpec("run", MODEL))
    ledger.runs.add_items("run", [RunItem(n, Item(MODEL, f"fox {n}", {}), "x", n) for n in range(rows)])
    with pytest.raises(type(answer)):
        report_after(answer, ledger)  # it has not ended
    ledger.runs.finish("run", outcome)
    report = report_after(answer, ledger)
    assert (report.outcome, report.complete) == (outcome, complete)
    with pytest.raises(BadInput):
        report_after(BadInput("not this one"), ledger)
    ledger.close()
