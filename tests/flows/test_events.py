"""The events of a run, as a Prefect server has recorded them."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import pytest
from prefect_imagen.core.ledger import BudgetState, BudgetWarning
from prefect_imagen.core.ledger.budgets import Period
from prefect_imagen.flows import events, pipeline

from ..asking import ask
from ..waiting import until
from .conftest import FlowHarness


def recorded(api: str, run_id: str, *, at_least: int = 1, resource: str = "") -> list[dict[str, Any]]:
    """Events about a run or another resource, once the server has written them down."""
    wanted = {
        "filter": {
            "event": {"prefix": ["prefect-imagen."]},
            "resource": {"id": [resource or f"prefect-imagen.run.{run_id}"]},
        }
    }
    found: list[dict[str, Any]] = []

    def all_there() -> bool:
        found[:] = ask(f"{api}/events/filter", wanted)["events"]
        return len(found) >= at_least

    if at_least == 0:
        time.sleep(2)  # time enough for what must not come
    until(all_there, f"{at_least} events of {resource or run_id}", pause=0.2, details=lambda: found)
    return sorted(found, key=lambda event: event["occurred"])


def test_a_complete_run_sends_one_event_with_its_counts_and_money(harness: FlowHarness, prefect_api: str) -> None:
    report = harness.run(["a fox", "a bear"], tag={"team": "spring"}, edition="may")
    (event,) = recorded(prefect_api, report.run_id)
    assert event["event"] == "prefect-imagen.run.completed"
    payload = events.RunCompleted.model_validate(event["payload"])
    assert (payload.items, payload.delivered, payload.images, payload.states["delivered"]) == (2, 2, 2, 2)
    assert (payload.tags, payload.edition, payload.model) == ({"team": "spring"}, "may", "google/imagen4/preview")
    assert payload.billed_usd == pytest.approx(sum(e["credits"] for e in harness.sandbox.bill()["entries"]) / 2_000_000)
    assert payload.flow_run_url == f"{prefect_api.removesuffix('/api')}/runs/flow-run/{report.run_id}"
    assert f"prefect.flow-run.{report.run_id}" in {resource["prefect.resource.id"] for resource in event["related"]}


def test_an_incomplete_run_says_so_and_that_money_waits_for_a_decision(harness: FlowHarness, prefect_api: str) -> None:
    harness.sandbox.set_faults([{"fault": "server_error", "every": 2}])
    report = harness.run(["a", "b", "c", "d"])
    first, second = recorded(prefect_api, report.run_id, at_least=2)
    assert {first["event"], second["event"]} == {"prefect-imagen.run.incomplete", "prefect-imagen.unknown.waiting"}
    waiting = events.UnknownWaiting.model_validate(
        next(event["payload"] for event in (first, second) if event["event"] == events.UnknownWaiting.event)
    )
    assert waiting.items == report.states["unknown"] == len(waiting.client_request_ids) > 0
    assert waiting.at_most_usd == pytest.approx(report.account.unknown.credits / 2_000_000)


def test_a_model_in_use_that_will_be_withdrawn_is_told_of(harness: FlowHarness, prefect_api: str) -> None:
    label = {"status": "deprecated", "shutdown_at": "2099-01-01", "replaced_by": "google/imagen-4.0-generate-001"}
    harness.sandbox.set_models(**{"flux/dev": label})
    try:
        report = harness.run(["a fox"], model="flux/dev")
    finally:
        harness.sandbox.set_models()
    assert report.complete
    found = recorded(prefect_api, report.run_id, resource="prefect-imagen.model.flux/dev")
    payload = events.ModelRetiring.model_validate(found[-1]["payload"])
    assert (payload.run_id, payload.shutdown_date) == (report.run_id, date(2099, 1, 1))
    assert payload.successor == "google/imagen-4.0-generate-001"


def test_bad_input_sends_nothing_since_no_run_began(harness: FlowHarness, prefect_api: str) -> None:
    state = harness.state(["a fox"], aspect_ratio="7:1")
    assert state.is_failed()
    assert recorded(prefect_api, str(state.state_details.flow_run_id), at_least=0) == []


def test_a_server_that_refuses_events_does_not_change_how_a_run_ends(
    harness: FlowHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("no events today")

    monkeypatch.setattr(events, "emit_event", refuse)
    assert harness.run(["a fox"]).complete


def test_the_events_that_others_send(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda event, *, resource, payload: sent.append((event, resource, payload))
    )
    state = BudgetState(Period.DAY, 2_000_000, spent=1_600_000, reserved=100_000, window="2026-03-01", timezone="UTC")
    pipeline._send_budget_warning("run-1", BudgetWarning(state, "run-1"))
    events.send(events.ModelRetiring(model="flux/schnell", shutdown_date=date(2026, 8, 17), successor="flux/dev"))
    (budget, budget_resource, money), (retiring, model_resource, model) = sent
    assert (budget, retiring) == ("prefect-imagen.budget.warning", "prefect-imagen.model.retiring")
    assert budget_resource["prefect.resource.id"] == "prefect-imagen.budget.day.2026-03-01"
    assert (money["spent_usd"], money["cap_usd"], money["share"]) == (0.8, 1.0, 0.85)
    assert model_resource["prefect.resource.id"] == "prefect-imagen.model.flux/schnell"
    assert (model["shutdown_date"], model["successor"]) == ("2026-08-17", "flux/dev")


def test_a_pause_and_its_end_are_told(harness: FlowHarness, prefect_api: str) -> None:
    harness.sandbox.set_faults([{"fault": "forbidden_page", "times": 14}])
    report = harness.run([f"fox number {n}" for n in range(20)], patience=3.0, concurrency=8)
    assert (report.states["unknown"], report.states["delivered"]) == (14, 6)
    told = {event["event"]: event["payload"] for event in recorded(prefect_api, report.run_id, at_least=4)}
    paused = events.BuyingPaused.model_validate(told[events.BuyingPaused.event])
    assert (paused.of, paused.patience_seconds) == ("calls", 3.0)
    assert "403" in paused.reason
    assert events.BuyingResumed.model_validate(told[events.BuyingResumed.event]).of == "calls"
