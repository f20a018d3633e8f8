"""Prompts that look like a mistake and may be none: they are bought, and the plan says so."""

from __future__ import annotations

import re
from collections import Counter

_MISSING = frozenset(
    ("#n/a", "#na", "#ref!", "#name?", "#value!", "#div/0!", "#null!", "#num!", "n/a", "nan", "nat", "null", "none",
     "nil", "undefined", "[object object]", "-", "tbd", "todo")
)  # fmt: skip
_MOJIBAKE = re.compile(r"\ufffd|[\x80-\x9f]|[\xc2\xc3][\x80-\xbf\u0152-\u0178\u02c6-\u2122]|\xe2\u20ac")
_FLAG = re.compile(r"(?:^|\s)(?:--[a-z][\w-]*(?:\s|=|$)|/imagine\b)")
_MARKUP = re.compile(r"(?:[-*+]|\d+[.)]|#{1,6}|//|>)\s|```|-{3,}$|\*{3,}$")
_KEY = re.compile(r"(?i)(?:positive|negative)(?: prompt)?\s*:|steps: \d+, sampler")
_REMARK = re.compile(r"\s(?:#|//)\s")


class Suspicions:
    """Counts what looks odd, and keeps the first place of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def look_at(self, text: str, source: str, line: int) -> None:
        """Take note of a prompt."""
        for what in _found(text):
            self._counts[what] += 1
            self._first.setdefault(what, f"{source}, line {line}")

    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind, most frequent first."""
        return tuple(
            f"{count:,} {'prompt looks' if count == 1 else 'prompts look'} like {what}: {self._first[what]}"
            + ("" if count == 1 else " is the first")
            for what, count in self._counts.most_common()
        )


def _found(text: str) -> list[str]:
    found = []
    if len(text) < 20 and text.lower() in _MISSING:
        found.append("a value that is missing")
    if not text.isascii() and _MOJIBAKE.search(text):
        found.append("text in a wrong encoding")
    if ("--" in text or "/imagine" in text) and _FLAG.search(text):
        found.append("a command with flags of another program, which no model here reads")
    if _MARKUP.match(text):
        found.append("Markdown or a remark")
    elif ("#" in text or "//" in text) and _REMARK.search(text):
        found.append("a text with a remark in it")
    if ":" in text and _KEY.match(text):
        found.append("a part of another program's record, such as a negative prompt")
    return found
