"""A sandbox that lets through so many calls a minute: told of it, and not told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from prefect_imagen.core.ledger import SharedQuota
from prefect_imagen.core.limits import CallLimiter
from prefect_imagen.sandbox.process import SandboxServer

MakeHarness = Callable[..., Any]
MODEL = "google/imagen4/preview"


def shared(harness: Any, per_minute: float | None, threads: int = 8) -> None:
    """Give the harness the limiter of a run."""
    quota = SharedQuota(harness.ledger, harness.client.fingerprint(harness.ledger.id), MODEL, [MODEL], per_minute)
    harness.limiter = CallLimiter(threads, None, harness.halt, quota=quota)


def moments(harness: Any) -> list[tuple[float, int]]:
    """When each call came to the sandbox, in seconds, and what it was answered."""
    return [(datetime.fromisoformat(call["at"]).timestamp(), call["status"]) for call in harness.sandbox.calls()]


def test_who_is_told_the_limit_keeps_it(make_harness: MakeHarness) -> None:
    with SandboxServer(pictures="fast", requests_per_minute=600, rate_window=3) as server:
        harness = make_harness(36, base_url=server.base_url)
        harness.sandbox = server
        shared(harness, 400)
        harness.buy_all()
        assert harness.states() == {"generated": 36}
        calls = moments(harness)
        assert [status for _, status in calls].count(429) == 0
        assert len(calls) == 36
        harness.reconcile()


def test_who_is_not_told_buys_everything_all_the_same(make_harness: MakeHarness) -> None:
    """Many 429s, and no item fails for it, nothing is bought twice, and the ledger remembers."""
    with SandboxServer(pictures="fast", requests_per_minute=120, rate_window=4, rate_retry_after=True) as server:
        harness = make_harness(16, base_url=server.base_url)
        harness.sandbox = server
        shared(harness, None)
        harness.buy_all()
        assert harness.states() == {"generated": 16}
        assert [status for _, status in moments(harness)].count(429) > 0
        harness.reconcile()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_120_a_minute_told(make_harness: MakeHarness) -> None:
    with SandboxServer(pictures="fast", requests_per_minute=120, latency=0.5, jitter=0.3) as server:
        harness = make_harness(361, base_url=server.base_url)
        harness.sandbox = server
        shared(harness, 120)
        harness.buy_all()
        assert harness.states() == {"generated": 361}
        calls = moments(harness)
        assert [status for _, status in calls].count(429) == 0
        took = calls[-1][0] - calls[0][0]
        print(f"told 120 a minute: 361 calls in {took:.1f} s, ideal 180.0 s, {took / 180 - 1:+.2%}")
        assert took <= 1.03 * 180
        harness.reconcile()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("says_when", [False, True], ids=["no Retry-After", "Retry-After"])
def test_120_a_minute_not_told(make_harness: MakeHarness, says_when: bool) -> None:
    with SandboxServer(
        pictures="fast", requests_per_minute=120, latency=0.5, jitter=0.3, rate_retry_after=says_when
    ) as server:
        harness = make_harness(620, base_url=server.base_url)
        harness.sandbox = server
        shared(harness, None)
        harness.buy_all()
        assert harness.states() == {"generated": 620}
        calls = moments(harness)
        later = [status for at, status in calls if at - calls[0][0] > 60]
        share = later.count(429) / len(later)
        by_minute = Counter(int((at - calls[0][0]) // 60) for at, status in calls if status != 429)
        print(f"not told: {later.count(429)} of {len(later)} calls after the first minute were 429s ({share:.2%})")
        print(f"let through by minute: {[by_minute[minute] for minute in sorted(by_minute)]}")
        assert share <= 0.02
        harness.reconcile()
