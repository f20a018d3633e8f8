"""A PostgreSQL that stops answering and keeps its connections: a run ends or goes on, and nothing is bought twice."""

from __future__ import annotations

import signal
import subprocess

import pytest
from prefect_imagen.core.ledger import Ledger

from ..bill import check_bill
from ..postgres import PostgresServer
from ..waiting import until
from .conftest import Terminal

COUNT = 60
# What is to be waited for, the time to connect in vain, and a machine with other work.
LONGEST = 120


def begin(terminal: Terminal, url: str) -> subprocess.Popen[str]:
    """Start a run, and freeze nothing before it buys."""
    terminal.write("prompts.txt", "".join(f"fox {n}\n" for n in range(COUNT)))
    run = terminal.start(*command(), PREFECT_IMAGEN_CATALOG=url)
    until(lambda: len(terminal.sandbox.bill()["entries"]) >= 8, "calls were billed")
    return run


def command() -> tuple[str, ...]:
    limits = ("--concurrency", "4", "--patience", "12", "--drain-seconds", "5")
    return ("run", "prompts.txt", "--to", "images", *limits, "--yes", "--json")


@pytest.mark.parametrize("stop", [False, True], ids=["patience", "SIGTERM"])
def test_a_run_ends_while_the_database_is_frozen(alone: Terminal, own_postgres: PostgresServer, stop: bool) -> None:
    url = own_postgres.url()
    alone.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.3}])
    run = begin(alone, url)
    own_postgres.freeze()
    if stop:
        run.send_signal(signal.SIGTERM)
    try:
        _, err = run.communicate(timeout=LONGEST)
    finally:
        own_postgres.thaw()
    assert run.returncode != 0
    assert "Traceback" not in err
    bought = len(alone.sandbox.bill()["entries"])
    assert bought < COUNT
    again = alone.run(*command(), PREFECT_IMAGEN_CATALOG=url)
    ledger = Ledger(url, create=False)
    try:
        account = check_bill(ledger, alone.sandbox)
    finally:
        ledger.close()
    assert account.delivered.calls + account.unknown.calls == COUNT, again.err
    assert len(alone.sandbox.bill()["entries"]) <= COUNT


def test_a_run_goes_on_once_the_database_does(alone: Terminal, own_postgres: PostgresServer) -> None:
    alone.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.3}])
    run = begin(alone, own_postgres.url())
    own_postgres.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        run.communicate(timeout=4)
    own_postgres.thaw()
    out, err = run.communicate(timeout=LONGEST)
    assert run.returncode == 0, err
    assert '"delivered": 60' in out
    assert len(alone.sandbox.bill()["entries"]) == COUNT
