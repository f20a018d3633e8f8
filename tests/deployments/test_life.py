"""What takes minutes: a schedule that comes due, a worker that is killed, prompts from git."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_imagen.core.ledger import ImageFilter, Verdict, VerdictValue
from prefect_imagen.flows.review import resume_reviewed

from ..asking import ask
from ..waiting import until
from .conftest import NIGHTLY, Office, free_port, open_office, prefect_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]
BEAT = 30  # the shortest that Prefect allows


@pytest.fixture(scope="module")
def own_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """An office at a server of its own, whose provider takes a second for each image."""
    folder = tmp_path_factory.mktemp("life")
    with (
        prefect_server(folder / "server", PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="2") as api,
        open_office(api, folder, f"sqlite:///{folder}/server/prefect.db", latency=1.0) as office,
    ):
        yield office


def _edited(office: Office, tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """A copy of prefect.yaml, changed as a person changes it."""
    text = office.file.read_text(encoding="utf-8")
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, count=1)
        assert count == 1, pattern
    (tmp_path / "prefect.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "prefect.yaml"


def test_a_schedule_that_comes_due(own_office: Office, tmp_path: Path) -> None:
    """The cron of `nightly`, moved to a minute from now, in a zone where it is just after midnight."""
    due = (datetime.now(UTC) + timedelta(minutes=1, seconds=10)).replace(second=0, microsecond=0)
    # Where is it half an hour or more past midnight now, and another day than in UTC?
    zones = [f"Etc/GMT{hours:+d}" for hours in range(-14, 13)]
    zone = next((name for name in zones if due.astimezone(ZoneInfo(name)).date() != due.date()), "Pacific/Kiritimati")
    local = due.astimezone(ZoneInfo(zone))
    file = _edited(
        own_office,
        tmp_path,
        (r'cron: "30 0 \* \* \*"', f'cron: "{local.minute} {local.hour} * * *"'),
        (r" timezone: Europe/Berlin", f" timezone: {zone}"),
        (r"edition_timezone: Europe/Berlin", f"edition_timezone: {zone}"),
    )
    own_office.prompts(NIGHTLY.removeprefix("s3://my-images/"), "prompt\na fox that is due\n")
    own_office.start_worker()
    own_office.deploy(file)
    try:
        run = until(
            lambda: next(iter(own_office.runs("nightly")), None),
            "a run of the schedule",
            seconds=180,
            details=own_office.log,
        )
        run = own_office.wait(run["id"])
    finally:
        own_office.stop()
    assert run["state"]["name"] == "Completed", run["state"]["message"] + own_office.log()
    assert run["auto_scheduled"] is True
    started = datetime.fromisoformat(run["expected_start_time"].replace("Z", "+00:00"))
    assert started == due
    items = own_office.query(f"SELECT prompt, edition FROM catalog WHERE run_id = '{run['id']}'")
    assert items == [("a fox that is due", local.date().isoformat())]


def test_prompts_from_git(own_office: Office, tmp_path: Path) -> None:
    """`pull: *from_git`: a repository of prompts, a relative path in the parameters."""
    repository = tmp_path / "prompts-repository"
    repository.mkdir()
    (repository / "spring.txt").write_text("a fox from git\n")
    commands = "init -q -b main; add .; -c user.name=a -c user.email=a@example.com commit -q -m one"
    for command in commands.split("; "):
        subprocess.run(["git", *command.split()], cwd=repository, check=True)
    file = _edited(
        own_office,
        tmp_path,
        (r"(?s)(- name: on-demand.*?)    parameters:\n", "\\1    pull: *from_git\n    parameters:\n"),
    )
    own_office.start_worker()
    own_office.shell(
        f"prefect --no-prompt deploy --name on-demand --prefect-file {file}",
        IMAGEN_GIT_REPOSITORY=f"file://{repository}",
    )
    try:
        run = own_office.wait(own_office.create_run("on-demand", prompts="spring.txt"))
    finally:
        own_office.stop()
    assert run["state"]["name"] == "Completed", run["state"]["message"] + own_office.log()
    assert own_office.query(f"SELECT prompt FROM catalog WHERE run_id = '{run['id']}'") == [("a fox from git",)]


def _bought(office: Office, least: int) -> int:
    count = len(office.sandbox.bill()["entries"])
    return count if count >= least else 0


def _processes_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    root = psutil.Process(worker.pid)
    return [root, *root.children(recursive=True)]


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """As a machine that loses power: the worker and all its runs at once."""
    for process in _processes_of(worker):
        process.kill()
    worker.wait()


def _start_run_to_kill(office: Office, word: str) -> tuple[str, subprocess.Popen[bytes], int]:
    office.prompts("prompts/many.txt", "".join(f"{word} number {n}\n" for n in range(60)))
    before = len(office.sandbox.bill()["entries"])
    worker = office.start_worker(PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(BEAT))
    run_id = office.create_run("on-demand", prompts="s3://my-images/prompts/many.txt", concurrency=4)
    until(lambda: _bought(office, before + 12), "twelve bought images", details=office.log)
    return run_id, worker, before


def _assert_all_accounted_for(office: Office, run_id: str) -> tuple[int, int]:
    """Delivered and in flight at the end make sixty, and nothing was bought twice.

    Of a call whose answer died with its process the API's log may know that it was billed: then it is lost.
    Else it is unknown.
    """
    counted: dict[str, int] = dict(
        office.query(
            "SELECT i.state, count(*) FROM imagen_items i JOIN imagen_run_items r ON r.item_id = i.id "
            f"WHERE r.run_id = '{run_id}' GROUP BY 1"
        )
    )  # type: ignore[arg-type]
    delivered, unknown = counted.get("delivered", 0), counted.get("unknown", 0) + counted.get("lost", 0)
    assert delivered + unknown == 60, counted
    assert unknown <= 4
    office.assert_nothing_bought_twice()
    return delivered, unknown


def test_a_killed_worker_and_its_run_are_started_again(own_office: Office) -> None:
    """Power cut in the middle: the watchdog marks the run, `--restart` schedules it, a new worker finishes it."""
    office = own_office
    office.deploy(office.file)
    office.shell(
        "python -m prefect_imagen.deployments.automations --restart", PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(BEAT)
    )
    run_id, worker, before = _start_run_to_kill(office, "a fox in a storm")
    _kill(worker)
    assert len(office.sandbox.bill()["entries"]) < before + 60
    assert office.run(run_id)["state"]["type"] == "RUNNING"
    office.start_worker(PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(BEAT))
    try:
        until(lambda: office.run(run_id)["run_count"] >= 2, "a second start", seconds=240, details=office.log)
        run = office.wait(run_id)
        history = [state["name"] for state in office.get(f"/flow_run_states/?flow_run_id={run_id}")]
        assert "Crashed" in history, history
        assert run["state"]["name"] in ("Completed", "Incomplete"), run["state"]["message"] + office.log()
        delivered, unknown = _assert_all_accounted_for(office, run_id)
        assert (unknown == 0) == (run["state"]["name"] == "Completed")
        assert delivered >= 56
    finally:
        office.stop()


def test_a_worker_that_is_told_to_stop(own_office: Office) -> None:
    """SIGTERM, as from systemd, Docker or a node that is drained: what is in flight is accounted for, the rest is left.

    Prefect's worker gives its runs no time to record what is in flight (docs/stopping.md): those calls may be unknown.
    """
    office = own_office
    run_id, worker, before = _start_run_to_kill(office, "a fox at dusk")
    os.kill(worker.pid, signal.SIGTERM)
    until(lambda: not _alive(run_id), "the end of the run's process", seconds=40, details=office.log)
    try:
        worker.wait(60)
    except subprocess.TimeoutExpired:  # Prefect's worker hangs now and then; a service manager has a last resort, too
        worker.kill()
    until(lambda: office.sandbox.stats()["in_flight"] == 0, "the last answers", details=office.log)
    assert len(office.sandbox.bill()["entries"]) < before + 60
    # Prefect's worker ends its runs with it and leaves them "Running": the watchdog of the test before finds it.
    office.start_worker(PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(BEAT))
    try:
        until(lambda: office.run(run_id)["run_count"] >= 2, "a second start", seconds=240, details=office.log)
        office.wait(run_id)
        delivered, _ = _assert_all_accounted_for(office, run_id)
        assert delivered >= 56
    finally:
        office.stop()


def test_a_chain_outlives_its_worker_and_the_server(tmp_path: Path) -> None:
    """Killed while it buys; killed again while it waits, the server restarted: each image is bought once."""
    port = free_port()
    with contextlib.ExitStack() as server:
        api = server.enter_context(prefect_server(tmp_path / "server", port))
        with open_office(api, tmp_path, "", latency=1.0) as office:
            office.prompts("prompts/many.txt", "".join(f"a fox on trial number {n}\n" for n in range(60)))
            worker = office.start_worker()
            request = {"budget_usd": 5, "limits": {"concurrency": 4}, "policy": {"on_incomplete": "warn"}}
            run_id = office.create_run("review-chain", prompts="s3://my-images/prompts/many.txt", request=request)
            until(lambda: _bought(office, 12), "twelve bought images", details=office.log)
            _kill(worker)
            assert len(office.sandbox.bill()["entries"]) < 60
            # What the watchdog does, and `--restart`.
            for state in ({"type": "CRASHED"}, {"type": "SCHEDULED", "name": "AwaitingRetry"}):
                ask(f"{api}/flow_runs/{run_id}/set_state", {"state": state, "force": True})
            worker = office.start_worker()
            ledger = office.when_suspended(run_id)
            bought = len(office.sandbox.bill()["entries"])
            assert bought <= 60
            _kill(worker)
            server.close()
            assert server.enter_context(prefect_server(tmp_path / "server", port)) == api
            office.start_worker()
            found = [
                row["image_id"] for row in ledger.review.all(ImageFilter(tags={"review-chain": run_id}), columns=())
            ]
            assert len(found) >= 56
            verdicts = [VerdictValue.REJECTED] * 3 + [VerdictValue.APPROVED] * (len(found) - 3)
            ledger.verdicts.record([Verdict(*one) for one in zip(found, ["ann"] * len(found), verdicts, strict=True)])
            with temporary_settings({PREFECT_API_URL: api}):
                resume_reviewed(ledger)  # if the deployment `review-resume` was not quicker
            office.when_suspended(run_id, bought=bought + 3)
            ask(f"{api}/flow_runs/{run_id}/resume", {"run_input": {"unreviewed": "approve", "reviewer": "ben"}})
            run = office.wait(run_id)
            assert run["state"]["name"] == "Completed", run["state"]["message"] + office.log()
            assert len(office.sandbox.bill()["entries"]) == bought + 3
            office.assert_nothing_bought_twice()
            listed = office.s3.client().list_objects_v2(Bucket="my-images", Prefix="out-approved/")["Contents"]
            assert sum(item["Key"].endswith(".png") for item in listed) == len(found)


def _alive(run_id: str) -> list[Any]:
    """Processes that execute a flow run."""
    found = []
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if environment.get("PREFECT__FLOW_RUN_ID") == run_id and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
