"""What a run tells about itself."""

from __future__ import annotations

import json
import pickle
from typing import Any

from prefect_imagen.core.ledger import ImageState, ItemState, Refused, Unbilled, Unknown
from prefect_imagen.core.run.report import IncompleteRun, make_report


def test_a_complete_run(shop: Any) -> None:
    shop.plan(2)
    for item in shop.plan(2):
        shop.finish(shop.buy(item))
    report = make_report(shop.ledger, "run")
    assert (report.outcome, report.complete, report.rows, report.items, report.delivered) == (
        "Completed",
        True,
        4,
        2,
        2,
    )
    assert (report.images, report.quarantined, report.owned, report.open) == (2, 0, 0, ())
    assert report.summary() == "2 delivered; $0.104 billed in this run"


def test_every_item_that_is_not_delivered_says_why(shop: Any) -> None:
    done, planned, lost, refused, unknown, failed = shop.plan(6)
    shop.finish(shop.buy(done))
    shop.finish(shop.buy(lost), ImageState.QUARANTINED)
    shop.ledger.calls.settle(shop.send(refused), Refused("safety: no"))
    shop.ledger.calls.settle(call := shop.send(unknown), Unknown("timed out"))
    shop.ledger.calls.settle(shop.send(failed), Unbilled("429", ItemState.FAILED))
    report = make_report(shop.ledger, "run", message="see below")
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


def test_the_list_of_open_items_is_bounded(shop: Any) -> None:
    shop.plan(130)
    report = make_report(shop.ledger, "run")
    assert (len(report.open), report.states["planned"]) == (100, 130)


def test_an_incomplete_run_travels_between_processes(shop: Any) -> None:
    shop.plan(1)
    error = IncompleteRun(make_report(shop.ledger, "run"))
    copy = pickle.loads(pickle.dumps(error))
    assert copy.report == error.report
    assert str(copy) == "1 planned; $0.00 billed in this run"


def test_a_password_is_in_no_report(shop: Any) -> None:
    shop.ledger.url = shop.ledger.url.set(username="u", password="s3cret") if shop.ledger.url.host else shop.ledger.url
    assert "s3cret" not in json.dumps(make_report(shop.ledger, "run").as_dict())
