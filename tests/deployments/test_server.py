"""The deployments of prefect.yaml on a real server and worker, started in every way, at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_imagen.core.ledger import ImageFilter, Verdict, VerdictValue
from prefect_imagen.deployments.trigger import handler as trigger
from prefect_imagen.flows.review import WAITING, resume_reviewed

from ..asking import ask
from ..inside import prefect
from ..waiting import until
from .conftest import BUCKET, KEY, NIGHTLY, ROOT, Office

S3_EVENT = json.loads((ROOT / "tests" / "data" / "s3-object-created.json").read_text(encoding="utf-8"))
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class Day:
    """What was started at the office: ids of runs, and what was said."""

    command: str
    lambda_answers: list[Any]
    nightly: list[str]


@pytest.fixture(scope="module")
def day(office: Office) -> Day:
    """Start everything first, then let the tests look: the runs overlap, as they do in life."""
    office.prompts(NIGHTLY.removeprefix(f"s3://{BUCKET}/"), "prompt\na nightly fox\na nightly owl\n")
    office.prompts("prompts/by-hand.txt", "a fox by hand\n")
    uploaded = office.prompts("prompts/up loaded+1.csv", "prompt\nan uploaded fox\nan uploaded owl\n")

    # Two nights of the schedule, as it made them, both due now.
    nightly = [run["id"] for run in _nights(office)[:2]]
    for run_id in nightly:
        ask(f"{office.api}/flow_runs/{run_id}/set_state", {"state": {"type": "SCHEDULED"}, "force": True})
    # An event, twice; and one that asks for what it must not.
    wish = {"prompts": ['a "quoted" fox, {red|blue}'], "aspect_ratio": "16:9", "edition": "e7", "budget_usd": 1000}
    office.request(wish, times=2)
    # S3 to Lambda, twice.
    event = json.loads(json.dumps(S3_EVENT))
    event["Records"][0]["s3"]["bucket"]["name"] = BUCKET
    event["Records"][0]["s3"]["object"] |= {"key": "prompts/up+loaded%2B1.csv", "versionId": uploaded["VersionId"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", office.api)
        answers = [trigger.handler(event), trigger.handler(event)]
    # By command, beside all of them: `--watch` reports how it ended.
    given = f"--param prompts=s3://{BUCKET}/prompts/by-hand.txt --param budget_usd=1"
    said = office.command(f"deployment run imagen_pipeline/on-demand --watch {given}", prefect, {})
    return Day(said, answers, nightly)


def _nights(office: Office) -> list[Any]:
    """The runs that the server made of the schedule, the next one first."""
    filters = {"deployments": {"name": {"any_": ["nightly"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[Any] = until(
        lambda: [
            run
            for run in ask(f"{office.api}/flow_runs/filter", filters)
            if run["auto_scheduled"] and run["deployment_id"] == office.deployment("nightly")["id"]
        ][:2],
        "runs of the schedule",
        details=office.log,
    )
    return found


def _items(office: Office, run_id: str) -> list[tuple[Any, ...]]:
    return office.query(
        "SELECT i.prompt, i.edition, i.state FROM imagen_items i JOIN imagen_run_items r ON r.item_id = i.id "
        f"WHERE r.run_id = '{run_id}' ORDER BY r.position"
    )


def test_a_run_by_command(day: Day, office: Office) -> None:
    assert "finished successfully in 'Completed'" in day.command
    (run,) = [run for run in office.runs("on-demand") if "by-hand" in str(run["parameters"])]
    assert run["parameters"]["budget_usd"] == 1
    assert _items(office, run["id"]) == [("a fox by hand", "", "delivered")]


def test_each_night_fills_its_own_day(day: Day, office: Office) -> None:
    """Scheduled for 00:30 in Berlin, which is the day before in UTC."""
    for run_id in day.nightly:
        run = office.wait(run_id)
        assert run["state"]["name"] == "Completed", run["state"]["message"] + office.log()
        due = datetime.fromisoformat(run["expected_start_time"].replace("Z", "+00:00"))
        local = due.astimezone(BERLIN)
        assert (local.hour, local.minute) == (0, 30)
        assert due.date() != local.date()
        edition = local.date().isoformat()
        assert run["name"] == f"nightly.csv · imagen4/preview · {edition}"
        assert _items(office, run_id) == [
            ("a nightly fox", edition, "delivered"), ("a nightly owl", edition, "delivered")
        ]  # fmt: skip


def test_a_night_waits_for_the_one_before(day: Day, office: Office) -> None:
    """ENQUEUE with a limit of 1: the second run waited for its slot, and none was lost."""
    first, second = sorted((office.wait(run_id) for run_id in day.nightly), key=lambda run: str(run["start_time"]))
    assert second["start_time"] >= first["end_time"]
    history = office.get(f"/flow_run_states/?flow_run_id={second['id']}")
    assert "AwaitingConcurrencySlot" in [state["name"] for state in history]


def test_an_event_becomes_a_run_of_typed_parameters(day: Day, office: Office) -> None:
    (run,) = office.runs("on-event")
    assert run["created_by"]["type"] == "AUTOMATION"
    given = {name: run["parameters"][name] for name in ("prompts", "aspect_ratio", "edition", "tags", "budget_usd")}
    assert given == {
        "prompts": ['a "quoted" fox, {red|blue}'], "aspect_ratio": "16:9", "edition": "e7", "tags": None,
        "budget_usd": 5,
    }  # fmt: skip
    assert office.wait(run["id"])["state"]["name"] == "Completed", office.log()
    assert _items(office, run["id"]) == [
        ('a "quoted" fox, red', "e7", "delivered"), ('a "quoted" fox, blue', "e7", "delivered")
    ]  # fmt: skip


def test_the_same_event_twice_is_one_run(day: Day, office: Office) -> None:
    assert len(office.runs("on-event")) == 1


def test_an_event_cannot_name_a_file_of_the_worker(day: Day, office: Office) -> None:
    asked = ("/etc/passwd.txt", "file:///etc/passwd.txt", f"s3://{BUCKET}/prompts/by-hand.txt")
    before = {run["id"] for run in office.runs("on-event")}
    for prompts in asked:
        office.request({"prompts": prompts})
    found = [run for run in office.runs("on-event") if run["id"] not in before]
    for run in found:
        office.cancel(run["id"])
    given = sorted(run["parameters"]["prompts"] for run in found)
    assert given == ["s3:///etc/passwd.txt"] * 2 + [f"s3://{BUCKET}/prompts/by-hand.txt"]


def test_an_s3_event_twice_is_one_run(day: Day, office: Office) -> None:
    first, second = (answer["runs"][0] for answer in day.lambda_answers)
    assert (first["created"], second["created"]) == (True, False)
    assert first["flow_run_id"] == second["flow_run_id"]
    run = office.wait(first["flow_run_id"])
    assert run["state"]["name"] == "Completed", run["state"]["message"] + office.log()
    assert run["parameters"]["prompts"] == f"s3://{BUCKET}/prompts/up loaded+1.csv"
    assert [row[0] for row in _items(office, run["id"])] == ["an uploaded fox", "an uploaded owl"]


def test_the_bill_is_what_the_runs_bought(day: Day, office: Office) -> None:
    for name in ("on-demand", "nightly", "on-event"):
        for run in office.runs(name):
            office.wait(run["id"])
    office.assert_nothing_bought_twice()
    # One by hand (the event's run owns it already), two a night for two nights, two by event, two by S3.
    assert len(office.sandbox.bill()["entries"]) == 9
    assert KEY not in office.log()


def test_a_second_repair_is_cancelled_while_one_is_active(day: Day, office: Office) -> None:
    """CANCEL_NEW with a limit of 1; then the place is free again, and a repair runs."""
    first = office.create_run("repair")
    for state in ("PENDING", "RUNNING"):
        ask(f"{office.api}/flow_runs/{first}/set_state", {"state": {"type": state}})
    if office.run(first)["state"]["type"] != "RUNNING":  # the worker was quicker
        office.wait(first)
        pytest.skip("the first repair was over before it could be held")
    second = office.wait(office.create_run("repair"))
    assert (second["state"]["type"], second["state"]["message"]) == (
        "CANCELLED",
        "Deployment concurrency limit reached.",
    )
    ask(f"{office.api}/flow_runs/{first}/set_state", {"state": {"type": "COMPLETED"}})
    bill = len(office.sandbox.bill()["entries"])
    third = office.wait(office.create_run("repair"))
    assert third["state"]["name"] == "Completed", third["state"]["message"] + office.log()
    assert len(office.sandbox.bill()["entries"]) == bill


def test_a_chain_waits_for_people_and_goes_on(office: Office) -> None:
    """Suspended twice, its worker killed meanwhile: each image is bought once, and what is approved is delivered."""
    before = len(office.sandbox.bill()["entries"])
    run_id = office.create_run("review-chain", prompts=["a fox to be judged", "an owl to be judged"])
    ledger = office.when_suspended(run_id)
    office.restart_worker()
    own = {"tags": {"review-chain": run_id}}
    (fox,), (owl,) = (ledger.review.all(ImageFilter(text=word, **own), columns=()) for word in ("fox", "owl"))
    ledger.verdicts.record([Verdict(fox["image_id"], "ann", VerdictValue.APPROVED)])
    with temporary_settings({PREFECT_API_URL: office.api}):
        assert resume_reviewed(ledger) == 0
        ledger.verdicts.record([Verdict(owl["image_id"], "ann", VerdictValue.REJECTED)])
        until(lambda: resume_reviewed(ledger), "the flow run to be let go on")
    office.when_suspended(run_id, bought=before + 3)
    # Now by the form of Prefect's UI, which refuses what it does not offer.
    refused = ask(f"{office.api}/flow_runs/{run_id}/resume", {"run_input": {"unreviewed": "burn"}})
    assert refused["status"] == "REJECT"
    ask(f"{office.api}/flow_runs/{run_id}/resume", {"run_input": {"unreviewed": "approve", "reviewer": "ben"}})
    run = office.wait(run_id)
    assert run["state"]["name"] == "Completed", run["state"]["message"] + office.log()
    assert f"2 images at s3://{BUCKET}/out-approved: 2 copied" in run["state"]["message"]
    assert len(office.sandbox.bill()["entries"]) == before + 3
    assert {WAITING, f"review-chain={run_id}"} < set(run["tags"])
    office.assert_nothing_bought_twice()
    columns = ("prompt", "revision", "verdict", "reviewer")
    found = ledger.review.all(ImageFilter(**own), columns=columns)
    assert sorted(tuple(row[name] for name in columns) for row in found) == [
        ("a fox to be judged", 1, "approved", "ann"),
        ("an owl to be judged", 1, "rejected", "ann"),
        ("an owl to be judged", 2, "approved", "ben"),
    ]
    listed = office.s3.client().list_objects_v2(Bucket=BUCKET, Prefix="out-approved/").get("Contents", [])
    assert sum(item["Key"].endswith(".png") for item in listed) == 2, listed
    told = [("requested", 2), ("completed", 2), ("requested", 3), ("completed", 3)]
    until(lambda: _reviews(office, run_id) == told, f"the events {told}", details=lambda: _reviews(office, run_id))
    pages = ask(f"{office.api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
    assert sum(f"prefect-imagen review --tag=review-chain={run_id}" in str(page["data"]) for page in pages) == 2


def _reviews(office: Office, run_id: str) -> list[tuple[str, int]]:
    """What the events of a flow run's reviews say, the oldest first. They reach the server a moment later."""
    wanted = {"resource": {"id": [f"prefect-imagen.review.{run_id}"]}}
    events = ask(f"{office.api}/events/filter", {"filter": wanted})["events"]
    return [
        (event["event"].rpartition(".")[2], event["payload"]["images"])
        for event in sorted(events, key=lambda event: str(event["occurred"]))
    ]


def test_no_secret_in_the_servers_database(day: Day, office: Office) -> None:
    """Key, S3 secret: nowhere but in block documents, and there encrypted by Prefect."""
    secrets = (KEY, office.s3.secret_key)
    rows = list(office.server_rows())
    tables = {table for table, _ in rows}
    assert {
        "flow_run",
        "flow_run_state",
        "task_run",
        "log",
        "events",
        "artifact",
        "deployment",
        "block_document",
    } <= tables
    # The rows are the real ones: what is no secret is found.
    assert any(table == "flow_run" and "a nightly" not in text and "nightly.csv" in text for table, text in rows)
    assert [table for table, text in rows if any(secret in text for secret in secrets)] == []
