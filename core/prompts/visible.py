"""Which characters can be seen. What cannot be seen is no prompt, and what no printer knows is no text."""

from __future__ import annotations

import re

# White space, and what Unicode lets a renderer ignore or draw as nothing: zero-width and direction marks, variation
# selectors, fillers of Hangul, the blank of Braille.
_BLANK = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]*"
)
_NO_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def is_blank(text: str) -> bool:
    r"""Whether nothing in a text can be seen.

    >>> is_blank(" \u200b\ufeff"), is_blank("a\u200bb")
    (True, False)
    """
    return _BLANK.fullmatch(text) is not None


def no_text(text: str) -> str | None:
    """The first character that belongs in no text: a control character, or half a surrogate pair."""
    found = _NO_TEXT.search(text)
    return None if found is None else found.group()
