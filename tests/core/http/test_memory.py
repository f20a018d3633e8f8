"""What many answers take together, of whatever length each of them may be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.http.memory import ANSWERS_VARIABLE, MOST_ANSWER, answers_budget
from prefect_imagen.core.memory import GrowingBudget


def soon() -> float:
    return time.monotonic() + 60


@pytest.fixture
def fresh() -> Iterator[None]:
    answers_budget.cache_clear()
    yield
    answers_budget.cache_clear()


def test_the_others_leave_room_for_the_oldest_share_that_grows() -> None:
    budget = GrowingBudget(300, most=100)
    first, second, third = budget.share(), budget.share(), budget.share()
    assert first.grow(10, soon())
    assert second.grow(200, soon())
    assert not third.grow(11, 0)
    assert first.grow(100, soon())
    assert budget.used == 300
    second.end(200)
    assert not third.grow(1, 0)
    del second
    assert third.grow(100, soon())


def test_what_a_share_does_not_hold_any_longer_is_for_others() -> None:
    budget = GrowingBudget(100, most=100)
    first, second = budget.share(), budget.share()
    assert first.grow(100, soon())
    assert not second.grow(1, 0)
    first.end(30)
    assert second.grow(70, soon())
    assert budget.used == 100
    del first, second
    assert budget.used == 0


def test_shares_that_grow_at_once_stay_within_the_limit_and_all_come_to_their_end() -> None:
    """Each of them may want all that there is."""
    budget = GrowingBudget(1000, most=500)
    all_begun = threading.Barrier(16)
    seen: list[int] = []

    def receive(seed: int) -> int:
        chance, share, size = Random(seed), budget.share(), 20
        assert share.grow(size, soon())
        all_begun.wait()
        wanted = chance.choice([20, 400, 500])
        while size < wanted:
            size = min(wanted, size + chance.randint(1, 60))
            assert share.grow(size, soon())
            seen.append(budget.used)
        share.end(size)
        return size

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(receive, range(16))) == {20, 400, 500}
    assert 320 <= max(seen) <= 1000
    assert budget.used == 0


def test_a_share_waits_until_another_is_given_back() -> None:
    budget = GrowingBudget(100, most=100)
    first, second = budget.share(), budget.share()
    assert first.grow(80, soon())
    waiting = threading.Thread(target=second.grow, args=(80, soon()))
    waiting.start()
    assert budget.used == 80
    del first
    waiting.join()
    assert budget.used == 80


@pytest.mark.parametrize("text", ["a lot", "-1", str(MOST_ANSWER - 1)])
def test_a_budget_that_one_answer_exceeds_is_bad_input(monkeypatch: pytest.MonkeyPatch, fresh: None, text: str) -> None:
    monkeypatch.setenv(ANSWERS_VARIABLE, text)
    with pytest.raises(BadInput, match=ANSWERS_VARIABLE):
        answers_budget()
