"""Each fault alone on 50 items: the sum closes, against the provider's own bill, call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prefect_imagen.core.limits import CallLimiter, StopReason, StopSignal
from prefect_imagen.core.request import UnknownPolicy

PRICE = 104_000
MakeHarness = Callable[..., Any]


def fault(name: str, **options: Any) -> dict[str, Any]:
    return {"fault": name, **options}


def test_without_faults_everything_is_bought_once(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 50}
    assert (account.generated.calls, account.billed) == (50, 50 * PRICE)
    assert len(list(harness.replies.call_ids())) == 50, "replies stay until their images are dealt with"
    harness.buy_all()
    assert harness.reconcile().billed == 50 * PRICE, "bought again"
    call = harness.calls()[0]
    assert call.cost_source == "reply"
    assert call.inference_id
    assert call.request_id


@pytest.mark.parametrize("retry_after", [None, 0, 1])
def test_rate_limits_are_waited_out(make_harness: MakeHarness, retry_after: int | None) -> None:
    harness = make_harness()
    # Each may be a 429 in a row: how many of them fall into the first burst is chance.
    times = 2 if retry_after else harness.policy.tries - 1
    harness.sandbox.set_faults(
        [fault("rate_limited", times=times, **({} if retry_after is None else {"retry_after": retry_after}))]
    )
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 50}
    assert account.unbilled.calls == times


@pytest.mark.parametrize("envelope", ["problem", "legacy"])
def test_rate_limits_that_do_not_end_end_the_run_and_fail_no_item(make_harness: MakeHarness, envelope: str) -> None:
    harness = make_harness(12, policy={"tries": 3})
    harness.sandbox.set_faults([fault("rate_limited", envelope=envelope)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.halt.reason is StopReason.RATE
    assert harness.states() == {"planned": 12}
    # One burst of eight threads; after each pause one call goes ahead for all.
    assert account.unbilled.calls < 8 + 8, "each thread tried for itself"
    assert account.billed_at_most == 0
    harness.sandbox.clear_faults()
    harness.halt, harness.limiter = StopSignal(), CallLimiter(8, None, StopSignal())
    harness.buy_all()
    assert harness.states() == {"generated": 12}
    harness.reconcile()


def test_a_wait_that_is_too_long_ends_the_run(make_harness: MakeHarness) -> None:
    harness = make_harness(policy={"longest_wait": 5.0})
    harness.sandbox.set_faults([fault("rate_limited", retry_after=3600)])
    harness.buy_all()
    assert harness.halt.reason is StopReason.RATE
    assert harness.states() == {"planned": 50}
    assert harness.reconcile().billed_at_most == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_are_unknown(make_harness: MakeHarness, status: int) -> None:
    harness = make_harness()
    harness.sandbox.set_faults([fault("server_error", every=5, status=status)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 40, "unknown": 10}
    assert (account.unknown.calls, harness.sandbox.bill()["credits"]) == (10, 40 * PRICE)
    assert harness.halt.reason is None


def test_server_errors_are_tried_again_by_who_trusts_them(make_harness: MakeHarness) -> None:
    harness = make_harness(policy={"trust_unbilled_5xx": True})
    harness.sandbox.set_faults([fault("server_error", every=5)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 50}
    assert account.unbilled.calls == harness.sandbox.faults()["rules"][0]["struck"] > 9


@pytest.mark.parametrize("name", ["bad_gateway_billed", "cut_after_billing", "truncated_reply_billed", "html_200"])
def test_what_was_billed_without_a_readable_reply_is_unknown(make_harness: MakeHarness, name: str) -> None:
    harness = make_harness()
    harness.sandbox.set_faults([fault(name, every=5)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 40, "unknown": 10}
    assert harness.sandbox.bill()["credits"] == 50 * PRICE, "all of it was billed"
    assert account.unknown.credits == 10 * 106_000
    harness.buy_all()
    assert len(harness.sandbox.calls()) == 50, "an unknown item was sent again without a policy"
    harness.sandbox.clear_faults()
    harness.buy_all(unknown=UnknownPolicy.RETRY)
    harness.reconcile()
    assert harness.states() == {"generated": 50}
    assert len(harness.sandbox.calls()) == 60


def test_a_cut_before_billing_is_unknown_too(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.sandbox.set_faults([fault("cut_before_billing", every=5)])
    harness.buy_all()
    harness.reconcile()
    assert harness.states() == {"generated": 40, "unknown": 10}
    assert harness.sandbox.bill()["credits"] == 40 * PRICE
    assert len(harness.sandbox.calls()) == 50, "a transport repeated a paid call"


@pytest.mark.parametrize("billed", ["requested", "returned"])
def test_fewer_images_than_asked_for(make_harness: MakeHarness, billed: str) -> None:
    harness = make_harness(num_images=3)
    harness.sandbox.set_faults([fault("fewer_images", every=5, billed=billed)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 50}
    assert sorted(call.returned for call in harness.calls()) == [2] * 10 + [3] * 40
    assert account.billed == PRICE * (150 if billed == "requested" else 140)
    assert sum(row["cost_credits"] for row in harness.ledger.catalog.rows()) == account.billed


@pytest.mark.parametrize("form", ["empty_200", "null_200", "http_400"])
@pytest.mark.parametrize("billed", [False, True])
def test_the_safety_filter_is_a_refusal(make_harness: MakeHarness, form: str, billed: bool) -> None:
    if form == "http_400" and billed:
        return
    harness = make_harness()
    harness.sandbox.set_faults([fault("safety_block", every=5, form=form, billed=billed)])
    harness.buy_all()
    account = harness.reconcile()
    assert harness.states() == {"generated": 40, "refused": 10}
    assert (account.refused.calls, account.refused.credits) == ((10, 10 * PRICE) if billed else (0, 0))
    assert account.unbilled.calls == (0 if billed else 10)
    harness.buy_all()
    assert len(harness.sandbox.calls()) == 50, "a refused item was asked for again"
    refusal = next(call for call in harness.calls() if call.outcome == "refused")
    assert "safety" in refusal.reason or "Responsible AI" in refusal.reason


@pytest.mark.parametrize(("name", "reason"), [("out_of_credit", StopReason.CREDIT), ("unauthorized", StopReason.KEY)])
def test_what_no_item_can_help_ends_the_run(make_harness: MakeHarness, name: str, reason: StopReason) -> None:
    harness = make_harness()
    harness.sandbox.set_faults([fault(name, after=20)])
    harness.buy_all()
    harness.reconcile()
    assert harness.halt.reason is reason
    states = harness.states()
    assert states["generated"] == 20
    assert states == {"generated": 20, "planned": 30}
    # Each of the eight may have begun another call while the first refusal was read.
    assert len(harness.sandbox.calls()) <= 20 + 2 * 8, "sent on after the halt"


def test_a_model_that_is_gone_ends_the_run(make_harness: MakeHarness) -> None:
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
        harness = make_harness(5, base_url=f"http://127.0.0.1:{server.server_port}")
        harness.buy_all()
        server.shutdown()
    assert harness.halt.reason is StopReason.MODEL
    assert "No endpoints found" in harness.halt.message
    assert harness.states() == {"planned": 5}


def test_an_api_that_cannot_be_reached_ends_the_run_and_fails_no_item(make_harness: MakeHarness) -> None:
    harness = make_harness(10, base_url="http://127.0.0.1:9", policy={"tries": 2})
    harness.buy_all()
    assert harness.halt.reason is StopReason.API
    assert harness.states() == {"planned": 10}
    assert harness.reconcile().billed_at_most == 0


def test_a_slow_reply_is_waited_for(make_harness: MakeHarness) -> None:
    harness = make_harness(8)
    harness.sandbox.set_faults([fault("slow_reply", every=4, seconds=0.5)])
    harness.buy_all()
    harness.reconcile()
    assert harness.states() == {"generated": 8}


def test_all_faults_together(make_harness: MakeHarness) -> None:
    harness = make_harness()
    names = ["cut_after_billing", "server_error", "html_200", "safety_block", "rate_limited", "cut_before_billing"]
    harness.sandbox.set_faults([fault(name, rate=0.15) for name in names], seed=3)
    harness.buy_all()
    harness.reconcile()
    states = harness.states()
    assert sum(states.values()) == 50
    assert states.keys() == {"generated", "unknown", "refused"}
    for _ in range(6):
        harness.buy_all(unknown=UnknownPolicy.RETRY, retry_refused=True)
        harness.reconcile()
    harness.sandbox.clear_faults()
    harness.buy_all(unknown=UnknownPolicy.RETRY, retry_refused=True)
    harness.reconcile()
    assert harness.states() == {"generated": 50}
