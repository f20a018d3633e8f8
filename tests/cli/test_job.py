"""How a run's end reaches the terminal where Prefect's answer does not carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from prefect.exceptions import FailedRun, MissingResult
from prefect_imagen.cli.failures import INCOMPLETE, OK
from prefect_imagen.cli.job import Ready
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Item, Ledger, RunItem, RunSpec

MODEL = "google/imagen4/preview"


@pytest.mark.parametrize(("rows", "outcome", "code"), [(0, "Completed", OK), (1, "Blocked", INCOMPLETE)])
@pytest.mark.parametrize("answer", [FailedRun("no data"), MissingResult("no data")])
def test_a_state_without_its_result_is_read_from_the_ledger(
    tmp_path: Path, answer: Exception, rows: int, outcome: str, code: int
) -> None:
    ledger = Ledger(str(tmp_path / "ledger.db"))
    ready = Ready(*cast(Any, (None, None, ledger, None, rows)))
    with pytest.raises(type(answer)):
        ready._broken(answer)  # nothing has begun: whatever it is, it is not this run's end
    ledger.runs.start(RunSpec("run", MODEL))
    ledger.runs.add_items("run", [RunItem(n, Item(MODEL, f"fox {n}", {}), "x", n) for n in range(rows)])
    with pytest.raises(type(answer)):
        ready._broken(answer)  # it has not ended
    ledger.runs.finish("run", outcome)
    ended = ready._broken(answer)
    assert ended.report is not None
    assert (ended.report.outcome, ended.exit_code) == (outcome, code)
    with pytest.raises(BadInput):
        ready._broken(BadInput("not this one"))
    ledger.close()
