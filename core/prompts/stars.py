"""Names and texts with `*` in them, matched in time that grows with the text, whatever the pattern."""

from __future__ import annotations

import re

_STARS = re.compile(r"(\*+)")


class StarPattern:
    """A text in which `*` stands for any characters.

    Regular expressions try every way to share a text among several stars. Here all ways are followed at once: bit i of
    a number says whether the first i plain characters of the pattern are found.

    Args:
        levels: Whether one star stops at `/`, and only `**` goes on.

    >>> StarPattern("*snow*").fits("light snow"), StarPattern("a/*", levels=True).fits("a/b/c")
    (True, False)
    """

    def __init__(self, pattern: str, *, levels: bool = False) -> None:
        self._places: dict[str, int] = {}
        self._anything = self._one_level = 0
        found = 0
        for piece in _STARS.split(pattern):
            if piece.startswith("*"):
                if levels and len(piece) == 1:
                    self._one_level |= 1 << found
                else:
                    self._anything |= 1 << found
                continue
            for char in piece:
                self._places[char] = self._places.get(char, 0) | 1 << found
                found += 1
        self._end = 1 << found

    def fits(self, text: str) -> bool:
        """Whether the whole text is what the pattern says."""
        reached = 1
        for char in text:
            stays = self._anything if char == "/" else self._anything | self._one_level
            reached = (reached & self._places.get(char, 0)) << 1 | reached & stays
            if not reached:
                return False
        return bool(reached & self._end)
