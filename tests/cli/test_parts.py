"""The small parts: pace, what to type next, which log records are shown."""

from __future__ import annotations

import logging
from dataclasses import replace

import prefect_imagen.core.run.run as run
import prefect_imagen.flows.pipeline as pipeline
import pytest
from prefect_imagen.cli.logs import Notices
from prefect_imagen.cli.summary import again, next_steps
from prefect_imagen.cli.typed import read_pairs
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import CostLine, CostSummary, ItemState, RunProgress
from prefect_imagen.core.ledger.runs import OpenItem
from prefect_imagen.core.limits import StopReason
from prefect_imagen.core.purchase.log import LOST_REASON
from prefect_imagen.core.run.progress import Speed, status_line
from prefect_imagen.core.run.report import RunReport


def test_speed_is_that_of_the_last_half_minute() -> None:
    speed = Speed()
    assert speed.per_second == 0
    for second in range(101):
        speed.add(float(second), 0 if second < 60 else (second - 60) * 2)
    assert speed.per_second == pytest.approx(2)


def test_status_line_says_what_matters_and_leaves_out_zeros() -> None:
    items = {**dict.fromkeys(ItemState, 0), ItemState.DELIVERED: 40, ItemState.PLANNED: 60}
    calm = RunProgress(100, items, 0, 80, 4_160_000, 0, None)
    assert status_line(calm, 2, 10) == "80 of 200 images; 40 delivered; $2.08 billed; 10.0/s, 12 s left"
    items = {**items, ItemState.UNKNOWN: 2, ItemState.LOST: 1, ItemState.REFUSED: 3}
    rough = RunProgress(106, items, 10, 80, 4_160_000, 212_000, 20_000_000)
    assert status_line(rough, 1, 0) == (
        "80 of 106 images; 40 delivered, 10 of them owned before, 2 unknown, 4 failed; "
        "$2.08 billed + $0.106 reserved of $10.00"
    )


def test_again_can_be_pasted() -> None:
    arguments = ["run", "my prompts.csv", "--unknown=hold", "--to", "s3://b/p"]
    assert again(arguments) == "prefect-imagen run 'my prompts.csv' --unknown=hold --to s3://b/p"
    assert again(arguments, unknown="retry") == "prefect-imagen run 'my prompts.csv' --to s3://b/p --unknown retry"


def report(
    *open_items: OpenItem, stop: StopReason | None = None, budget: str | None = None, **states: int
) -> RunReport:
    zero = CostSummary(*[CostLine()] * len(CostSummary.__dataclass_fields__))
    counts = {**dict.fromkeys(map(str, ItemState), 0), **states}
    run = RunReport("r", "Incomplete", "why", None, "c", 1, 1, counts, 0, 0, 0, zero, open_items)
    return replace(run, stop=stop, budget=budget)


def test_what_to_type_next_depends_on_why() -> None:
    arguments = ["run", "p.csv"]
    day = report(stop=StopReason.BUDGET, budget="day", planned=1)
    assert "When the budget frees" in next_steps(day, arguments)[0][0]
    whole = report(stop=StopReason.BUDGET, budget="run", planned=1)
    assert "under a new budget of the same size" in next_steps(whole, arguments)[0][0]
    answer = OpenItem("i", "lost", "p", "f:1", LOST_REASON, None, 0, answer_lost=True)
    [(text, command)] = next_steps(report(answer, lost=1), arguments)
    assert "their answers never came" in text
    assert command == "prefect-imagen run p.csv --unknown retry"
    source = OpenItem("i", "lost", "p", "f:1", "404", None, 0)
    [(text, command)] = next_steps(report(source, lost=1), arguments)
    assert "`--edition`" in text


def test_pairs() -> None:
    assert read_pairs(["a=b=c", " d = "], "--tag") == {"a": "b=c", "d": " "}
    with pytest.raises(BadInput, match="'a' is given twice"):
        read_pairs(["a=1", "a=2"], "--tag")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (pipeline.__file__, True),
        (run.__file__, True),
        ("/lib/urllib3/connectionpool.py", False),
        ("/lib/prefect/flow_engine.py", False),
    ],
)
def test_only_our_own_notices_are_shown(path: str, shown: bool) -> None:
    record = logging.LogRecord("any", logging.WARNING, path, 1, "text", None, None)
    assert Notices().filter(record) is shown
