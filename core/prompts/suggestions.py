"""Naming what a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_SHOWN = 20

_COMPARED = 5000
"""Names that are compared at most; comparing takes time that grows with the square of their length."""

_LONGEST = 100
"""Characters of a name that are compared, or shown."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The known names that look most like `name`, best first; case, spaces, `-` and `_` do not count.

    >>> nearest("film title", ["Film_Title", "year"])
    ('Film_Title',)
    """
    if len(name) > _LONGEST:
        return ()
    folded: dict[str, str] = {}
    for candidate in islice((one for one in known if len(one) <= _LONGEST), _COMPARED):
        folded.setdefault(_fold(candidate), candidate)
    return tuple(folded[match] for match in difflib.get_close_matches(_fold(name), folded, n=most))


def listed(names: Iterable[str]) -> str:
    """Names for a message: quoted, comma separated, the rest of a very long list only counted.

    >>> listed(["prompt", "style"])
    "'prompt', 'style'"
    """
    every = list(names)
    shown = ", ".join(map(shortened, every[:_SHOWN]))
    return shown if len(every) <= _SHOWN else f"{shown} and {len(every) - _SHOWN} more"


def shortened(name: str) -> str:
    """A name for a message, quoted."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")


def no_column(name: str, columns: Iterable[str]) -> str:
    """That there is no such column, which may be meant, and which there are.

    >>> no_column("titel", ["title", "year"])
    "there is no column 'titel'; did you mean 'title'? The columns are 'title', 'year'"
    """
    known = list(columns)
    close = nearest(name, known)
    hint = f"; did you mean {listed(close)}?" if close else "."
    return f"there is no column {shortened(name)}{hint} The columns are {listed(known)}"


def _fold(name: str) -> str:
    return "".join(char for char in name.casefold() if char not in " -_")
