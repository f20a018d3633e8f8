"""Images, the catalog's rows, progress, and the sum of the money."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from prefect_imagen.core.ledger import (
    Answered,
    ImageResult,
    ImageState,
    Item,
    ItemState,
    Ledger,
    NewImage,
    Refused,
    RunItem,
    Unbilled,
    Unknown,
)
from prefect_imagen.core.ledger.costs import CostLine
from prefect_imagen.core.ledger.schema import calls
from prefect_imagen.core.request import UnknownPolicy

OpenLedger = Callable[..., Ledger]
PRICE, RESERVE = 104_000, 106_000
S, Q, L, P = ImageState.STORED, ImageState.QUARANTINED, ImageState.LOST, ImageState.PENDING


def test_an_item_follows_from_its_images(harness: Any) -> None:
    expected: list[tuple[list[ImageState], str]] = [
        ([S], "delivered"),
        ([S, S, S], "delivered"),
        ([S, Q, L], "delivered"),
        ([S, P], "generated"),
        ([P, P], "generated"),
        ([Q, P], "generated"),
        ([L], "lost"),
        ([Q, Q], "lost"),
        ([Q, L], "lost"),
    ]
    for item, (states, item_state) in zip(harness.plan(len(expected)), expected, strict=True):
        call_id = harness.buy(item, len(states))
        for index, state in enumerate(states):
            harness.finish(call_id, state, index=index)
        assert harness.state(item) == item_state, states
        assert [harness.image(call_id, index).state for index in range(len(states))] == states


def test_a_try_in_vain_is_counted(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.buy(item)
    harness.finish(call_id, P)
    harness.finish(call_id, P)
    (task,) = harness.ledger.images.to_deliver([item], destination="file:///a")
    assert (task.attempts, harness.image(call_id).reason) == (2, "because")
    harness.finish(call_id)
    assert harness.image(call_id).reason is None


def test_what_is_to_be_delivered_says_where_from(harness: Any) -> None:
    (item,) = harness.plan(1, edition="e")
    call_id = harness.buy(item, 2)
    tasks = harness.ledger.images.to_deliver([item], destination="file:///a")
    assert [task.image_id for task in tasks] == [f"{call_id}-0", f"{call_id}-1"]
    task = tasks[0]
    assert (task.source_url, task.copy_from, task.edition) == ("https://cdn.test/0.png", None, "e")
    assert (task.sent_from, task.sent_on) == (harness.ledger.worker.host, harness.call(call_id).sent_at.date())


def test_a_stored_image_is_copied_to_a_second_place_and_stays_where_it_is(harness: Any) -> None:
    (item,) = harness.plan(1)
    call_id = harness.buy(item)
    harness.finish(call_id, at="a")
    assert harness.ledger.images.to_deliver([item], destination="file:///a") == []
    assert harness.ledger.images.to_deliver([item], destination=None) == []
    (task,) = harness.ledger.images.to_deliver([item], destination="file:///b")
    assert (task.source_url, task.copy_from) == (None, f"file:///a/{call_id}-0.png")
    assert task.sha256 == "ab" * 32
    # A copy that fails changes nothing about the original.
    for state in (P, Q, L):
        harness.finish(call_id, state)
    assert (harness.image(call_id).state, harness.state(item)) == (S, ItemState.DELIVERED)
    harness.finish(call_id, at="b")
    harness.finish(call_id, at="b")
    assert harness.image(call_id).uri == f"file:///a/{call_id}-0.png"
    assert harness.ledger.images.to_deliver([item], destination="file:///b") == []
    assert harness.ledger.costs.of().billed == PRICE


def test_results_of_many_images_are_one_transaction(harness: Any) -> None:
    wanted = harness.plan(3)
    done = [ImageResult(harness.buy(item), 0, item, L, reason="dead") for item in wanted]
    harness.ledger.images.finish(done)
    harness.ledger.images.finish([])
    assert {harness.state(item) for item in wanted} == {ItemState.LOST}


def test_calls_that_wait_for_an_image_are_told(harness: Any) -> None:
    a, b = (harness.buy(item, 2) for item in harness.plan(2))
    harness.finish(a, index=0)
    harness.finish(b, index=0)
    harness.finish(b, L, index=1)
    assert harness.ledger.images.pending_calls([a, b, "no such call"]) == {a}
    assert harness.ledger.images.pending_calls([]) == set()


def test_the_rows_of_a_call_add_up_to_its_cost(harness: Any) -> None:
    """Also where an entry of the reply had no image, so that the indices have gaps."""
    places = [[0], [0, 1, 2], [0, 1, 2, 3], [1, 3], [2]]
    cases = [(which, cost) for which in places for cost in (0, 1, 2, 104_000, 104_001, 104_002, 104_003)]
    for item, (which, cost) in zip(harness.plan(len(cases)), cases, strict=True):
        images = [NewImage(place, f"https://cdn.test/{place}", None, None) for place in which]
        harness.ledger.calls.settle(harness.send(item), Answered(images, cost, "reply"))
    shares: dict[str, list[int]] = {}
    for row in harness.ledger.catalog.rows():
        shares.setdefault(row["item_id"], []).append(row["cost_credits"])
    costs = {row.item_id: row.settled for row in harness.rows(calls)}
    assert {item: sum(parts) for item, parts in shares.items()} == costs
    assert all(max(parts) - min(parts) <= 1 for parts in shares.values())


def test_a_row_of_the_catalog_says_everything(harness: Any) -> None:
    harness.ledger.bind("sandbox")
    harness.start(tags={"campaign": "spring"}, flow_run_id="f-1", flow_run_name="red-fox")
    (item,) = harness.plan(1, edition="e")
    call_id = harness.buy(item, 2, 104_001)
    harness.finish(call_id)
    first, second = harness.ledger.catalog.rows()
    assert (first["state"], second["state"]) == ("stored", "pending")
    assert first["image_id"] == f"{call_id}-0"
    assert (first["cost_credits"], second["cost_credits"]) == (52_001, 52_000)
    assert float(first["cost_usd"]) == pytest.approx(0.0260005)
    expected = {
        "item_id": item,
        "uri": f"file:///a/{call_id}-0.png",
        "model": "google/imagen4/preview",
        "prompt": "fox 0",
        "parameters": "{}",
        "seed": "7",
        "edition": "e",
        "repeat_number": 1,
        "images_requested": 1,
        "images_returned": 2,
        "sha256": "ab" * 32,
        "client_request_id": call_id,
        "call_number": 1,
        "contract": "2025-11",
        "run_id": "run",
        "flow_run_id": "f-1",
        "flow_run_name": "red-fox",
        "tags": '{"campaign": "spring"}',
        "source_file": "prompts.txt",
        "source_line": 1,
        "source_row": '{"n": 0}',
        "api_origin": "sandbox",
    }
    assert {name: first[name] for name in expected} == expected


def test_the_catalog_of_a_run_has_what_it_owned_already(harness: Any) -> None:
    a, b = harness.plan(2)
    for item in (a, b):
        harness.finish(harness.buy(item))
    harness.start("second")
    assert harness.plan(1) == [a]
    assert [row["item_id"] for row in harness.ledger.catalog.rows(run_id="second")] == [a]
    assert len(harness.ledger.catalog.rows(limit=1)) == 1


def test_other_programs_read_the_catalog(database: str, harness: Any) -> None:
    call_id = harness.buy(harness.plan(1)[0])
    harness.finish(call_id)
    query = "SELECT client_request_id, cost_credits FROM catalog WHERE state = 'stored'"
    if database.startswith("sqlite"):
        connection = sqlite3.connect(database.removeprefix("sqlite:///"))
        assert connection.execute(query).fetchall() == [(call_id, PRICE)]
        connection.close()
        return
    psql = shutil.which("psql") or pytest.skip("no psql here")
    told = subprocess.run([psql, "-AtX", database, "-c", query], capture_output=True, text=True, check=True)
    assert told.stdout == f"{call_id}|{PRICE}\n"


def test_every_credit_has_its_line(harness: Any) -> None:
    wanted = harness.plan(9)
    generated, delivered, lost, refused, free, unknown, flying, unbilled, twice = wanted
    harness.buy(generated, 1, 1)
    harness.finish(harness.buy(delivered, 1, 20))
    harness.finish(harness.buy(lost, 1, 300), L)
    harness.ledger.calls.settle(harness.send(refused), Refused("safety", 4000))
    harness.ledger.calls.settle(harness.send(free), Refused("safety"))
    harness.ledger.calls.settle(harness.send(unknown), Unknown("cut"))
    harness.send(flying)
    harness.ledger.calls.settle(harness.send(unbilled), Unbilled("429", ItemState.FAILED))
    # Unknown, bought again, then answered after all: both calls are the delivered item's.
    harness.ledger.calls.settle(first := harness.send(twice), Unknown("cut"))
    harness.ledger.items.release([twice])
    second = harness.send(twice, unknown=UnknownPolicy.RETRY)
    for call_id in (second, first):
        harness.ledger.calls.settle(call_id, Answered([NewImage(0, "u", None, None)], 50_000, "reply"))
        harness.finish(call_id)
    account = harness.ledger.costs.of()
    assert account.generated == CostLine(1, 1)
    assert account.delivered == CostLine(3, 100_020)
    assert account.lost == CostLine(1, 300)
    assert account.refused == CostLine(1, 4000)
    assert account.unknown == CostLine(1, RESERVE)
    assert account.in_flight == CostLine(1, RESERVE)
    assert account.unbilled == CostLine(2, 0)
    assert (account.billed, account.billed_at_most) == (104_321, 104_321 + 2 * RESERVE)
    assert harness.ledger.costs.of("run") == account
    assert harness.ledger.costs.of("another").billed_at_most == 0
    reserved, spent = harness.money()
    assert (reserved, spent) == (2 * RESERVE, account.billed)


def test_progress_counts_rows_items_and_what_was_owned(harness: Any) -> None:
    a, _b = harness.plan(2)
    harness.finish(harness.buy(a))
    assert harness.ledger.runs.progress("run").owned == 0, "it was bought by this run"
    harness.plan(2)
    assert harness.ledger.runs.progress("run").owned == 0
    harness.start("second", budget=5)
    harness.plan(2)
    harness.plan(3)
    progress = harness.ledger.runs.progress("second")
    assert (progress.rows, progress.total, progress.owned, progress.images, progress.budget) == (5, 3, 1, 1, 5)
    assert (progress.items[ItemState.DELIVERED], progress.items[ItemState.PLANNED]) == (1, 2)
    assert set(progress.items) == set(ItemState)
    with pytest.raises(KeyError):
        harness.ledger.runs.progress("none")
    with pytest.raises(KeyError):
        harness.ledger.runs.get("none")


def test_a_run_is_told_and_finished(harness: Any, open_ledger: OpenLedger) -> None:
    harness.start("second", tags={"ä": "ö"})
    assert harness.ledger.runs.latest() == "second"
    other = open_ledger(str(harness.ledger.url))
    assert other.runs.latest(of_this_process=True) is None
    harness.ledger.runs.finish("second", "Completed")
    run = harness.ledger.runs.get("second")
    assert (run["outcome"], run["tags"], run["model"]) == ("Completed", {"ä": "ö"}, "google/imagen4/preview")
    harness.start("second")
    assert harness.ledger.runs.get("second")["outcome"] is None


def test_rows_of_a_source_are_kept_as_they_are(harness: Any) -> None:
    row = {"text": "half \ud800, NUL \x00, ü", "n": 1.5, "none": None, "list": [1, {"a": 2}]}
    harness.ledger.runs.add_items("run", [RunItem(0, Item("m", "p", {}), "fi\udcffle.csv", 3, row, ("a", "b"))])
    from prefect_imagen.core.ledger.schema import run_items

    kept = harness.row(run_items, run_items.c.run_id == "run")
    assert (kept.row, kept.choices, kept.line) == (row, ["a", "b"], 3)
    harness.ledger.runs.add_items("run", [])
