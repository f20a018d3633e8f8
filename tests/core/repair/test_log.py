"""What the provider's log says of a lost answer decides what becomes of the call, and costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import Answered, ItemState, Ledger, NewImage
from prefect_imagen.core.ledger.schema import calls, items
from prefect_imagen.core.providers import open_client
from prefect_imagen.core.purchase.log import FAILED_REASON, LOST_REASON
from prefect_imagen.core.repair import Asked, ask_log
from prefect_imagen.core.request import UnknownPolicy
from prefect_imagen.sandbox import SandboxServer

from .conftest import Workshop


def test_failed_is_unbilled_succeeded_is_lost(workshop: Workshop) -> None:
    workshop.sandbox.set_faults(
        [
            {"fault": "server_error", "times": 4},
            {"fault": "cut_after_billing", "times": 3},
        ]
    )
    assert workshop.run(10, log=False) == {"delivered": 3, "unknown": 7}
    workshop.check()
    asked = ask_log(workshop.ledger, workshop.client)
    assert asked == Asked(calls=7, unbilled=4, billed=3, silent=0)
    assert workshop.states() == {"delivered": 3, "planned": 4, "lost": 3}
    account = workshop.check(settled=True)
    assert (account.delivered.calls, account.lost.calls, account.unbilled.calls) == (3, 3, 4)
    lost = [row for row in workshop.rows(items) if row.state == "lost"]
    assert {row.reason for row in lost} == {LOST_REASON}
    assert {row.reason for row in workshop.calls() if row.outcome == "unbilled"} == {FAILED_REASON}
    # What failed is bought by the next run as if nothing had been sent; what was billed is not.
    workshop.sandbox.clear_faults()
    assert workshop.run(10) == {"delivered": 7, "lost": 3}
    assert workshop.check(settled=True).delivered.calls == 7


def test_every_provider_that_was_bought_from_is_asked(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.sandbox.set_faults([{"fault": "server_error", "times": 1}, {"fault": "cut_after_billing", "times": 2}])
    assert workshop.run(3, log=False) == {"unknown": 3}
    workshop.sandbox.clear_faults()
    there = workshop.client
    elsewhere = f"{workshop.sandbox.origin}/gemini/v1beta"
    workshop.client = open_client("another-key", base_url=elsewhere, model="gemini:gemini-3.1-flash-image")
    monkeypatch.setenv("AIMLAPI_API_KEY", "key-of-the-tests")
    try:
        assert workshop.repair().log == Asked(), "the key of the environment is for another place"
        monkeypatch.setenv("AIMLAPI_BASE_URL", workshop.sandbox.base_url)
        repaired = workshop.repair()
    finally:
        workshop.client.close()
    workshop.client = there
    assert (repaired.log, repaired.unknown) == (Asked(calls=3, unbilled=1, billed=2), 0)
    workshop.check(settled=True)


def test_who_buys_the_unknown_again_also_wants_what_is_known_to_be_lost(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 3}])
    workshop.run(4, log=False)
    ask_log(workshop.ledger, workshop.client)
    workshop.sandbox.clear_faults()
    assert workshop.run(4) == {"delivered": 1, "lost": 3}
    assert workshop.run(4, unknown="retry") == {"delivered": 4}
    account = workshop.check(settled=True)
    assert (account.delivered.calls, account.lost.calls) == (7, 0), "the superseded calls belong to delivered items"


def test_the_log_does_not_take_back_what_was_decided(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 2}])
    workshop.run(3, log=False)
    workshop.sandbox.clear_faults()
    workshop.ledger.items.fail_unknown(None)
    assert ask_log(workshop.ledger, workshop.client).billed == 2
    assert workshop.states() == {"delivered": 1, "failed": 2}
    workshop.check(settled=True)
    assert workshop.run(3) == {"delivered": 3}
    assert workshop.check(settled=True).delivered.calls == workshop.billed() == 5


def test_a_lost_item_that_was_taken_up_and_not_bought_is_lost_again(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    workshop.run(1, log=False)
    ask_log(workshop.ledger, workshop.client)
    (item,) = workshop.rows(items)
    (claimed,) = workshop.ledger.items.claim([item.id], unknown=UnknownPolicy.RETRY)
    assert claimed.state is ItemState.CLAIMED
    workshop.ledger.items.release([item.id])
    assert workshop.states() == {"lost": 1}
    assert workshop.ledger.items.claim([item.id]) == []


def test_a_reply_that_turns_up_after_all_brings_the_images(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    workshop.run(1, log=False)
    ask_log(workshop.ledger, workshop.client)
    (call,) = workshop.calls()
    reply = Answered([NewImage(0, f"{workshop.sandbox.origin}/gone.png", "image/png", None)], call.settled, "reply")
    assert workshop.ledger.calls.settle(call.id, reply)
    assert not workshop.ledger.calls.settle(call.id, reply)
    assert workshop.states() == {"generated": 1}
    workshop.check(settled=True)
    assert workshop.ledger.runs.progress(call.run_id).spent == call.settled


def test_a_silent_log_changes_nothing(
    sandbox: SandboxServer, sqlite: str, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    with SandboxServer(pictures="fast", log_lag=3600) as lagging:
        workshop = Workshop(
            lagging, open_ledger(sqlite), tmp_path, open_client("key-of-the-tests", base_url=lagging.base_url)
        )
        lagging.set_faults([{"fault": "cut_after_billing"}])
        workshop.run(3, log=False)
        assert ask_log(workshop.ledger, workshop.client) == Asked(calls=3, silent=3)
        assert workshop.states() == {"unknown": 3}
        workshop.check()
        workshop.client.close()


def test_another_key_sees_nothing(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    workshop.run(2, log=False)
    other = open_client("another-key", base_url=workshop.sandbox.base_url)
    assert ask_log(workshop.ledger, other).silent == 2
    other.close()


def test_pages_are_walked_and_the_limit_is_kept(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 1}])
    workshop.run(130, log=False, concurrency=16, chunk=130)
    monkeypatch.setattr("prefect_imagen.core.purchase.log.LOG_REQUESTS_A_MINUTE", 21)
    slept: list[float] = []
    asked = ask_log(workshop.ledger, workshop.client, sleep=slept.append)
    assert (asked.billed, asked.problem) == (1, "")
    assert len(slept) == 1, "the second page waits for the minute of the first to be over"
    assert 30 < slept[0] <= 60


def test_it_stops_in_time(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    workshop.run(2, log=False)
    with workshop.ledger.read() as connection:
        first = connection.scalar(sa.select(sa.func.min(calls.c.id)))
    long_ago = datetime.now(UTC) - timedelta(days=3)
    workshop.ledger.write(lambda c: c.execute(sa.update(calls).where(calls.c.id == first).values(sent_at=long_ago)))
    monkeypatch.setattr("prefect_imagen.core.purchase.log.LOG_REQUESTS_A_MINUTE", 21)
    asked = ask_log(workshop.ledger, workshop.client, seconds=5)
    assert (asked.calls, asked.silent) == (2, 2)
    assert asked.problem == "not all could be asked within 5 s"


def test_a_log_that_cannot_be_asked_is_no_answer(workshop: Workshop) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    workshop.run(1, log=False)
    nobody = open_client("key", base_url="http://127.0.0.1:9")
    asked = ask_log(workshop.ledger, nobody)
    assert asked.silent == 1
    assert "cannot reach the API" in asked.problem
    nobody.close()
    assert workshop.states() == {"unknown": 1}
