"""`kill -9` at any moment of the chain: nothing paid is lost, nothing is bought twice, what is unknown is listed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.providers import open_client
from prefect_imagen.sandbox import SandboxServer

from ...chain import as_process
from ...waiting import until
from .conftest import Workshop

COUNT = 18
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def slow_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=20_000, latency=0.08, jitter=0.05) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def killed(
    request: pytest.FixtureRequest, slow_sandbox: SandboxServer, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> Iterator[Workshop]:
    slow_sandbox.clear_faults()
    slow_sandbox.reset()
    ledger = open_ledger(request.getfixturevalue(request.param))
    client = open_client("key-of-the-tests", base_url=slow_sandbox.base_url, read_timeout=20)
    yield Workshop(slow_sandbox, ledger, tmp_path, client)
    client.close()


def kill_at(workshop: Workshop, draw: random.Random) -> int:
    """Start the chain and kill it when so many calls are billed, or a moment later; how many were."""
    url = workshop.ledger.url.render_as_string(hide_password=False).replace("+psycopg", "")
    options = workshop.options(COUNT, catalog=url, chunk=6, concurrency=4, log=False)
    wanted, delay = draw.randrange(COUNT + 1), draw.uniform(0, 0.4)
    process = subprocess.Popen(as_process(options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until(lambda: workshop.billed() >= wanted or process.poll() is not None, f"{wanted} billed calls", pause=0.01)
    if wanted == 0:
        delay += draw.uniform(0, 3)  # anywhere in its start, too
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return wanted


def bought_twice(workshop: Workshop) -> int:
    """Items with more than one entry on the provider's bill."""
    items = {call.id: call.item_id for call in workshop.calls()}
    counts = Counter(items[entry["client_request_id"]] for entry in workshop.sandbox.bill()["entries"])
    return sum(count > 1 for count in counts.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=LONG) for seed in (1, *range(3, 21)))])
def test_killed_then_run_again(killed: Workshop, seed: int) -> None:
    kill_at(killed, random.Random(seed))
    killed.sandbox.wait_idle()
    states = killed.run(COUNT, log=False)
    assert set(states) <= {"delivered", "unknown"}, "lost, or left behind"
    assert sum(states.values()) == COUNT
    assert bought_twice(killed) == 0
    account = killed.check()
    unknown = states.get("unknown", 0)
    assert account.unknown.calls == unknown <= 4, "no more than were in flight"
    assert account.lost.calls == account.in_flight.calls == 0
    assert len(killed.files()) == COUNT - unknown

    report = killed.repair(unknown="retry")
    assert report.complete, report
    assert report.bought == unknown
    assert killed.states() == {"delivered": COUNT}
    # A call whose intent was committed and that was killed before it was sent is in nobody's log: it stays unknown.
    account = killed.check()
    assert account.delivered.calls == killed.billed() <= COUNT + unknown
    assert account.unknown.calls <= report.log.silent
    assert len(killed.files()) == COUNT


@LONG
@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again(killed: Workshop, seed: int) -> None:
    draw = random.Random(100 + seed)
    for _ in range(4):
        kill_at(killed, draw)
    killed.sandbox.wait_idle()
    states = killed.run(COUNT, log=False)
    assert set(states) <= {"delivered", "unknown"}
    assert bought_twice(killed) == 0
    killed.check()
    assert killed.repair(unknown="retry").complete
    assert killed.states() == {"delivered": COUNT}
    killed.check()
