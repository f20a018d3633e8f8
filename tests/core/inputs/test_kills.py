"""A chain that is killed in the middle goes on where it was: each step pays once for each picture."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox.process import SandboxServer

from ...bill import check_bill
from ...chain import as_process, run_steps
from ...waiting import until

COUNT = 50
STEPS = [
    {"model": "google/imagen4/preview"},
    {"model": "klingai/image-o1", "template": "{{ prompt }}, without its background"},
    {"model": "topaz-labs/sharpen", "set": {"mode": "Standard"}},
]


@pytest.fixture
def slow() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", latency=0.2) as server:
        yield server


@pytest.mark.long
def test_a_chain_that_is_killed_twice_pays_once(
    slow: SandboxServer, tmp_path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    database = tmp_path / "ledger.db"
    common = {
        "catalog": str(database),
        "base_url": slow.base_url,
        "store": str(tmp_path / "images"),
        "spool": str(tmp_path / "spool"),
        "count": COUNT,
    }
    Ledger(str(database)).close()
    for billed in (COUNT // 2, COUNT + COUNT // 2):
        process = subprocess.Popen(as_process({**common, "steps": STEPS}), stdout=subprocess.DEVNULL)
        until(lambda billed=billed: len(slow.bill()["entries"]) >= billed, f"{billed} billed calls")  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        slow.wait_idle()
    ended = run_steps(STEPS, **common)

    ledger = open_ledger(str(database))
    check_bill(ledger, slow)
    rows = ledger.catalog.rows()
    items = {row["client_request_id"]: row["item_id"] for row in rows}
    entries = [entry["client_request_id"] for entry in slow.bill()["entries"]]
    assert max(Counter(items[one] for one in entries if one in items).values()) == 1
    # What was in flight when it was killed is unknown, or billed and lost: it goes no further, and is not bought again.
    delivered = [one["states"].get("delivered", 0) for one in ended]
    assert delivered[0] >= delivered[1] >= delivered[2] >= COUNT - 2 * 8
    hashes = {row["sha256"] for row in rows if row["state"] == "stored"}
    for row in rows:
        if row["model"] != STEPS[0]["model"]:
            assert {one["sha256"] for one in json.loads(row["inputs"])} <= hashes
    again = run_steps(STEPS, **common)
    assert [one["states"] for one in again] == [one["states"] for one in ended]
    assert len(slow.bill()["entries"]) == len(entries)
