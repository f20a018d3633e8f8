"""Drawing without replacement from a space that is too large to enumerate: by weight, or all alike.

What weights mean
    In a choice with weights, an alternative is drawn as often as its weight says, however many combinations it holds
    itself: in `{3::{red|blue}|green}` three of four are red or blue. An alternative without a weight has 1.
    Everywhere else all combinations are alike: in `{{red|blue}|green}` two of three are red or blue.
    In a choice that takes several, a set of alternatives is drawn in proportion to the product of their weights, which
    are scaled to 1 on average; so with equal weights all sets are alike, whatever their size.

Without replacement: a drawn combination is removed, and the next is drawn in proportion to what is left. A large enough
sample therefore contains everything, whatever the weights.

The method is incremental: the choices on the way to a combination form a path; a tree over the paths drawn so far
keeps, for every choice on them, how much of each alternative's share has been used up (K. Shi, D. Bieber, C. Sutton,
"Incremental sampling without replacement for sequence models", ICML 2020).
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from .combinations import Variant
from .errors import PromptOptionError
from .rules import Excluding
from .tree import Branch, Group, Let, Node, Several, suffix_sums
from .variants import Variants

_TRIES = 20
"""How often a draw may fall on what is used up before the shares that are left are added up."""

_LEAST = 1e-300

_PATIENCE = 200
"""How many draws a combination that rules leave in may take."""

Choose = Callable[[Sequence[float]], int]
"""One of several, given their shares."""


def draw(total: int, size: int, seed: int | str) -> list[int]:
    """`size` different indices out of `range(total)`, ascending; every subset is equally likely.

    R. W. Floyd's method ("Programming Pearls: a sample of brilliance", CACM 30(9), 1987): memory and time grow with
    `size`, and `total` may be larger than a machine word, where `random.sample(range(total), …)` overflows. The same
    arguments give the same indices on every machine.

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


class _Fork:
    """One choice on a path: its shares, and what has been drawn of them."""

    __slots__ = ("bounds", "following", "open", "shares", "used")

    def __init__(self, shares: Sequence[float]) -> None:
        # However small a share, it is there: every weight is above 0.
        self.shares = [max(share, _LEAST) for share in shares]
        self.bounds = list(itertools.accumulate(self.shares))
        self.used: dict[int, float] = {}
        self.following: dict[int, _Fork | None] = {}
        self.open = len(shares)

    def left(self, digit: int) -> float:
        return max(self.shares[digit] - self.used.get(digit, 0.0), 0.0)


class WeightedDraw:
    """An endless supply of different combinations' indices, until there are none left."""

    def __init__(self, variants: Variants, seed: str) -> None:
        self._root = variants.root
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._first: _Fork | None = None
        self._path: list[tuple[_Fork, int]] = []
        self._exhausted = False

    def __iter__(self) -> Iterator[int]:
        while not self._exhausted:
            self._path = []
            yield _draw(self._root, self._choose)
            self._put_aside()

    def _choose(self, shares: Sequence[float]) -> int:
        if len(shares) == 1:
            return 0
        fork = self._fork(shares)
        digit = self._draw_from(fork)
        self._path.append((fork, digit))
        return digit

    def _fork(self, shares: Sequence[float]) -> _Fork:
        """The fork that the path has come to: a new one where nothing was drawn yet."""
        if not self._path:
            if self._first is None:
                self._first = _Fork(shares)
            return self._first
        before, digit = self._path[-1]
        fork = before.following.get(digit)
        if fork is None:
            fork = before.following[digit] = _Fork(shares)
        return fork

    def _draw_from(self, fork: _Fork) -> int:
        whole = fork.bounds[-1]
        for _ in range(_TRIES):
            digit = min(bisect.bisect_right(fork.bounds, self._random.random() * whole), len(fork.shares) - 1)
            if digit not in fork.used or self._random.random() * fork.shares[digit] < fork.left(digit):
                return digit
        # Rounding must not reach what is used up, nor miss what is left however small its share.
        digits = [digit for digit in range(len(fork.shares)) if not self._is_used_up(fork, digit)]
        left = [max(fork.left(digit), _LEAST) for digit in digits]
        return self._random.choices(digits, left)[0]

    @staticmethod
    def _is_used_up(fork: _Fork, digit: int) -> bool:
        return fork.used.get(digit) == float("inf")

    def _put_aside(self) -> None:
        """Take the combination that the path leads to out of the supply."""
        share, closed = 1.0, True
        for fork, digit in reversed(self._path):
            share *= fork.shares[digit] / fork.bounds[-1]
            if closed:
                fork.used[digit] = float("inf")
                fork.following.pop(digit, None)
                fork.open -= 1
                closed = fork.open == 0
            else:
                fork.used[digit] = fork.used.get(digit, 0.0) + share * fork.bounds[-1]
        self._exhausted = closed


