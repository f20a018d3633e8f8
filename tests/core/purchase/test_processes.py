"""Several processes at once: the same items are bought once, and a budget holds for all of them together."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger, Period
from prefect_imagen.sandbox import SandboxServer

from ...bill import check_bill
from ...chain import as_process, run_chain

PRICE = 104_000


def together(*options: dict[str, Any]) -> list[dict[str, Any]]:
    """Run chains at once, a process each."""
    processes = [subprocess.Popen(as_process(one), stdout=subprocess.PIPE, text=True) for one in options]
    outputs = [process.communicate(timeout=170)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(output) for output in outputs]


@pytest.fixture
def options(sandbox: SandboxServer, tmp_path: Path) -> dict[str, Any]:
    return {"base_url": sandbox.base_url, "store": str(tmp_path / "images"), "spool": str(tmp_path / "spool")}


@pytest.mark.parametrize(
    ("kind", "workers", "count"),
    [
        ("postgres", 4, 60),
        pytest.param("sqlite", 2, 300, marks=pytest.mark.long),
        pytest.param("postgres", 4, 300, marks=pytest.mark.long),
    ],
)
def test_the_same_items_are_bought_once(
    kind: str,
    workers: int,
    count: int,
    request: pytest.FixtureRequest,
    sandbox: SandboxServer,
    options: dict[str, Any],
    open_ledger: Callable[..., Ledger],
) -> None:
    database = request.getfixturevalue(kind)
    ended = together(*[{**options, "catalog": database, "count": count}] * workers)
    assert all(set(one["states"]) <= {"delivered", "claimed", "sent", "generated"} for one in ended)
    ledger = open_ledger(database)
    account = check_bill(ledger, sandbox, settled=True)
    assert (account.delivered.calls, account.billed) == (count, count * PRICE)
    assert len(sandbox.bill()["entries"]) == count
    again = run_chain(**options, catalog=ledger, count=count)
    assert again["states"] == {"delivered": count}
    assert len(sandbox.bill()["entries"]) == count


@pytest.mark.parametrize(
    ("kind", "cents"),
    [
        ("sqlite", 100),
        pytest.param("sqlite", 500, marks=pytest.mark.long),
        pytest.param("postgres", 500, marks=pytest.mark.long),
    ],
)
def test_a_cap_over_four_runs_that_want_four_times_as_much(
    kind: str,
    cents: int,
    request: pytest.FixtureRequest,
    sandbox: SandboxServer,
    options: dict[str, Any],
    open_ledger: Callable[..., Ledger],
) -> None:
    database = request.getfixturevalue(kind)
    ledger = open_ledger(database)
    cap = cents * 20_000
    ledger.budgets.set(Period.DAY, cap)
    sandbox.set_faults([{"fault": "cut_after_billing", "every": 10}, {"fault": "rate_limited", "every": 7}])
    count = cap // PRICE + 1
    wanted = [{**options, "catalog": database, "count": count, "prefix": f"run {n}", "log": False} for n in range(4)]
    ended = together(*wanted)
    account = check_bill(ledger, sandbox)
    bill = sandbox.bill()["credits"]
    assert bill <= account.billed_at_most <= cap
    assert bill > cap * 0.88, "the cap is used, not only kept"
    assert all(f"day's budget of ${cents // 100}.00" in one["halt"] for one in ended)
    (day,) = ledger.budgets.states()
    assert (day.spent, day.reserved) == (account.billed, account.unknown.credits)
    # The end is one to go on from: with a higher cap the same commands buy the rest and nothing again.
    sandbox.clear_faults()
    ledger.budgets.clear(Period.DAY)
    for one in wanted:
        states = run_chain(**{**one, "catalog": ledger, "log": True, "unknown": "retry"})["states"]
        assert states == {"delivered": count}
    assert check_bill(ledger, sandbox, settled=True).delivered.calls == len(sandbox.bill()["entries"])
