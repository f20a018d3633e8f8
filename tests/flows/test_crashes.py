"""Killed processes and stores that go away, without Prefect and in it: nothing paid is lost or bought again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from ..bill import check_bill
from ..inside import command
from ..waiting import until, until_steady
from .conftest import PARTI

COUNT, BOUGHT = 80, 20
"""Prompts of each run, and how many are bought before something happens to it."""
IMAGEN = Path(sys.executable).with_name("prefect-imagen")


@pytest.fixture
def slow_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=20_000, latency=0.2, jitter=0.1) as server:
        yield server


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[LocalS3]:
    """One that may be stopped."""
    with LocalS3(tmp_path / "s3") as server:
        yield server


class Runner:
    """`prefect-imagen run` in a process of its own, as a user starts it.

    Args:
        prefect_api: The configured API; None where none is. What goes on afterwards never has one: it is the quicker
            way, and either has to understand what the other left behind.
    """

    def __init__(self, sandbox: SandboxServer, s3: LocalS3, home: Path, prefect_api: str | None) -> None:
        self.sandbox = sandbox
        s3.create_bucket("crash")
        self.idle_in_the_end = True
        self._started: list[subprocess.Popen[str]] = []
        self._command = [
            str(IMAGEN),
            *("run", str(PARTI), "--limit", str(COUNT), "--yes"),
            *("--to", f"s3://crash/{home.parent.name}", "--endpoint-url", s3.endpoint_url),
            *("--base-url", sandbox.base_url, "--catalog", str(home / "ledger.db"), "--concurrency", "8", "--json"),
        ]
        self._alone = {
            **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_IMAGEN_HOME": str(home),
            "AIMLAPI_API_KEY": "key-of-the-tests",
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._environment = {**self._alone, "PREFECT_API_URL": prefect_api} if prefect_api else self._alone

    def start(self, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self._command, *options],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def kill_left_over(self) -> None:
        """End what a test that failed left running."""
        for process in self._started:
            with process:
                process.kill()

    def finish(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The same command again, in this process."""
        code, out, err = command([*self._command[1:], *options], self._alone, Path.cwd())
        assert code in (0, 1), err
        return code, json.loads(out)

    def billed(self) -> int:
        return len(self.sandbox.bill()["entries"])

    def wait_for_bill(self, count: int, process: subprocess.Popen[str]) -> None:
        def billed() -> bool:
            assert process.poll() is None, process.communicate()
            return self.billed() >= count

        until(billed, f"{count} billed calls", pause=0.02)


IN_PREFECT_TOO = pytest.mark.parametrize(
    "runner", ["alone", pytest.param("in Prefect", marks=pytest.mark.long)], indirect=True
)
"""For what the run itself does, in Prefect or without."""


@pytest.fixture(params=["alone", "in Prefect"])
def runner(request: pytest.FixtureRequest, slow_sandbox: SandboxServer, tmp_path: Path) -> Iterator[Runner]:
    s3: LocalS3 = request.getfixturevalue("own_s3" if "own_s3" in request.fixturenames else "s3_server")
    prefect_api = request.getfixturevalue("prefect_api") if request.param == "in Prefect" else None
    made = Runner(slow_sandbox, s3, tmp_path / "home", prefect_api)
    yield made
    made.kill_left_over()
    ledger = Ledger(str(tmp_path / "home" / "ledger.db"), create=False)
    check_bill(ledger, slow_sandbox, idle=made.idle_in_the_end)
    ledger.close()


