"""Drawing without replacement from a space that is too large to enumerate."""

from __future__ import annotations

import random


def draw(total: int, size: int, seed: int | str) -> list[int]:
    """`size` different indices out of `range(total)`, ascending; every subset is equally likely.

    R. W. Floyd's method ("Programming Pearls: a sample of brilliance", CACM 30(9), 1987): memory and time grow with
    `size`, and `total` may be larger than a machine word, where `random.sample(range(total), …)` overflows. The same
    arguments give the same indices on every machine.

    Args:
        total: Size of the space, at least 0.
        size: How many to draw; everything when there are not as many.
        seed: Of Python's Mersenne Twister.

    >>> draw(10, 3, seed=0) == draw(10, 3, seed=0)
    True
    >>> draw(2, 5, seed=0)
    [0, 1]
    """
    if size >= total:
        return list(range(total))
    generator = random.Random(seed)  # noqa: S311 - reproducible on purpose
    drawn: set[int] = set()
    for top in range(total - size, total):
        index = generator.randrange(top + 1)
        drawn.add(top if index in drawn else index)
    return sorted(drawn)