def sample(space: Variants | Excluding, size: int, seed: int | str) -> list[Variant]:
    """Different combinations at random, by weight where there are weights, in their usual order.

    Args:
        size: How many; all where there are not as many.

    Raises:
        PromptOptionError: Rules leave out nearly all of what weights prefer, so that drawing does not come to an end.

    >>> from .variants import parse
    >>> [variant.text for variant in sample(parse("{9::a|b} {1|2}"), 3, seed=0)]
    ['a 1', 'a 2', 'b 2']
    """
    if not space.weighted or size >= space.count():
        return [space.pick(index) for index in draw(space.count(), size, seed)]
    if isinstance(space, Variants):
        return [space.pick(index) for index in sorted(itertools.islice(WeightedDraw(space, str(seed)), size))]
    found: dict[int, Variant] = {}
    for index in itertools.islice(WeightedDraw(space.variants, str(seed)), _PATIENCE * (size + 100)):
        variant = space.variants.pick(index)
        if not space.excludes(variant):
            found[index] = variant
        if len(found) == size:
            return [found[index] for index in sorted(found)]
    raise PromptOptionError(
        "sample", size, "the rules of exclude leave out nearly all that the weights prefer; change either"
    )


def _draw(branch: Branch, choose: Choose) -> int:
    index = 0
    for node in branch.nodes:
        if node.count > 1:
            index = index * node.count + _draw_node(node, choose)
    return index


def _draw_node(node: Node, choose: Choose) -> int:
    match node:
        case Group(branches, weights=weights):
            digit = choose(_shares(branches, weights))
            return sum(branch.count for branch in branches[:digit]) + _draw(branches[digit], choose)
        case Let(value=value, body=body):
            return _draw(value, choose) * body.count + _draw(body, choose)
        case Several():
            places = _draw_places(node, choose)
            return node.rank(places) + _draw(node.taken(places), choose)
    return 0


def _shares(branches: Sequence[Branch], weights: Sequence[float] | None) -> list[float]:
    """Shares that add up to 1."""
    if weights is None:
        whole = sum(branch.count for branch in branches)
        return [branch.count / whole for branch in branches]
    total = sum(weights)
    return [weight / total for weight in weights]


def _draw_places(node: Several, choose: Choose) -> tuple[int, ...]:
    """How many, then one place after the other, then their order where that counts."""
    scaled = [share * len(node.branches) for share in _shares(node.branches, node.weights)]
    totals = suffix_sums(scaled, node.most)
    sizes = range(node.least, node.most + 1)
    taken = sizes[choose([totals[0][size] * node.orders(size) for size in sizes])]
    places: list[int] = []
    start = 0
    for missing in range(taken - 1, -1, -1):
        candidates = range(start, len(scaled) - missing)
        place = candidates[choose([scaled[one] * totals[one + 1][missing] for one in candidates])]
        places.append(place)
        start = place + 1
    if not node.permute:
        return tuple(places)
    ordered: list[int] = []
    while places:
        ordered.append(places.pop(choose([1.0] * len(places))))
    return tuple(ordered)
