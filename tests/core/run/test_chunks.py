"""Chunks in flight: the API has work while some calls are slow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer

from ...bill import check_bill
from ...chain import run_chain

ITEMS, CHUNK, THREADS = 60, 4, 8
SLOW_SECONDS = 6


def test_a_slow_call_in_each_chunk_does_not_keep_the_others_waiting(
    sandbox: SandboxServer, tmp_path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    """Four chunks are in flight where chunks end as they began; here none of the first four ends for long."""
    slow = [f"number {CHUNK * chunk}" for chunk in range(4)]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"number {row};\n" for row in range(ITEMS)))
    sandbox.set_faults(
        [{"fault": "slow_reply", "seconds": SLOW_SECONDS, "match": {"prompt_contains": f"{one};"}} for one in slow]
    )
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    ended = run_chain(
        catalog=ledger,
        base_url=sandbox.base_url,
        store=str(tmp_path / "images"),
        spool=str(tmp_path / "spool"),
        prompts=str(prompts),
        concurrency=THREADS,
        chunk=CHUNK,
    )
    assert ended["states"] == {"delivered": ITEMS}
    check_bill(ledger, sandbox)
    calls = [datetime.fromisoformat(call["at"]) for call in sandbox.calls()]
    before = [at for at in calls if at < min(calls) + timedelta(seconds=SLOW_SECONDS)]
    assert len(before) > ITEMS / 2
