"""Calls a minute and calls at once: what is too much is a 429, costs nothing, and takes nobody's place."""

from __future__ import annotations

from prefect_imagen.sandbox.rate_limit import RateLimit

from .conftest import in_flight


def test_the_window_slides() -> None:
    now = 0.0
    rate_limit = RateLimit(2, 10.0, None, clock=lambda: now)
    assert [rate_limit.try_acquire(), rate_limit.try_acquire(), rate_limit.try_acquire()] == [None, None, 10]
    now = 9.5
    assert rate_limit.try_acquire() == 1
    now = 10.0
    assert [rate_limit.try_acquire(), rate_limit.try_acquire(), rate_limit.try_acquire()] == [None, None, 10]


def test_whoever_is_turned_away_takes_no_place() -> None:
    now = 0.0
    rate_limit = RateLimit(1, 1.0, None, clock=lambda: now)
    assert rate_limit.try_acquire() is None
    for step in range(9):
        now = step / 10
        assert rate_limit.try_acquire() == 1
    now = 1.0
    assert rate_limit.try_acquire() is None


def test_too_many_a_minute_over_http(start) -> None:
    api = start(requests_per_minute=6, rate_window=30, pictures="fast", image_bytes=2000)
    answers = [api.make(f"fox {n}") for n in range(6)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429, 429]
    assert "retry-after" not in answers[3].headers
    assert answers[3].json()["message"] == "Too Many Requests"
    assert len(api.server.bill()["entries"]) == 3


def test_retry_after_and_a_fresh_start(start) -> None:
    api = start(requests_per_minute=1, rate_retry_after=True, pictures="fast", image_bytes=2000)
    assert api.make().status_code == 200
    refused = api.make()
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    api.server.reset()
    assert api.make().status_code == 200


def test_too_many_at_once(start) -> None:
    api = start(concurrent_calls=2, pictures="fast", image_bytes=2000)
    api.server.set_faults([{"fault": "slow_reply", "seconds": 3600, "times": 2}])
    with in_flight(api, 2):
        assert [api.make(f"fox {n}").status_code for n in range(4)] == [429] * 4
        assert api.server.bill()["entries"] == []