def test_kill_9_in_the_middle_then_the_same_command(runner: Runner) -> None:
    process = runner.start()
    runner.wait_for_bill(BOUGHT, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    code, report = runner.finish()
    # What was in flight is unknown; of what the API's log knows to be billed, the answer is known to be lost.
    delivered, unknown = report["states"]["delivered"], report["states"]["unknown"] + report["states"]["lost"]
    runner.sandbox.wait_idle()
    assert delivered + unknown == COUNT
    assert runner.billed() <= COUNT
    assert unknown <= 8
    assert code == (1 if unknown else 0)

    code, report = runner.finish("--unknown", "retry")
    assert (code, report["states"]["delivered"]) == (0, COUNT)
    # What was bought twice is at most what was declared unknown.
    assert runner.billed() <= COUNT + unknown


@IN_PREFECT_TOO
def test_nothing_is_paid_for_while_the_store_is_away(runner: Runner, own_s3: LocalS3) -> None:
    process = runner.start("--patience", "3")
    runner.wait_for_bill(BOUGHT, process)
    own_s3.pause()
    # Calls in flight end, and calls are sent for up to a second after the last sign of life.
    while_away = until_steady(runner.billed, "the bill while the store is away")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert out, err
    report = json.loads(out)
    assert report["outcome"] == "Blocked"
    assert runner.billed() == while_away < COUNT

    own_s3.restart()
    code, report = runner.finish()
    assert (code, report["states"]["delivered"]) == (0, COUNT)
    assert runner.billed() == COUNT


@pytest.mark.long
def test_a_store_that_comes_back_in_time_is_waited_for(runner: Runner, own_s3: LocalS3) -> None:
    process = runner.start("--patience", "60")
    runner.wait_for_bill(BOUGHT, process)
    own_s3.pause()
    until_steady(runner.billed, "the bill while the store is away")
    own_s3.restart()
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert json.loads(out)["states"]["delivered"] == COUNT
    assert runner.billed() == COUNT


def in_flight_for_ever(runner: Runner) -> None:
    """After the first forty, every call takes longer than anybody waits."""
    runner.idle_in_the_end = False
    runner.sandbox.set_faults([{"fault": "slow_reply", "seconds": 300, "after": BOUGHT}])


def wait_for_slow_calls(runner: Runner, process: subprocess.Popen[str]) -> None:
    runner.wait_for_bill(BOUGHT, process)

    def all_slow() -> bool:
        assert process.poll() is None, process.communicate()
        return bool(runner.sandbox.stats()["in_flight"] >= 8)

    until(all_slow, "eight calls in flight", pause=0.02)


@IN_PREFECT_TOO
def test_a_stop_waits_for_answers_only_so_long(runner: Runner) -> None:
    """SIGTERM with calls in flight that take minutes: they are unknown, on the ledger, when the process has ended."""
    in_flight_for_ever(runner)
    process = runner.start("--drain-seconds", "2")
    wait_for_slow_calls(runner, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    states = json.loads(out)["states"]
    assert states["unknown"] == 8
    assert states["sent"] == states["claimed"] == 0
    assert states["delivered"] + states["generated"] + states["planned"] + 8 == COUNT
    assert "unknown" in err


def test_ctrl_c_twice_leaves_at_once(runner: Runner) -> None:
    """Nothing is lost by it: the intents are on the ledger, and the next run calls them unknown."""
    in_flight_for_ever(runner)
    process = runner.start()
    wait_for_slow_calls(runner, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = next((line for line in process.stderr if "Ctrl-C again" in line), "")
    assert said, "the first Ctrl-C was not announced"
    assert process.poll() is None, "it does not wait for the calls in flight"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    runner.sandbox.clear_faults()
    code, report = runner.finish()
    assert code == 1
    assert report["states"]["unknown"] == 8
    assert report["states"]["delivered"] == COUNT - 8


@IN_PREFECT_TOO
def test_sigterm_records_what_is_in_flight(runner: Runner) -> None:
    process = runner.start()
    runner.wait_for_bill(BOUGHT, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    runner.sandbox.wait_idle()
    assert runner.billed() < COUNT
    code, report = runner.finish()
    assert (code, report["states"]["delivered"], report["states"]["unknown"]) == (0, COUNT, 0)
    assert runner.billed() == COUNT
