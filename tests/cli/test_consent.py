"""Nothing above $10 is bought without a yes, a budget, or a person at a terminal who agrees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Said, Terminal


@pytest.fixture
def many(alone: Terminal) -> str:
    alone.write("many.txt", "\n".join(f"fox number {number}" for number in range(193)))
    return "many.txt"


def test_without_a_terminal_a_run_above_ten_dollars_says_what_to_type(
    alone: Terminal, here: Callable[..., Said], many: str
) -> None:
    said = here("run", many, "--to", "images")
    assert said.code == 2
    assert "would buy 193 images for about $10.036 (at most $10.229)" in said.err
    assert all(text in said.err for text in ("--budget-usd 11", "prefect-imagen budget --day 20", "--yes"))
    assert alone.sandbox.calls() == []


def test_a_budget_of_the_run_or_of_the_day_is_a_yes(alone: Terminal, here: Callable[..., Said], many: str) -> None:
    assert alone.run("run", many, "--to", "images", "--budget-usd", "0.1").code == 1
    assert len(alone.sandbox.calls()) == 1
    assert here("budget", "--day", "0.15").code == 0
    assert alone.run("run", many, "--to", "images").code == 1
    assert len(alone.sandbox.calls()) == 2
