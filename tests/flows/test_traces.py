"""What a run leaves in Prefect, read back from a real server: artifacts, assets, tags, links."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import httpx
import prefect.runtime
import pytest
from prefect import flow
from prefect_imagen.blocks import LocalImageStore
from prefect_imagen.core.ledger import ItemState, Ledger, RunProgress
from prefect_imagen.flows import imagen_pipeline, progress, publish

from ..asking import ask
from ..waiting import until
from .conftest import FlowHarness


def artifacts(api: str, run_id: str) -> dict[str, dict[str, Any]]:
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
    found = ask(f"{api}/artifacts/filter", wanted)
    named = {artifact["key"] or _subject(artifact["description"], run_id): artifact for artifact in found}
    assert len(named) == len(found), "one artifact of a kind and run"
    return named


def _subject(description: str, run_id: str) -> str:
    """What an artifact without a key is; each names the run."""
    assert description.startswith("prefect-imagen: ")
    assert description.endswith(f" of run {run_id}")
    return description.removeprefix("prefect-imagen: ").removesuffix(f" of run {run_id}")


def materialized(api: str, key: str, *, at_least: int = 1) -> list[dict[str, Any]]:
    wanted = {"filter": {"event": {"prefix": ["prefect.asset."]}, "resource": {"id": [key]}}}
    found: list[dict[str, Any]] = []

    def all_there() -> bool:
        found[:] = ask(f"{api}/events/filter", wanted)["events"]
        return len(found) >= at_least

    until(all_there, f"{at_least} materializations of {key}", pause=0.2, details=lambda: found)
    return found


def flow_run(api: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(f"{api}/flow_runs/{run_id}")
    return found


def test_a_run_leaves_its_artifacts_its_tags_and_links_both_ways(harness: FlowHarness, prefect_api: str) -> None:
    report = harness.run(["a fox", "a bear"], tag={"team": "spring", "client": "acme"}, budget_usd=1)
    left = artifacts(prefect_api, report.run_id)
    assert left.keys() == {"summary and costs", "every image", "2 of 2 images", "imagen-progress"}
    bar = left["imagen-progress"]
    assert (bar["type"], float(bar["data"])) == ("progress", 100.0)
    assert bar["description"] == "2 of 2 images; 2 delivered; $0.104 billed of $1.00"
    assert left["2 of 2 images"]["data"].startswith("![2 of 2 images](data:image/jpeg;base64,")
    url = f"{prefect_api.removesuffix('/api')}/runs/flow-run/{report.run_id}"
    text = left["summary and costs"]["data"]
    assert f"[This run in Prefect]({url})" in text
    query = next(line for line in text.splitlines() if line.startswith("SELECT * FROM catalog"))
    assert len(harness.query(query)) == 2
    assert harness.query("SELECT DISTINCT flow_run_url, flow_run_id FROM catalog") == [(url, report.run_id)]
    shown = flow_run(prefect_api, report.run_id)
    assert set(shown["tags"]) == {"team=spring", "client=acme"}
    assert shown["labels"][progress.MONEY_LABEL] == "$0.104 billed"


def test_a_busy_prefect_server_does_not_hold_up_the_end_of_a_run(
    harness: FlowHarness, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sleep = httpx.Client.send, time.sleep
    refused: list[str] = []
    pauses: list[float] = []

    def is_flow() -> bool:
        return threading.current_thread() is threading.main_thread()

    def busy(client: httpx.Client, request: httpx.Request, **settings: Any) -> httpx.Response:
        """A server on SQLite, of whose writers another has the lock: it cannot be had at will."""
        if not request.url.path.endswith("/labels") or not is_flow() or len(refused) == 2:
            return send(client, request, **settings)
        refused.append(request.url.path)
        return httpx.Response(503, request=request)

    def pause(seconds: float) -> None:
        if refused and is_flow():
            pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(httpx.Client, "send", busy)
    monkeypatch.setattr(time, "sleep", pause)
    report = harness.run(["a fox"])
    assert len(refused) == 2
    assert pauses[:2] == list(progress._BUSY_PAUSES[:2]), "Prefect's client waits two seconds"
    assert flow_run(prefect_api, report.run_id)["labels"][progress.MONEY_LABEL] == "$0.052 billed"


class Scripted:
    """A ledger as far as progress goes: ten items, of which as many are delivered as the test says."""

    delivered = 0
    looks = 0

    @property
    def runs(self) -> Scripted:
        return self

    def progress(self, _run_id: str) -> RunProgress:
        self.looks += 1
        items = {**dict.fromkeys(ItemState, 0), ItemState.DELIVERED: self.delivered}
        items[ItemState.PLANNED] = 10 - self.delivered
        return RunProgress(10, items, 0, self.delivered, self.delivered * 104_000, 0, 2_000_000)


def test_the_progress_follows_a_run_and_is_written_now_and_then_only(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[float, str]] = []
    update = progress.update_progress_artifact

    def spy(artifact_id: Any, percent: float, description: str) -> Any:
        written.append((percent, description))
        return update(artifact_id, percent, description=description)

    monkeypatch.setattr(progress, "update_progress_artifact", spy)
    monkeypatch.setattr(progress, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(progress, "_SECONDS", 0.1)
    ledger = Scripted()

    @flow
    def follow() -> str:
        with progress.ProgressArtifact(cast("Ledger", ledger), "run", images_per_item=1):
            for delivered in (3, 7):
                ledger.delivered = delivered
                until(lambda: delivered * 10 in [percent for percent, _ in written], f"{delivered}0 % to be written")  # noqa: B023
                looks = ledger.looks
                until(lambda: ledger.looks >= looks + 15, "15 looks with nothing new to write")  # noqa: B023
            ledger.delivered = 10
        return str(prefect.runtime.flow_run.id)

    run_id = follow()
    assert [percent for percent, _ in written] == [30, 70, 100]
    assert written[0][1].startswith("3 of 10 images; 3 delivered; $0.156 billed of $1.00; ")
    assert written[0][1].endswith("/s") or written[0][1].endswith("left")
    assert written[-1][1] == "10 of 10 images; 10 delivered; $0.52 billed of $1.00"
    bar = artifacts(prefect_api, run_id)["imagen-progress"]
    assert (float(bar["data"]), bar["description"]) == (100, written[-1][1])
    assert flow_run(prefect_api, run_id)["labels"][progress.MONEY_LABEL] == "$0.364 billed of $1.00"


def test_what_was_made_is_an_asset_of_its_destination_and_edition(harness: FlowHarness, prefect_api: str) -> None:
    report = harness.run(["a fox", "a bear"], edition="may", tag={"team": "spring"})
    (event,) = materialized(prefect_api, f"s3://{harness.bucket}/out/edition=may")
    assert event["event"] == "prefect.asset.materialization.succeeded"
    assert event["payload"] | {"catalog": ""} == {
        "run_id": report.run_id,
        "outcome": "Completed",
        "model": "google/imagen4/preview",
        "edition": "may",
        "tags": {"team": "spring"},
        "new_images": 2,
        "images": 2,
        "items": 2,
        "delivered": 2,
        "billed_usd": 0.104,
        "catalog": "",
    }
    assert "prefect-imagen" in {resource["prefect.resource.id"] for resource in event["related"]}
    # What was owned before is not made again.
    again = harness.run(["a fox", "a bear"], edition="may")
    assert again.owned == 2
    # The run's own event is sent after those of its assets.
    ended = {"filter": {"resource": {"id": [f"prefect-imagen.run.{again.run_id}"]}}}
    until(lambda: ask(f"{prefect_api}/events/filter", ended)["events"], "the event of the second run's end")
    assert len(materialized(prefect_api, f"s3://{harness.bucket}/out/edition=may")) == 1


def test_an_asset_that_prefect_does_not_accept_is_a_warning(harness: FlowHarness, tmp_path: Any) -> None:
    folder = tmp_path / ("long" * 50) / ("long" * 50) / ("long" * 50)
    state = imagen_pipeline(
        ["a fox"], LocalImageStore(folder=str(folder)), harness.credentials, harness.catalog, return_state=True
    )
    assert state.is_completed()


def test_a_prefect_server_that_refuses_everything_at_the_end_does_not_undo_a_run(
    harness: FlowHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_more: Any) -> None:
        raise httpx.HTTPError("503 on a Friday evening")

    for name in ("leave_report", "leave_contact_sheet", "record_assets", "emit_run_ended", "get_client"):
        monkeypatch.setattr(publish, name, refuse)
    monkeypatch.setattr(progress, "create_progress_artifact", refuse)
    report = harness.run(["a fox"], tag={"team": "spring"})
    assert report.complete
    assert harness.query("SELECT outcome FROM imagen_runs") == [("Completed",)]


def test_a_run_puts_its_tags_onto_its_images_if_its_store_is_told_to(harness: FlowHarness) -> None:
    store = harness.store.model_copy(update={"run_tags": True, "object_tags": {"cost": "42"}, "sse": "AES256"})
    state = imagen_pipeline(
        ["a fox"], store, harness.credentials, harness.catalog, tags={"team": "spring"}, return_state=True
    )
    assert state.is_completed()
    [key] = harness.objects()
    client = harness.s3.client()
    found = client.get_object_tagging(Bucket=harness.bucket, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in found} == {"cost": "42", "team": "spring"}
    assert client.head_object(Bucket=harness.bucket, Key=key)["ServerSideEncryption"] == "AES256"
