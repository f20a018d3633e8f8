"""The mix that makes every other client buy twice: 5 % cut after billing, 3 % billed 502s, 5 % 429s."""

from __future__ import annotations

from collections import Counter

import pytest

from .conftest import FlowHarness


@pytest.fixture
def harness(either: FlowHarness) -> FlowHarness:
    """It is the run that is looked at, in Prefect or without."""
    return either


MIX = [
    {"fault": "cut_after_billing", "rate": 0.05},
    {"fault": "bad_gateway_billed", "rate": 0.03},
    {"fault": "rate_limited", "rate": 0.05},
]
_DECIDED = ("delivered", "unknown", "refused", "failed")


def bought_twice(harness: FlowHarness) -> int:
    """Billed calls beyond the first of a prompt."""
    harness.sandbox.wait_idle()
    return sum(count - 1 for count in Counter(entry["prompt"] for entry in harness.sandbox.bill()["entries"]).values())


@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.long)])
def test_hold_buys_nothing_twice_and_retry_at_most_what_is_unknown(harness: FlowHarness, count: int) -> None:
    harness.sandbox.set_faults(MIX, seed=5)
    prompts = [f"fox number {n}" for n in range(count)]
    report = harness.run(prompts)
    assert sum(report.states[state] for state in _DECIDED) == count
    unknown = report.states["unknown"]
    assert unknown > 0
    assert report.account.unknown.calls == unknown, "the report says exactly how many"
    assert bought_twice(harness) == 0
    harness.assert_sum_closes()
    # All of them were billed here, which nobody but the provider can know.
    assert len(harness.billed()) == report.states["delivered"] + unknown

    asked_for = unknown
    for _ in range(8):
        report = harness.run(prompts, unknown="retry")
        assert sum(report.states[state] for state in _DECIDED) == count
        harness.assert_sum_closes()
        if report.complete:
            break
        asked_for += report.states["unknown"]
    assert report.states["delivered"] == count
    assert 0 < bought_twice(harness) <= asked_for
    # The API's log was asked about each of them: the account has every call, credit for credit, and so what was twice.
    account = harness.ledger.costs.of()
    assert account.unknown.calls == 0
    assert account.billed == harness.sandbox.bill()["credits"]
    assert account.delivered.calls - count == bought_twice(harness)
    assert len(harness.objects()) == count
