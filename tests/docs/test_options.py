"""docs/options.md says what the models say."""

from __future__ import annotations

from .options_page import PAGE, page


def test_the_page_is_made_from_the_models() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.docs.options_page"
