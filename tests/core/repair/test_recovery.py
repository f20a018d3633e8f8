"""`kill -9` at any moment, where the provider gives job ids or keeps to keys: nothing is lost, nothing bought twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.providers.registry import MODELS_VARIABLE
from prefect_imagen.sandbox import SandboxServer

from ...chain import as_process, run_chain
from ...waiting import until

COUNT = 16
LONG = pytest.mark.long
KEY, FAL = "openai:gpt-image-2", "fal:fal-ai/flux/schnell"
FACES = {KEY: "/openai/v1", FAL: "/queue"}
KEYED = {"version": 1, "providers": [{"name": "openai", "contract": {"recover": "key"}}]}


@pytest.fixture(scope="module")
def slow_shop() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", latency=0.3, jitter=0.2, idempotency="replay") as server:
        yield server


@pytest.fixture
def ledger(
    request: pytest.FixtureRequest,
    slow_shop: SandboxServer,
    open_ledger: Callable[..., Ledger],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ledger:
    slow_shop.reset()
    (tmp_path / "models.json").write_text(json.dumps(KEYED))
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models.json"))
    return open_ledger(request.getfixturevalue(request.param))


def options(shop: SandboxServer, folder: Path, model: str, catalog: Any) -> dict[str, Any]:
    return {
        "catalog": catalog,
        "base_url": shop.origin + FACES[model],
        "store": str(folder / "images"),
        "spool": str(folder / "spool"),
        "count": COUNT,
        "model": model,
        "concurrency": 4,
        "chunk": 8,
    }


def kill_at(shop: SandboxServer, ledger: Ledger, folder: Path, model: str, draw: random.Random) -> None:
    """Start a run in a process, and kill it when so many calls are billed, or a moment later."""
    url = ledger.url.render_as_string(hide_password=False).replace("+psycopg", "")
    wanted, delay = draw.randrange(1, COUNT), draw.uniform(0, 0.4)
    process = subprocess.Popen(
        as_process(options(shop, folder, model, url)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        until(
            lambda: len(shop.bill()["entries"]) >= wanted or process.poll() is not None, f"{wanted} bills", pause=0.01
        )
        time.sleep(delay)
    finally:  # whatever happened, it must not go on buying in the next test
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors


QUICK = {("sqlite", KEY, 1), ("postgres", FAL, 2), ("sqlite", FAL, 3)}
CASES = [
    pytest.param(*case, marks=() if case in QUICK else LONG)
    for case in product(("sqlite", "postgres"), FACES, range(1, 21))
]


@pytest.mark.slow
@pytest.mark.parametrize(("ledger", "model", "seed"), CASES, indirect=["ledger"])
def test_killed_then_run_again(slow_shop: SandboxServer, ledger: Ledger, tmp_path: Path, model: str, seed: int) -> None:
    kill_at(slow_shop, ledger, tmp_path, model, random.Random(seed))
    slow_shop.wait_idle()
    states = run_chain(**options(slow_shop, tmp_path, model, ledger))["states"]
    # What was killed after the job was submitted and before its id came is known to nobody but the provider.
    nameless = [call for call in ledger.calls.unknown() if call["client_request_id"] not in told(ledger)]
    unknown = len(nameless) if model == FAL else 0
    assert states == {"delivered": COUNT - unknown, **({"unknown": unknown} if unknown else {})}
    costs, bill = ledger.costs.of(), slow_shop.bill()
    assert len(bill["entries"]) <= COUNT, "nothing is bought twice"
    assert costs.billed <= bill["credits"] <= costs.billed_at_most
    assert unknown or costs.billed == bill["credits"]
    assert costs.lost.calls == costs.in_flight.calls == 0
    assert len(list((tmp_path / "images").rglob("*.png"))) == COUNT - unknown


def told(ledger: Ledger) -> set[str]:
    """Calls whose answers can be asked for again."""
    return {call.id for call in ledger.calls.recoverable()}
