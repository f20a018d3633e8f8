"""What a run tells about itself."""

from __future__ import annotations

import json
import pickle
from typing import Any

from prefect_imagen.core.ledger import ImageState, ItemState, Refused, Unbilled, Unknown
from prefect_imagen.core.run.report import IncompleteRun, make_report


def test_a_complete_run(harness: Any) -> None:
    harness.plan(2)
    for item in harness.plan(2):
        harness.finish(harness.buy(item))
    report = make_report(harness.ledger, "run")
    assert (report.outcome, report.complete, report.rows, report.items, report.delivered) == (
        "Completed",
        True,
        4,
        2,
        2,
    )
    assert (report.images, report.quarantined, report.owned, report.open) == (2, 0, 0, ())
    assert report.summary() == "2 delivered; $0.104 billed in this run"


def test_every_item_that_is_not_delivered_says_why(harness: Any) -> None:
    done, planned, lost, refused, unknown, failed = harness.plan(6)
    harness.finish(harness.buy(done))
    harness.finish(harness.buy(lost), ImageState.QUARANTINED)
    harness.ledger.calls.settle(harness.send(refused), Refused("safety: no"))
    harness.ledger.calls.settle(call := harness.send(unknown), Unknown("timed out"))
    harness.ledger.calls.settle(harness.send(failed), Unbilled("429", ItemState.FAILED))
    report = make_report(harness.ledger, "run", message="see below")
    assert (report.outcome, report.complete, report.quarantined) == ("Incomplete", False, 1)
    assert [(item.item_id, item.state, item.reason, item.reserved) for item in report.open] == [
        (planned, "planned", "", 0),
        (lost, "lost", "because", 0),
        (refused, "refused", "safety: no", 0),
        (unknown, "unknown", "timed out", 106_000),
        (failed, "failed", "429", 0),
    ]
    assert report.open[3].client_request_id == call
    assert report.open[0].source == "prompts.txt:2"
    assert report.summary().endswith("$0.104 billed in this run, $0.053 unknown — see below")
    document = json.loads(json.dumps(report.as_dict()))
    assert document["states"] == {
        **dict.fromkeys((str(state) for state in ItemState), 0),
        **dict.fromkeys(("delivered", "planned", "lost", "refused", "unknown", "failed"), 1),
    }
    assert document["account"]["billed_usd"] == 0.104
    assert document["account"]["billed_at_most_usd"] == 0.157
    assert document["account"]["unknown"] == {"calls": 1, "credits": 106_000}


def test_the_list_of_open_items_is_bounded(harness: Any) -> None:
    harness.plan(130)
    report = make_report(harness.ledger, "run")
    assert (len(report.open), report.states["planned"]) == (100, 130)


def test_an_incomplete_run_travels_between_processes(harness: Any) -> None:
    harness.plan(1)
    error = IncompleteRun(make_report(harness.ledger, "run"))
    copy = pickle.loads(pickle.dumps(error))
    assert copy.report == error.report
    assert str(copy) == "1 planned; $0.00 billed in this run"


def test_a_password_is_in_no_report(harness: Any) -> None:
    harness.ledger.url = (
        harness.ledger.url.set(username="u", password="s3cret") if harness.ledger.url.host else harness.ledger.url
    )
    assert "s3cret" not in json.dumps(make_report(harness.ledger, "run").as_dict())
