"""Budget, stopping, the gate, the spool: what lies around a paid call."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.aimlapi import RawReply
from prefect_imagen.core.delivery import Spool
from prefect_imagen.core.errors import Unavailable
from prefect_imagen.core.images import SpoolUnavailable
from prefect_imagen.core.ledger import Ledger, LedgerUnavailable, Period
from prefect_imagen.core.limits import CallLimiter, CreditBreaker, Gate, HaltReason
from prefect_imagen.core.purchase import ReplySpool, replay
from prefect_imagen.core.storage import StoreNotUsable
from prefect_imagen.sandbox.process import SandboxServer

PRICE, RESERVE = 104_000, 106_000
Tills = Callable[..., Any]


@pytest.mark.parametrize("affordable", [0, 1, 7])
def test_a_budget_is_never_passed(till: Tills, affordable: int) -> None:
    shop = till(30, budget=affordable * RESERVE + RESERVE - 1)
    shop.buy_all()
    account = shop.reconcile()
    assert shop.halt.reason is HaltReason.BUDGET
    assert account.billed_at_most <= affordable * RESERVE + RESERVE - 1
    # Prices settle below what was reserved, so that at times one more is affordable.
    assert affordable <= shop.states().get("generated", 0) <= affordable + 1
    assert sum(shop.states().values()) == 30


def test_unknown_calls_count_against_the_budget(till: Tills) -> None:
    shop = till(10, budget=5 * RESERVE)
    shop.sandbox.set_faults([{"fault": "cut_after_billing"}])
    shop.buy_all()
    assert shop.states() == {"unknown": 5, "planned": 5}
    assert shop.reconcile().billed_at_most == 5 * RESERVE


def test_what_is_halted_before_is_not_sent(till: Tills) -> None:
    shop = till(5)
    shop.halt.set(HaltReason.STOPPED, "SIGTERM")
    shop.buy_all()
    assert shop.states() == {"planned": 5}
    assert shop.sandbox.calls() == []


def test_no_paid_call_while_the_store_is_away(till: Tills) -> None:
    def probe() -> None:
        raise Unavailable("the store is away")

    shop = till(5, gate=Gate(probe, patience=0))
    shop.buy_all()
    assert (shop.halt.reason, shop.halt.message) == (HaltReason.STORE, "the store is away")
    assert shop.sandbox.calls() == []
    assert shop.states() == {"planned": 5}


def test_no_paid_call_when_the_store_became_unusable(till: Tills) -> None:
    def probe() -> None:
        raise StoreNotUsable("the bucket is gone")

    shop = till(5, gate=Gate(probe, patience=60))
    shop.buy_all()
    assert shop.halt.reason is HaltReason.STORE
    assert shop.sandbox.calls() == []


def test_no_paid_call_while_the_ledger_is_away(till: Tills) -> None:
    shop = till(1)
    (claimed,) = shop.ledger.claim(shop.items)
    shop.ledger.close()
    with pytest.raises(LedgerUnavailable):
        shop.purchaser().buy(claimed)
    assert shop.sandbox.calls() == []


def test_a_database_that_goes_away_in_the_middle_is_waited_for(till: Tills, own_postgres: Any) -> None:
    """Nothing is sent while it is away; every reply that came meanwhile is recorded when it is back."""
    shop = till(60, database=own_postgres.url())
    shop.ledger.be_patient(60)
    shop.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.1}])

    def billed() -> int:
        return len(shop.sandbox.bill()["entries"])

    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(shop.buy_all)
        while billed() < 15:
            time.sleep(0.01)
        own_postgres.stop()
        time.sleep(0.5)
        while_away = billed()
        time.sleep(1)
        assert billed() == while_away < 60, "bought without an account"
        own_postgres.start()
        buying.result(60)
    assert shop.states() == {"generated": 60}
    assert shop.reconcile().billed == 60 * PRICE
    assert len(shop.sandbox.calls()) == 60


def test_a_403_with_money_left_is_about_one_request(till: Tills) -> None:
    shop = till(20)
    shop.sandbox.set_faults([{"fault": "out_of_credit", "match": {"prompt_contains": "number 7"}}])
    shop.buy_all()
    shop.reconcile()
    assert shop.halt.reason is None
    assert shop.states() == {"generated": 19, "refused": 1}


def test_a_403_below_the_price_ends_the_run_at_once(till: Tills, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = till(20)
    monkeypatch.setattr(type(shop.client), "balance", lambda _client: RESERVE - 1)
    shop.breaker = CreditBreaker(shop.client.balance)
    shop.limiter = CallLimiter(1, None, shop.halt)
    shop.sandbox.set_faults([{"fault": "out_of_credit", "after": 5}])
    shop.buy_all()
    shop.reconcile()
    assert shop.halt.reason is HaltReason.CREDIT
    assert shop.states() == {"generated": 5, "planned": 15}
    assert len(shop.sandbox.calls()) == 6


@pytest.mark.parametrize("left", [None, 10**9], ids=["balance unknown", "balance fine"])
def test_three_403s_in_a_row_end_the_run_and_refuse_nothing(till: Tills, left: int | None) -> None:
    """The cap of a key, say: what was taken for two items' own matter is taken back."""
    shop = till(20)
    shop.breaker = CreditBreaker(lambda: left)
    shop.limiter = CallLimiter(1, None, shop.halt)
    shop.sandbox.set_faults([{"fault": "out_of_credit", "after": 5}])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.halt.reason is HaltReason.CREDIT
    assert shop.states() == {"generated": 5, "planned": 15}
    assert len(shop.sandbox.calls()) == 8
    assert account.unbilled.calls == 3


