"""Texts of others in markdown that people read: as Prefect's UI shows reports, and each cell of a table."""

from __future__ import annotations

import re

# Marks that turn what follows around: a cell could make its neighbours read as something else.
_DIRECTIONS = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


# Of markup, of HTML and its entities, and of the addresses that become links by themselves.
_MARKS = re.compile(r"[\\|`*_~\[\]<>&!@#]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# Of lists and headings.
_BEGINNING = re.compile(r"^(\d*)([-+=.)])")


def cell(text: str) -> str:
    """One line, without what markdown, a table or the direction of writing would take for its own."""
    flat = " ".join(text.split()).translate(_DIRECTIONS)
    return _BEGINNING.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", flat))
