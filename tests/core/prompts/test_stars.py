"""Stars: what they fit, and that no pattern takes longer than its text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_imagen.core.prompts.stars import StarPattern


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8), st.booleans())
def test_it_fits_what_the_regular_expression_fits(pattern: str, text: str, levels: bool) -> None:
    parts = re.split(r"(\*+)", pattern)
    wanted = "".join(
        ("[^/]*" if levels and piece == "*" else ".*") if piece.startswith("*") else re.escape(piece) for piece in parts
    )
    assert StarPattern(pattern, levels=levels).fits(text) == (re.fullmatch(wanted, text) is not None)


@pytest.mark.parametrize("pattern", ["**" * 30 + "z", "*a" * 30 + "z", "**a*" * 30 + "z"])
def test_many_stars_take_no_longer(pattern: str) -> None:
    before = time.process_time()
    assert not StarPattern(pattern, levels=True).fits("a" * 10_000)
    assert time.process_time() - before < 5
