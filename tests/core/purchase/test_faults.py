"""Each fault alone on 50 items: the sum closes, against the provider's own bill, call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prefect_imagen.core.ledger import UnknownPolicy
from prefect_imagen.core.limits import CallLimiter, Halt, HaltReason

PRICE = 104_000
Tills = Callable[..., Any]


def fault(name: str, **options: Any) -> dict[str, Any]:
    return {"fault": name, **options}


def test_without_faults_everything_is_bought_once(till: Tills) -> None:
    shop = till()
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 50}
    assert (account.generated.calls, account.billed) == (50, 50 * PRICE)
    assert len(list(shop.replies.call_ids())) == 50, "replies stay until their images are dealt with"
    shop.buy_all()
    assert shop.reconcile().billed == 50 * PRICE, "bought again"
    call = shop.calls()[0]
    assert call.cost_source == "reply"
    assert call.inference_id
    assert call.request_id


@pytest.mark.parametrize("retry_after", [None, 0, 1])
def test_rate_limits_are_waited_out(till: Tills, retry_after: int | None) -> None:
    shop = till()
    # Each may be a 429 in a row: how many of them fall into the first burst is chance.
    times = 2 if retry_after else shop.settings.tries - 1
    shop.sandbox.set_faults(
        [fault("rate_limited", times=times, **({} if retry_after is None else {"retry_after": retry_after}))]
    )
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 50}
    assert account.unbilled.calls == times


@pytest.mark.parametrize("envelope", ["problem", "legacy"])
def test_rate_limits_that_do_not_end_end_the_run_and_fail_no_item(till: Tills, envelope: str) -> None:
    shop = till(12, settings={"tries": 3})
    shop.sandbox.set_faults([fault("rate_limited", envelope=envelope)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.halt.reason is HaltReason.RATE
    assert shop.states() == {"planned": 12}
    # One burst of eight threads; after each pause one call goes ahead for all.
    assert account.unbilled.calls < 8 + 8, "each thread tried for itself"
    assert account.billed_at_most == 0
    shop.sandbox.clear_faults()
    shop.halt, shop.limiter = Halt(), CallLimiter(8, None, Halt())
    shop.buy_all()
    assert shop.states() == {"generated": 12}
    shop.reconcile()


def test_a_wait_that_is_too_long_ends_the_run(till: Tills) -> None:
    shop = till(settings={"longest_wait": 5.0})
    shop.sandbox.set_faults([fault("rate_limited", retry_after=3600)])
    shop.buy_all()
    assert shop.halt.reason is HaltReason.RATE
    assert shop.states() == {"planned": 50}
    assert shop.reconcile().billed_at_most == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_are_unknown(till: Tills, status: int) -> None:
    shop = till()
    shop.sandbox.set_faults([fault("server_error", every=5, status=status)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 40, "unknown": 10}
    assert (account.unknown.calls, shop.sandbox.bill()["credits"]) == (10, 40 * PRICE)
    assert shop.halt.reason is None


def test_server_errors_are_tried_again_by_who_trusts_them(till: Tills) -> None:
    shop = till(settings={"trust_unbilled_5xx": True})
    shop.sandbox.set_faults([fault("server_error", every=5)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 50}
    assert account.unbilled.calls == shop.sandbox.faults()["rules"][0]["struck"] > 9


@pytest.mark.parametrize("name", ["bad_gateway_billed", "cut_after_billing", "truncated_reply_billed", "html_200"])
def test_what_was_billed_without_a_readable_reply_is_unknown(till: Tills, name: str) -> None:
    shop = till()
    shop.sandbox.set_faults([fault(name, every=5)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 40, "unknown": 10}
    assert shop.sandbox.bill()["credits"] == 50 * PRICE, "all of it was billed"
    assert account.unknown.credits == 10 * 106_000
    shop.buy_all()
    assert len(shop.sandbox.calls()) == 50, "an unknown item was sent again without a policy"
    shop.sandbox.clear_faults()
    shop.buy_all(unknown=UnknownPolicy.RETRY)
    shop.reconcile()
    assert shop.states() == {"generated": 50}
    assert len(shop.sandbox.calls()) == 60


def test_a_cut_before_billing_is_unknown_too(till: Tills) -> None:
    shop = till()
    shop.sandbox.set_faults([fault("cut_before_billing", every=5)])
    shop.buy_all()
    shop.reconcile()
    assert shop.states() == {"generated": 40, "unknown": 10}
    assert shop.sandbox.bill()["credits"] == 40 * PRICE
    assert len(shop.sandbox.calls()) == 50, "a transport repeated a paid call"


@pytest.mark.parametrize("billed", ["requested", "returned"])
def test_fewer_images_than_asked_for(till: Tills, billed: str) -> None:
    shop = till(num_images=3)
    shop.sandbox.set_faults([fault("fewer_images", every=5, billed=billed)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 50}
    assert sorted(call.returned for call in shop.calls()) == [2] * 10 + [3] * 40
    assert account.billed == PRICE * (150 if billed == "requested" else 140)
    assert sum(row["cost_credits"] for row in shop.ledger.images.catalog()) == account.billed


@pytest.mark.parametrize("form", ["empty_200", "null_200", "http_400"])
@pytest.mark.parametrize("billed", [False, True])
def test_the_safety_filter_is_a_refusal(till: Tills, form: str, billed: bool) -> None:
    if form == "http_400" and billed:
        return
    shop = till()
    shop.sandbox.set_faults([fault("safety_block", every=5, form=form, billed=billed)])
    shop.buy_all()
    account = shop.reconcile()
    assert shop.states() == {"generated": 40, "refused": 10}
    assert (account.refused.calls, account.refused.credits) == ((10, 10 * PRICE) if billed else (0, 0))
    assert account.unbilled.calls == (0 if billed else 10)
    shop.buy_all()
    assert len(shop.sandbox.calls()) == 50, "a refused item was asked for again"
    refusal = next(call for call in shop.calls() if call.outcome == "refused")
    assert "safety" in refusal.reason or "Responsible AI" in refusal.reason


@pytest.mark.parametrize(("name", "reason"), [("out_of_credit", HaltReason.CREDIT), ("unauthorized", HaltReason.KEY)])
def test_what_no_item_can_help_ends_the_run(till: Tills, name: str, reason: HaltReason) -> None:
    shop = till()
    shop.sandbox.set_faults([fault(name, after=20)])
    shop.buy_all()
    shop.reconcile()
    assert shop.halt.reason is reason
    states = shop.states()
    assert states["generated"] == 20
    assert states == {"generated": 20, "planned": 30}
    assert len(shop.sandbox.calls()) <= 20 + 8, "sent on after the halt"


def test_a_model_that_is_gone_ends_the_run(till: Tills) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Gone(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = b'{"status": 404, "message": "No endpoints found"}'
            self.send_response(404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gone) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        shop = till(5, base_url=f"http://127.0.0.1:{server.server_port}")
        shop.buy_all()
        server.shutdown()
    assert shop.halt.reason is HaltReason.MODEL
    assert "No endpoints found" in shop.halt.message
    assert shop.states() == {"planned": 5}


def test_an_api_that_cannot_be_reached_ends_the_run_and_fails_no_item(till: Tills) -> None:
    shop = till(10, base_url="http://127.0.0.1:9", settings={"tries": 2})
    shop.buy_all()
    assert shop.halt.reason is HaltReason.API
    assert shop.states() == {"planned": 10}
    assert shop.reconcile().billed_at_most == 0


def test_a_slow_reply_is_waited_for(till: Tills) -> None:
    shop = till(8)
    shop.sandbox.set_faults([fault("slow_reply", every=4, seconds=0.5)])
    shop.buy_all()
    shop.reconcile()
    assert shop.states() == {"generated": 8}


def test_all_faults_together(till: Tills) -> None:
    shop = till()
    names = ["cut_after_billing", "server_error", "html_200", "safety_block", "rate_limited", "cut_before_billing"]
    shop.sandbox.set_faults([fault(name, rate=0.15) for name in names], seed=3)
    shop.buy_all()
    shop.reconcile()
    states = shop.states()
    assert sum(states.values()) == 50
    assert states.keys() == {"generated", "unknown", "refused"}
    for _ in range(6):
        shop.buy_all(unknown=UnknownPolicy.RETRY, retry_refused=True)
        shop.reconcile()
    shop.sandbox.clear_faults()
    shop.buy_all(unknown=UnknownPolicy.RETRY, retry_refused=True)
    shop.reconcile()
    assert shop.states() == {"generated": 50}
