"""What a queue can do to jobs, from the prompt to the stored picture; its bill is the ledger's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer

from ...chain import run_chain

MODEL = "fal:fal-ai/flux/schnell"


@pytest.fixture(scope="module")
def queue() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=20_000) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "states", "billed"),
    [
        ({"fault": "job_question", "first_attempts": 2}, {"delivered": 4}, 4),
        ({"fault": "job_question", "status": None}, {"delivered": 4}, 4),
        ({"fault": "job_question", "status": 404, "first_attempts": 2}, {"delivered": 4}, 4),
        ({"fault": "job_delayed", "seconds": 1}, {"delivered": 4}, 4),
        ({"fault": "truncated_reply_billed"}, {"delivered": 4}, 4),
        ({"fault": "job_failed", "status": 422, "times": 1}, {"delivered": 3, "refused": 1}, 3),
        # Such a job is asked about for minutes.
        pytest.param({"fault": "job_forgotten", "times": 1}, {"delivered": 3, "unknown": 1}, 4, marks=pytest.mark.long),
        ({"fault": "lost_submission", "times": 1}, {"delivered": 3, "unknown": 1}, 4),
    ],
    ids=str,
)
def test_jobs(
    queue: SandboxServer,
    open_ledger: Callable[..., Ledger],
    sqlite: str,
    tmp_path: Path,
    fault: dict[str, Any],
    states: dict[str, int],
    billed: int,
) -> None:
    queue.reset()
    queue.set_faults([fault])
    ledger = open_ledger(sqlite)
    ended = run_chain(
        catalog=ledger,
        base_url=queue.url("queue"),
        store=str(tmp_path / "images"),
        spool=str(tmp_path / "spool"),
        count=4,
        model=MODEL,
    )
    assert ended["states"] == states
    queue.wait_idle()
    bill, account = queue.bill(), ledger.costs.of()
    assert len(bill["entries"]) == billed
    assert account.billed <= bill["credits"] <= account.billed_at_most
    assert account.unknown.calls == states.get("unknown", 0)