def test_a_balance_that_runs_out_is_the_end_of_the_run(till: Tills, tmp_path: Path) -> None:
    with SandboxServer(pictures="fast", balance_usd=0.53) as poor:
        shop = till(20, base_url=poor.base_url)
        shop.sandbox = poor
        shop.buy_all()
        assert shop.halt.reason is HaltReason.CREDIT
        assert shop.states() == {"generated": 10, "planned": 10}
        assert shop.reconcile().billed == 10 * PRICE


def test_a_spool_over_its_cap_pauses_the_buying(till: Tills, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "ledger", max_bytes=50_000)
    (spool.images / "paid and not stored").write_bytes(b"x" * 60_000)
    shop = till(10, spool_gate=Gate(spool.check, patience=60))
    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(shop.buy_all)
        time.sleep(1)
        assert shop.sandbox.calls() == []
        spool.discard("paid and not stored")
        buying.result(60)
    assert shop.states() == {"generated": 10}


def test_a_spool_that_stays_over_its_cap_ends_the_run(till: Tills, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "ledger", max_bytes=50_000)
    (spool.images / "paid and not stored").write_bytes(b"x" * 60_000)
    shop = till(10, spool_gate=Gate(spool.check, patience=0))
    shop.buy_all()
    assert shop.halt.reason is HaltReason.SPOOL
    assert "60,000 bytes" in shop.halt.message
    assert shop.sandbox.calls() == []
    assert shop.states() == {"planned": 10}


def test_a_disk_that_was_full_for_a_while_loses_no_reply(till: Tills, tmp_path: Path) -> None:
    """Base64: the reply is the image. It is held in memory until there is room; meanwhile nothing is sent."""
    spool = Spool(tmp_path / "spool", "ledger")
    shop = till(30, spool_gate=Gate(spool.check, patience=60), convert_base64_to_url=False)
    shop.replies = spool.replies
    shop.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.2}])
    full, kept = threading.Event(), ReplySpool.keep

    def keep(replies: ReplySpool, call_id: str, raw: RawReply) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        kept(replies, call_id, raw)

    def probe() -> None:
        if full.is_set():
            raise SpoolUnavailable("full")

    shop.spool_gate = Gate(probe, patience=60)
    shop.replies.keep = keep.__get__(shop.replies)  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as threads:
        buying = threads.submit(shop.buy_all)
        while len(shop.sandbox.calls()) < 10:
            time.sleep(0.01)
        full.set()
        time.sleep(1.5)
        while_full = len(shop.sandbox.calls())
        time.sleep(0.5)
        assert len(shop.sandbox.calls()) == while_full < 30
        full.clear()
        buying.result(60)
    shop.reconcile()
    assert shop.states() == {"generated": 30}
    assert len(list(shop.replies.call_ids())) == 30


def test_never_more_calls_in_flight_than_allowed(till: Tills) -> None:
    shop = till(40)
    shop.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.02}])
    shop.limiter = CallLimiter(3, None, shop.halt)
    shop.buy_all()
    assert shop.sandbox.stats()["max_in_flight"] == 3


def test_the_seed_is_derived_and_the_same_on_every_try(till: Tills) -> None:
    shop = till(3)
    shop.sandbox.set_faults([{"fault": "rate_limited", "times": 3}])
    shop.buy_all()
    by_item: dict[str, set[str]] = {}
    for call in shop.calls():
        by_item.setdefault(call.item_id, set()).add(call.seed)
    assert all(len(seeds) == 1 for seeds in by_item.values())
    assert len(set.union(*by_item.values())) == 3


