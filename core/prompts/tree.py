"""The tree of variants, in which wildcards and variables are replaced by what they stand for (`resolve` builds it).

Every node knows the number of its combinations and the bounds of one of them, and where in its text it came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, combinations, permutations
from typing import Any, NamedTuple


class Size(NamedTuple):
    """How small and how large one combination of a node can get.

    Attributes:
        least: Characters that are not white space, as far as that is known.
        longest: Characters.
        steps: Nodes on the way to it.
        depth: Nodes within nodes.
    """

    least: int
    longest: int
    steps: int
    depth: int


@dataclass(frozen=True, slots=True)
class _Measured:
    """What every node knows of itself, computed once, when it is made.

    Attributes:
        uses: The decided variables that it prints and does not decide itself, by the numbers of their `Let`.
    """

    count: int = field(init=False)
    weighted: bool = field(init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def _measure(self, count: int, weighted: bool, uses: frozenset[int], size: Size) -> None:
        put = object.__setattr__  # the nodes are frozen
        put(self, "count", count)
        put(self, "weighted", weighted)
        put(self, "uses", uses)
        put(self, "size", size)


@dataclass(frozen=True, slots=True)
class Text(_Measured):
    """Plain characters, escapes resolved. `start` and `end` delimit their spelling in the source text."""

    text: str
    start: int
    end: int

    def __post_init__(self) -> None:
        self._measure(1, False, _NOTHING, Size(len("".join(self.text.split())), len(self.text), 1, 0))


_NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Use(_Measured):
    """A variable that was decided once, printed. `slot` is the number of its `Let`."""

    slot: int
    longest: int
    start: int
    end: int

    def __post_init__(self) -> None:
        self._measure(1, False, frozenset((self.slot,)), Size(0, self.longest, 1, 0))


@dataclass(frozen=True, slots=True)
class Group(_Measured):
    """`{…|…}` or a wildcard: exactly one of its branches. `start` is the index of `{`, `end` the one after `}`.

    `weights` is None where none is written: all combinations are alike then, not all branches.
    """

    branches: tuple[Branch, ...]
    start: int
    end: int
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        branches = self.branches
        self._measure(
            sum(branch.count for branch in branches),
            self.weights is not None or any(branch.weighted for branch in branches),
            _union(branches),
            Size(
                min(branch.size.least for branch in branches),
                max(branch.size.longest for branch in branches),
                max(branch.size.steps for branch in branches) + 1,
                max(branch.size.depth for branch in branches) + 1,
            ),
        )


@dataclass(frozen=True)
class Several(_Measured):
    """`{least-most$$separator$$…|…}`: that many of the branches, each at most once.

    Order of the combinations: fewer before more; then by the places of the branches taken; then as in a `Branch`.
    """

    branches: tuple[Branch, ...]
    least: int
    most: int
    separator: str
    permute: bool
    start: int
    end: int
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        branches, most = self.branches, self.most
        totals = self._totals[0]
        longest = sorted((branch.size.longest for branch in branches), reverse=True)[:most]
        steps = sorted((branch.size.steps for branch in branches), reverse=True)[:most]
        self._measure(
            sum(totals[taken] * self.orders(taken) for taken in range(self.least, most + 1)),
            self.weights is not None or any(branch.weighted for branch in branches),
            _union(branches),
            Size(
                sum(sorted(branch.size.least for branch in branches)[: self.least]),
                sum(longest) + len(self.separator) * max(most - 1, 0),
                sum(steps) + 2 * most + 1,
                max(branch.size.depth for branch in branches) + 2,
            ),
        )

    def orders(self, taken: int) -> int:
        """In how many orders so many branches are combinations of their own."""
        return math.factorial(taken) if self.permute else 1

    def places(self) -> Iterator[tuple[int, ...]]:
        """The branches to take, by their places, in the order of the combinations."""
        every = range(len(self.branches))
        for taken in range(self.least, self.most + 1):
            yield from permutations(every, taken) if self.permute else combinations(every, taken)

    def taken(self, places: Sequence[int]) -> Branch:
        """What the branches at these places make together."""
        nodes: list[Node] = []
        for place in places:
            if nodes and self.separator:
                nodes.append(self._between)
            nodes.append(self._alone[place])
        return Branch(tuple(nodes), self.start, self.end)

    @cached_property
    def _totals(self) -> list[list[int]]:
        return suffix_sums([branch.count for branch in self.branches], self.most)

    @cached_property
    def _between(self) -> Text:
        return Text(self.separator, self.start, self.start)

    @cached_property
    def _alone(self) -> tuple[Group, ...]:
        return tuple(Group((branch,), branch.start, branch.end) for branch in self.branches)

    def locate(self, index: int) -> tuple[tuple[int, ...], int]:
        """The places that the combination at `index` takes, and its index among their combinations."""
        for taken in range(self.least, self.most + 1):
            here = self._totals[0][taken] * self.orders(taken)
            if index < here:
                break
            index -= here
        else:
            raise IndexError("there is no such combination")
        places: list[int] = []
        left = list(range(len(self.branches)))
        ahead = 1
        for missing in reversed(range(taken)):
            for place, ways in self._ways(left, missing):
                if index < ahead * ways:
                    places.append(place)
                    ahead *= self.branches[place].count
                    left = self._after(left, place)
                    break
                index -= ahead * ways
        return tuple(places), index

    def rank(self, places: tuple[int, ...]) -> int:
        """The index of the first combination that takes these places, in this order."""
        index = sum(self._totals[0][fewer] * self.orders(fewer) for fewer in range(self.least, len(places)))
        left = list(range(len(self.branches)))
        ahead = 1
        for at, chosen in enumerate(places, start=1):
            for place, ways in self._ways(left, len(places) - at):
                if place == chosen:
                    break
                index += ahead * ways
            ahead *= self.branches[chosen].count
            left = self._after(left, chosen)
        return index

    def _ways(self, left: Sequence[int], missing: int) -> Iterator[tuple[int, int]]:
        """Each place that can be taken next, and in how many ways it and so many more after it can be taken."""
        among = suffix_sums([self.branches[place].count for place in left], missing + 1)[0] if self.permute else []
        for place in left:
            count = self.branches[place].count
            rest = _without(among, count)[missing] if self.permute else self._totals[place + 1][missing]
            yield place, count * rest * self.orders(missing)

    def _after(self, left: Sequence[int], taken: int) -> list[int]:
        """The places that can still be taken."""
        return [place for place in left if (place != taken if self.permute else place > taken)]


@dataclass(frozen=True, slots=True)
class Let(_Measured):
    """`${name=!value}` and everything after it in the same branch: `value` is decided, then `body` may use it."""

    slot: int
    value: Branch
    body: Branch
    start: int
    end: int

    def __post_init__(self) -> None:
        value, body = self.value, self.body
        self._measure(
            value.count * body.count,
            value.weighted or body.weighted,
            value.uses | (body.uses - {self.slot}),
            Size(
                body.size.least,
                body.size.longest,
                value.size.steps + body.size.steps + 1,
                max(value.size.depth, body.size.depth) + 1,
            ),
        )


Node = Text | Group | Several | Let | Use


@dataclass(frozen=True, slots=True)
class Branch(_Measured):
    """A sequence of nodes: one alternative of a choice, or the whole text."""

    nodes: tuple[Node, ...]
    start: int
    end: int

    def __post_init__(self) -> None:
        nodes = self.nodes
        if len(nodes) == 1:
            # Nearly every row and every alternative is a single text.
            (node,) = nodes
            least, longest, steps, depth = node.size
            self._measure(node.count, node.weighted, node.uses, Size(least, longest, steps + 1, depth + 1))
            return
        self._measure(
            math.prod(node.count for node in nodes),
            any(node.weighted for node in nodes),
            _union(nodes),
            Size(
                sum(node.size.least for node in nodes),
                sum(node.size.longest for node in nodes),
                sum(node.size.steps for node in nodes) + 1,
                max((node.size.depth for node in nodes), default=0) + 1,
            ),
        )


def suffix_sums(counts: Sequence[Any], most: int) -> list[list[Any]]:
    """`[i][k]`: in how many ways k of the branches from the i-th on can be taken, their own combinations included.

    The elementary symmetric polynomials of the counts, from the end. With weights for counts, sums of products.
    """
    totals: list[list[Any]] = [[1, *([0] * most)]]
    for count in reversed(counts):
        after = totals[-1]
        totals.append([1, *(after[taken] + count * after[taken - 1] for taken in range(1, most + 1))])
    totals.reverse()
    return totals


def _without(totals: Sequence[int], count: int) -> list[int]:
    """The elementary symmetric polynomials without one of the counts."""
    rest = [1]
    for taken in range(1, len(totals)):
        rest.append(totals[taken] - count * rest[-1])
    return rest


def _union(nodes: Sequence[Node | Branch]) -> frozenset[int]:
    return frozenset(chain.from_iterable(node.uses for node in nodes))
