"""Credits and dollars."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.money import credits_to_usd, format_usd, usd_to_credits


@pytest.mark.parametrize(
    ("usd", "credits_"),
    [
        ("0.052", 104_000),
        (0.052, 104_000),
        (1, 2_000_000),
        (0, 0),
        (Decimal("0.0000001"), 1),
        ("0.00000051", 2),
        (" 5 ", 10_000_000),
    ],
)
def test_dollars_to_credits_rounds_up(usd: float | str | Decimal, credits_: int) -> None:
    assert usd_to_credits(usd) == credits_


@pytest.mark.parametrize("wrong", ["", "five", "-1", -0.01, "nan", "inf", float("inf"), "1e999999999", 2_000_000_000])
def test_what_is_no_amount(wrong: float | str) -> None:
    with pytest.raises(BadInput, match="not an amount in USD"):
        usd_to_credits(wrong)


@given(st.integers(0, 10**15))
def test_credits_survive_the_way_there_and_back(credits_: int) -> None:
    assert usd_to_credits(credits_to_usd(credits_)) == credits_


@pytest.mark.parametrize(
    ("credits_", "text"),
    [
        (0, "$0.00"),
        (104_000, "$0.052"),
        (20_800_000, "$10.40"),
        (1, "$0.0000005"),
        (10**13, "$5,000,000.00"),
        (20, "$0.00001"),
    ],
)
def test_dollars_for_a_person(credits_: int, text: str) -> None:
    assert format_usd(credits_) == text


def test_amounts_have_no_exponent() -> None:
    assert str(credits_to_usd(20_000_000)) == "10"
