"""Stand-ins for the characters of a value that would mean something in the syntax of variants.

A template's output mixes the template's own text, in which `{a|b}` is syntax, with values, in which it is data. While
both are one string, the characters of values are replaced by noncharacters, one for one, and changed back when the
text has been parsed. Noncharacters (The Unicode Standard, section 23.7) have no meaning in text and are free for use
within a program. Unlike a backslash escape, a stand-in stays the same when the output of a macro or a `{% set %}` block
is printed again, works wherever it lands, and leaves every position where it was.
"""

from __future__ import annotations

_SPECIAL = "{|}\\$_:,()!=@~"

STAND_INS = "".join(chr(0xFDD0 + place) for place in range(len(_SPECIAL)))
"""The stand-ins; no template and no value may contain one."""

_TO_STAND_INS = str.maketrans(_SPECIAL, STAND_INS)
_FROM_STAND_INS = str.maketrans(STAND_INS, _SPECIAL)


def quote(value: str) -> str:
    """Make a value's characters survive variant parsing as plain text."""
    return value.translate(_TO_STAND_INS)


def unquote(text: str) -> str:
    """The text with values as they were.

    >>> unquote("{a|" + quote("{b}") + "}")
    '{a|{b}}'
    """
    return text.translate(_FROM_STAND_INS)
