"""Small helpers for plain values."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

# Where a spreadsheet may begin to read a formula: at the beginning of a text, and, since a program of another language
# may cut lines elsewhere, behind a line break, a tab and a semicolon. Apostrophes that stand there are counted, too.
_FORMULA = re.compile(
    r"(?:\A|(?<=[;\t\r\n]))(?P<blank>[^\S\t\r\n]*)(?P<mark>'*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20\t\r])"
)
_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no white space, characters as they are.

    Example:
        >>> canonical_json({"b": 1, "a": "é"})
        '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_reference(sha256: str) -> str:
    """What stands for a picture in the parameters of an item: its content. It is filled in when a request is sent."""
    return f"sha256:{sha256}"


def is_content_reference(text: str) -> bool:
    """Whether a text stands for a picture."""
    return _REFERENCE.fullmatch(text) is not None


def content_references(parameters: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Hashes of the pictures that go into a request, by the parameter that names them.

    Example:
        >>> content_references({"image_urls": [content_reference("0" * 64)], "seed": 7}) == {"image_urls": ("0" * 64,)}
        True
    """
    found = {}
    for name, value in parameters.items():
        texts = value if isinstance(value, list | tuple) else [value]
        matches = [_REFERENCE.fullmatch(text) for text in texts if isinstance(text, str)]
        if hashes := tuple(match[1] for match in matches if match is not None):
            found[name] = hashes
    return found


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are not repeated; Python's reader would silently keep the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key {repeated(name for name, _ in pairs)!r} appears twice")
    return values


def repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before.

    Example:
        >>> repeated(["a", "b", "a"])
        'a'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def batched(values: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Split values into lists of at most `size`: a statement takes a bounded number of parameters."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


def to_spreadsheet(text: str) -> str:
    """A text that no spreadsheet runs: an apostrophe stands before each formula that it would be taken for.

    Numbers are left as they are.

    Example:
        >>> to_spreadsheet("=1+1"), to_spreadsheet("'=1"), to_spreadsheet("a = b"), to_spreadsheet("-5")
        ("'=1+1", "''=1", 'a = b', '-5')
    """
    if _NUMBER.fullmatch(text):
        return text
    return _FORMULA.sub(r"\g<blank>'\g<mark>", text)


def from_spreadsheet(text: str) -> str:
    """The text that `to_spreadsheet` was given.

    Example:
        >>> from_spreadsheet(to_spreadsheet("a;=b")), from_spreadsheet("'tis the season")
        ('a;=b', "'tis the season")
    """
    return _FORMULA.sub(lambda found: found["blank"] + found["mark"][1:], text)


def slug(text: str) -> str:
    """Lower-case words joined by hyphens, accents dropped: `Crème brûlée!` → `creme-brulee`."""
    # One character at a time: normalising a long run of combining marks takes time quadratic in its length.
    bare = "".join(
        part for char in text for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part)
    )
    return "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", bare).lower()))