def crash_between_keep_and_settle(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies with its reply on disk and not in the ledger."""

    def died(*_: Any) -> None:
        raise LedgerUnavailable("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "settle", died)
        with pytest.raises(LedgerUnavailable, match="killed here"):
            shop.buy_all()


@pytest.mark.parametrize("reap_first", [True, False])
def test_a_spooled_reply_is_recorded_by_the_next_process(
    till: Tills, monkeypatch: pytest.MonkeyPatch, reap_first: bool
) -> None:
    dead = till(1)
    crash_between_keep_and_settle(dead, monkeypatch)
    assert dead.states() == {"sent": 1}
    assert len(list(dead.replies.call_ids())) == 1
    alive = till(1)
    assert replay(alive.ledger, alive.replies) == 0, "the reply of a process that is alive was taken from it"
    assert len(list(dead.replies.call_ids())) == 1
    dead.ledger.close()
    if reap_first:
        alive.ledger.reap()
        assert alive.states() == {"unknown": 1}
    assert replay(alive.ledger, alive.replies) == 1
    assert alive.states() == {"generated": 1}
    assert alive.reconcile().billed == PRICE
    assert len(alive.ledger.images_to_deliver(alive.items, destination=None)) == 1
    assert replay(alive.ledger, alive.replies) == 0
    assert len(list(dead.replies.call_ids())) == 1, "dropped before its images were dealt with"


@pytest.mark.parametrize("name", ["safety_block", "html_200"])
def test_spooled_replies_without_images_are_recorded_and_cleared_away(
    till: Tills, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    dead = till(1)
    dead.sandbox.set_faults([{"fault": name}])
    crash_between_keep_and_settle(dead, monkeypatch)
    dead.ledger.close()
    alive = till(1)
    alive.ledger.reap()
    assert replay(alive.ledger, alive.replies) == 1
    assert alive.states() == {"refused" if name == "safety_block" else "unknown": 1}
    assert list(alive.replies.call_ids()) == []
    alive.reconcile()


def test_replies_of_another_ledger_are_left_alone(till: Tills) -> None:
    shop = till(1)
    shop.replies.keep("pi-of-somebody-else", RawReply(200, {}, b"{}"))
    assert replay(shop.ledger, shop.replies) == 0
    assert list(shop.replies.call_ids()) == ["pi-of-somebody-else"]


def test_base64_goes_through_the_spool(till: Tills) -> None:
    shop = till(2, convert_base64_to_url=False)
    shop.buy_all()
    shop.reconcile()
    tasks = shop.ledger.images_to_deliver(shop.items, destination=None)
    assert [task.source_url for task in tasks] == [None, None]
    raw = shop.replies.load(tasks[0].call_id)
    assert raw.read().images[0].base64.startswith("iVBOR")


def test_a_spool_that_cannot_be_written_ends_the_run_and_loses_nothing(till: Tills, tmp_path: Path) -> None:
    shop = till(20)
    shop.replies.folder.rmdir()
    shop.replies.folder.write_text("not a folder")
    shop.buy_all()
    shop.reconcile()
    assert shop.halt.reason is HaltReason.SPOOL
    assert "spool" in shop.halt.message
    assert 1 <= shop.states()["generated"] <= 8
    assert sum(shop.states().values()) == 20


def test_a_reply_is_kept_whole_and_private(tmp_path: Path) -> None:
    spool = ReplySpool(tmp_path / "replies")
    body = b'{"a":\n"\xff\x00"}\n\n'
    reply = RawReply(201, {"x-request-id": "é"}, body, "cut short")
    spool.keep("pi-1", reply)
    assert spool.load("pi-1") == reply
    assert [path.name for path in spool.folder.iterdir()] == ["pi-1.reply"]
    assert spool.folder.stat().st_mode & 0o077 == 0
    spool.drop("pi-1")
    spool.drop("pi-1")
    assert spool.load("pi-1") is None


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]\nx", json.dumps({"status": "x"}).encode()])
def test_a_damaged_spool_file_is_nothing(tmp_path: Path, garbage: bytes) -> None:
    spool = ReplySpool(tmp_path)
    (tmp_path / "pi-1.reply").write_bytes(garbage)
    assert spool.load("pi-1") is None


def test_a_disk_that_fills_up_leaves_no_half_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = ReplySpool(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prefect_imagen.core.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.keep("pi-1", RawReply(200, {}, b"x"))
    assert list(tmp_path.iterdir()) == []


def test_a_budget_waits_for_calls_in_flight_that_leave_some_of_it(till: Tills) -> None:
    shop = till(12, budget=6 * RESERVE)
    shop.sandbox.set_faults([{"fault": "server_error", "times": 4}])
    shop.settings = replace(shop.settings, trust_unbilled_5xx=True)
    shop.buy_all()
    account = shop.reconcile()
    assert shop.halt.reason is HaltReason.BUDGET
    # Eight threads reserve all of it at once; four of their calls cost nothing, and leave room for as many more.
    assert account.delivered.calls + account.generated.calls == 6
    assert "run's budget of" in shop.halt.message


def test_a_day_that_is_used_up_ends_the_run_by_name(till: Tills) -> None:
    shop = till(6)
    shop.ledger.set_budget(Period.DAY, 3 * RESERVE, "Europe/Berlin")
    shop.buy_all()
    assert shop.halt.reason is HaltReason.BUDGET
    assert "day's budget of $0.159" in shop.halt.message
    assert "Europe/Berlin" in shop.halt.message
    assert "it frees at" in shop.halt.message
    assert shop.states() == {"planned": 3, "generated": 3}
    shop.reconcile()
    shop.ledger.clear_budget(Period.DAY)
    again = till(6)
    again.buy_all()
    assert again.states() == {"generated": 6}
