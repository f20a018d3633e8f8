"""Images that look alike: found by a hash of 64 bits that survives resizing and recompression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from PIL import Image

_BITS = 64
_BANDS = 4
_WIDTH = _BITS // _BANDS
_MASK = (1 << _WIDTH) - 1
LONGEST_DISTANCE = 7
"""Beyond it, four bands of 16 bits with at most one bit changed in one of them would not find every pair."""

FEWEST_BITS, MOST_BITS = 4, 60
"""Hashes with fewer or more bits are those of pictures without contents: all of them are alike."""


def dhash(image: Image.Image) -> str:
    """The difference hash of a picture: whether each of 8 x 8 fields is brighter than the one on its right.

    Example:
        >>> dhash(Image.linear_gradient("L"))
        '0000000000000000'
    """
    small = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    rows = [list(small.crop((0, y, 9, y + 1)).tobytes()) for y in range(8)]
    bits = (left > right for row in rows for left, right in pairwise(row))
    return f"{sum(bit << place for place, bit in enumerate(bits)):016x}"


def counts(hash_: int) -> bool:
    """Whether a hash says enough of a picture to compare it."""
    return FEWEST_BITS <= hash_.bit_count() <= MOST_BITS


class Groups:
    """Joins things into groups; each is named after its first member.

    Args:
        names: Everything, the first one first.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._parents = list(range(len(names)))

    def join(self, one: int, other: int) -> None:
        """Put two into the same group."""
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first

    def _root(self, place: int) -> int:
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def named(self) -> list[str | None]:
        """For each its group; None for what is in a group of its own."""
        roots = [self._root(place) for place in range(len(self._names))]
        sizes: dict[int, int] = {}
        for root in roots:
            sizes[root] = sizes.get(root, 0) + 1
        return [self._names[root] if sizes[root] > 1 else None for root in roots]


def alike(hashes: Mapping[int, Sequence[int]], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs of different hashes that differ in at most so many bits.

    Of two such hashes, one of the four bands of 16 bits differs in one bit at most: only such hashes are compared.
    """
    bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]
    flips = [0, *(1 << bit for bit in range(_WIDTH))]
    for hash_ in hashes:
        near: set[int] = set()
        for number, band in enumerate(bands):
            part = hash_ >> number * _WIDTH & _MASK
            for flip in flips:
                near.update(band.get(part ^ flip, ()))
        for other in near:
            if (hash_ ^ other).bit_count() <= distance:
                yield other, hash_
        for number, band in enumerate(bands):
            band.setdefault(hash_ >> number * _WIDTH & _MASK, []).append(hash_)
