r"""Variants: one text that stands for several, `a {red|blue} {cat|dog}`. The syntax is in `grammar`.

- Every combination is one prompt; the last choice varies fastest.
- Choices nest. An alternative may be empty (`{very |}old`). A choice of one alternative is that one: `{a}` is `a`.
- `{2$$a|b|c}` takes two of three, in the order written: `a, b`, `a, c`, `b, c`. `{2!$$a|b|c}` takes every order.
- `__colour__` is a choice between the values of a wildcard: see `wildcards`.
- `${hue={red|blue}}` names a text, `${hue}` is that text again, decided anew; with `=!` it is decided once.
- Weights (`{3::a|b}`) decide how often an alternative is drawn in a sample: see `drawing`. They change no combination.

Here is the tree in which wildcards and variables have been replaced by what they stand for (`linking` builds it), with
what can be read off it: the number of combinations, all of them in order, any one by its index. The nodes keep where
in their text they came from.

>>> [variant.text for variant in parse("a {red|blue} {cat|dog}").expand()]
['a red cat', 'a red dog', 'a blue cat', 'a blue dog']
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).count()
1000000000000
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).pick(123456789012).text
'123456789012'
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, combinations, permutations, product
from typing import TYPE_CHECKING, NamedTuple

from .grammar import read
from .seals import unseal

if TYPE_CHECKING:
    from .wildcards import Wildcards

_POOLED = 10_000
"""Up to so many expansions of single nodes are held in memory while their product is walked."""

Values = Mapping[int, str]
"""What the variables that are decided once came out as, by the number of their `Let`."""


class Variant(NamedTuple):
    """One combination.

    Attributes:
        text: The text that came out, exactly (white space is not touched here).
        choices: The alternative taken in every choice on the way, as it came out, in the order in which the choices
            open. A choice within an alternative that was not taken does not appear.
    """

    text: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain characters, escapes resolved. `start` and `end` delimit their spelling in the source text."""

    text: str
    start: int
    end: int
    count: int = field(default=1, init=False)
    weighted: bool = field(default=False, init=False)
    uses: frozenset[int] = field(default=frozenset(), init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", Size(len("".join(self.text.split())), len(self.text), 1, 0))


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
class Use:
    """A variable that was decided once, printed. `slot` is the number of its `Let`."""

    slot: int
    longest: int
    start: int
    end: int
    count: int = field(default=1, init=False)
    weighted: bool = field(default=False, init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uses", frozenset((self.slot,)))
        object.__setattr__(self, "size", Size(0, self.longest, 1, 0))


@dataclass(frozen=True, slots=True)
class Group:
    """`{…|…}` or a wildcard: exactly one of its branches. `start` is the index of `{`, `end` the one after `}`.

    `weights` is None where none is written: all combinations are alike then, not all branches.
    """

    branches: tuple[Branch, ...]
    start: int
    end: int
    weights: tuple[float, ...] | None = None
    count: int = field(init=False)
    weighted: bool = field(init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        branches = self.branches
        object.__setattr__(self, "count", sum(branch.count for branch in branches))
        object.__setattr__(self, "weighted", self.weights is not None or any(branch.weighted for branch in branches))
        object.__setattr__(self, "uses", _union(branches))
        object.__setattr__(
            self,
            "size",
            Size(
                min(branch.size.least for branch in branches),
                max(branch.size.longest for branch in branches),
                max(branch.size.steps for branch in branches) + 1,
                max(branch.size.depth for branch in branches) + 1,
            ),
        )


@dataclass(frozen=True)
class Several:
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
    count: int = field(init=False)
    weighted: bool = field(init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        branches, most = self.branches, self.most
        totals = self._totals[0]
        object.__setattr__(
            self, "count", sum(totals[taken] * self.orders(taken) for taken in range(self.least, most + 1))
        )
        object.__setattr__(self, "weighted", self.weights is not None or any(branch.weighted for branch in branches))
        object.__setattr__(self, "uses", _union(branches))
        least = sorted(branch.size.least for branch in branches)[: self.least]
        longest = sorted((branch.size.longest for branch in branches), reverse=True)[:most]
        steps = sorted((branch.size.steps for branch in branches), reverse=True)[:most]
        object.__setattr__(
            self,
            "size",
            Size(
                sum(least),
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
        totals = self._totals
        for taken in range(self.least, self.most + 1):
            here = totals[0][taken] * self.orders(taken)
            if index < here:
                return self._unrank_permuted(index, taken) if self.permute else self._unrank(index, taken)
            index -= here
        raise IndexError("there is no such combination")

    def _unrank(self, index: int, taken: int) -> tuple[tuple[int, ...], int]:
        totals = self._totals
        places: list[int] = []
        ahead = 1
        for place, branch in enumerate(self.branches):
            if len(places) == taken:
                break
            here = ahead * branch.count * totals[place + 1][taken - len(places) - 1]
            if index < here:
                places.append(place)
                ahead *= branch.count
            else:
                index -= here
        return tuple(places), index

    def _unrank_permuted(self, index: int, taken: int) -> tuple[tuple[int, ...], int]:
        left = list(range(len(self.branches)))
        places: list[int] = []
        ahead = 1
        for missing in range(taken - 1, -1, -1):
            totals = suffix_sums([self.branches[place].count for place in left], missing + 1)[0]
            for place in left:
                count = self.branches[place].count
                here = ahead * count * math.factorial(missing) * _without(totals, count)[missing]
                if index < here:
                    left.remove(place)
                    places.append(place)
                    ahead *= count
                    break
                index -= here
        return tuple(places), index

    def rank(self, places: tuple[int, ...]) -> int:
        """The index of the first combination that takes these places, in this order."""
        counts = [branch.count for branch in self.branches]
        totals = self._totals
        index = sum(totals[0][fewer] * self.orders(fewer) for fewer in range(self.least, len(places)))
        ahead = 1
        left = list(range(len(counts)))
        for at, chosen in enumerate(places):
            missing = len(places) - at - 1
            among = suffix_sums([counts[place] for place in left], missing + 1)[0] if self.permute else []
            for place in left:
                if place == chosen:
                    break
                rest = (
                    math.factorial(missing) * _without(among, counts[place])[missing]
                    if self.permute
                    else totals[place + 1][missing]
                )
                index += ahead * counts[place] * rest
            ahead *= counts[chosen]
            left = [place for place in left if place != chosen and (self.permute or place > chosen)]
        return index


@dataclass(frozen=True, slots=True)
class Let:
    """`${name=!value}` and everything after it in the same branch: `value` is decided, then `body` may use it."""

    slot: int
    value: Branch
    body: Branch
    start: int
    end: int
    count: int = field(init=False)
    weighted: bool = field(init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        value, body = self.value, self.body
        object.__setattr__(self, "count", value.count * body.count)
        object.__setattr__(self, "weighted", value.weighted or body.weighted)
        object.__setattr__(self, "uses", value.uses | (body.uses - {self.slot}))
        object.__setattr__(
            self,
            "size",
            Size(
                body.size.least,
                body.size.longest,
                value.size.steps + body.size.steps + 1,
                max(value.size.depth, body.size.depth) + 1,
            ),
        )


Node = Text | Group | Several | Let | Use


@dataclass(frozen=True, slots=True)
class Branch:
    """A sequence of nodes: one alternative of a choice, or the whole text."""

    nodes: tuple[Node, ...]
    start: int
    end: int
    count: int = field(init=False)
    weighted: bool = field(init=False)
    uses: frozenset[int] = field(init=False)
    size: Size = field(init=False)

    def __post_init__(self) -> None:
        nodes = self.nodes
        if len(nodes) == 1:
            # Nearly every row and every alternative is a single text.
            (node,) = nodes
            object.__setattr__(self, "count", node.count)
            object.__setattr__(self, "weighted", node.weighted)
            object.__setattr__(self, "uses", node.uses)
            least, longest, steps, depth = node.size
            object.__setattr__(self, "size", Size(least, longest, steps + 1, depth + 1))
            return
        object.__setattr__(self, "count", math.prod(node.count for node in nodes))
        object.__setattr__(self, "weighted", any(node.weighted for node in nodes))
        object.__setattr__(self, "uses", _union(nodes))
        object.__setattr__(
            self,
            "size",
            Size(
                sum(node.size.least for node in nodes),
                sum(node.size.longest for node in nodes),
                sum(node.size.steps for node in nodes) + 1,
                max((node.size.depth for node in nodes), default=0) + 1,
            ),
        )


@dataclass(frozen=True, slots=True)
class Variants:
    """A parsed text.

    Attributes:
        source: The text as written; the nodes' positions count in it (those that came from a wildcard's value, in
            that value).
        root: The tree.
    """

    source: str
    root: Branch

    @property
    def weighted(self) -> bool:
        """Whether any choice has weights."""
        return self.root.weighted

    def count(self) -> int:
        """The number of combinations, multiplied out of the tree without enumerating any.

        Equal texts that come out of different choices count separately: `{a|a}` is 2.
        """
        return self.root.count

    def expand(self) -> Iterator[Variant]:
        """All combinations, lazily, left to right, the last choice varying fastest."""
        return expand_branch(self.root)

    def pick(self, index: int) -> Variant:
        """The combination that `expand` would yield at `index`, directly.

        Raises:
            IndexError: `index` is not in `range(count())`.
        """
        if not 0 <= index < self.root.count:
            raise IndexError(f"there is no combination {index}")
        return _pick(self.root, index, {})

    def can_be_blank(self) -> bool:
        """Whether some combination consists of white space only.

        >>> parse("{a|} {b|}").can_be_blank(), parse("{a|} b").can_be_blank()
        (True, False)
        """
        return _Blankness().of(self.root, frozenset()).blank


def parse(text: str, wildcards: Wildcards | None = None, *, sealed: bool = False) -> Variants:
    r"""Read a text with variants.

    Args:
        text: See `grammar`.
        wildcards: What `__name__` stands for; without it, a wildcard is an error.
        sealed: Whether stand-ins of `seals` in the text are plain characters of values.

    Raises:
        VariantError: The text cannot be read, or names a wildcard or variable that does not exist.

    >>> parse(r"50% off | \{plain\} C:\temp #sale // $5").pick(0).text
    '50% off | {plain} C:\\temp #sale // $5'
    >>> parse("a {red|blue cat")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    prefect_imagen.core.prompts.errors.VariantError: unclosed '{': ...
    """
    from .linking import link

    tree = read(text, sealed=sealed)
    source = unseal(text) if sealed else text
    return Variants(source, link(source, tree, wildcards))


def suffix_sums(counts: Sequence[int], most: int) -> list[list[int]]:
    """`[i][k]`: in how many ways k of the branches from the i-th on can be taken, their own combinations included.

    The elementary symmetric polynomials of the counts, from the end.
    """
    totals = [[1] + [0] * most]
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


def expand_branch(branch: Branch, values: Values | None = None) -> Iterator[Variant]:
    """The combinations of one branch, in order.

    Args:
        branch: It may use variables from outside only if `values` has them.
        values: See `Values`.
    """
    if sum(node.count for node in branch.nodes) <= _POOLED:
        return _expand_pooled(branch.nodes, values or {})
    return _expand_lazily(branch.nodes, values or {})


def _expand_pooled(nodes: tuple[Node, ...], values: Values) -> Iterator[Variant]:
    """The usual case and the faster way: the nodes' own expansions fit in memory.

    As many of the last nodes as fit in memory together are joined once, not for every combination of those before.
    """
    at, count = len(nodes), 1
    while at and (count := count * nodes[at - 1].count) <= _POOLED:
        at -= 1
    if at == 0 or at == len(nodes):
        yield from _multiplied(nodes, values)
        return
    ends = tuple(_multiplied(nodes[at:], values))
    for beginning, before in _multiplied(nodes[:at], values):
        for end, after in ends:
            yield Variant(beginning + end, before + after)


def _multiplied(nodes: tuple[Node, ...], values: Values) -> Iterator[Variant]:
    for parts in product(*(tuple(_expand_node(node, values)) for node in nodes)):
        yield Variant("".join([text for text, _ in parts]), tuple([choice for _, taken in parts for choice in taken]))


def _expand_lazily(nodes: tuple[Node, ...], values: Values) -> Iterator[Variant]:
    """One generator a node, started again whenever a node before it advances: memory does not grow with the count."""
    last = len(nodes) - 1
    texts = [""] * len(nodes)
    choices: list[tuple[str, ...]] = [()] * len(nodes)
    running = [_expand_node(nodes[0], values)]
    while running:
        depth = len(running) - 1
        step = next(running[-1], None)
        if step is None:
            running.pop()
            continue
        texts[depth], choices[depth] = step
        if depth == last:
            yield Variant("".join(texts), tuple(chain.from_iterable(choices)))
        else:
            running.append(_expand_node(nodes[depth + 1], values))


def _expand_node(node: Node, values: Values) -> Iterator[Variant]:
    match node:
        case Text(text):
            return iter((Variant(text, ()),))
        case Use(slot):
            return iter((Variant(values[slot], ()),))
        case Group(branches):
            return (
                Variant(text, (text, *inner)) for branch in branches for text, inner in expand_branch(branch, values)
            )
        case Several():
            return chain.from_iterable(expand_branch(node.taken(places), values) for places in node.places())
        case Let(slot, value, body):
            return (
                Variant(text, (*decided, *taken))
                for known, decided in expand_branch(value, values)
                for text, taken in expand_branch(body, {**values, slot: known})
            )


def _pick(branch: Branch, index: int, values: Values) -> Variant:
    """`index` read as a number whose digits, last first, are the nodes' own indices."""
    picked: list[Variant] = []
    for node in reversed(branch.nodes):
        index, digit = divmod(index, node.count)
        picked.append(_pick_node(node, digit, values))
    picked.reverse()
    return Variant(
        "".join(variant.text for variant in picked),
        tuple(chain.from_iterable(variant.choices for variant in picked)),
    )


def _pick_node(node: Node, index: int, values: Values) -> Variant:
    match node:
        case Text(text):
            return Variant(text, ())
        case Use(slot):
            return Variant(values[slot], ())
        case Group(branches):
            for branch in branches:
                if index < branch.count:
                    text, inner = _pick(branch, index, values)
                    return Variant(text, (text, *inner))
                index -= branch.count
            raise IndexError("there is no such combination")
        case Several():
            places, index = node.locate(index)
            return _pick(node.taken(places), index, values)
        case Let(slot, value, body):
            first, second = divmod(index, body.count)
            known, decided = _pick(value, first, values)
            text, taken = _pick(body, second, {**values, slot: known})
            return Variant(text, (*decided, *taken))


class _Inked(NamedTuple):
    """Whether some combination is white space only, and whether some is not."""

    blank: bool
    inked: bool


class _Blankness:
    """Choices are independent, so blankness is read off the tree, once for every node that is there many times."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, frozenset[int]], _Inked] = {}

    def of(self, branch: Branch, blank: frozenset[int]) -> _Inked:
        """What a branch can be, where the variables in `blank` came out blank and all others did not."""
        key = id(branch), blank
        if key not in self._known:
            found = [self._of_node(node, blank) for node in branch.nodes]
            self._known[key] = _Inked(all(one.blank for one in found), any(one.inked for one in found))
        return self._known[key]

    def _of_node(self, node: Node, blank: frozenset[int]) -> _Inked:
        match node:
            case Text(text):
                return _Inked(not text.strip(), bool(text.strip()))
            case Use(slot):
                return _Inked(slot in blank, slot not in blank)
            case Group(branches):
                found = [self.of(branch, blank) for branch in branches]
                return _Inked(any(one.blank for one in found), any(one.inked for one in found))
            case Several(branches, least, most):
                found = [self.of(branch, blank) for branch in branches]
                blanks = sum(one.blank for one in found)
                joined = bool(node.separator.strip())
                can = least <= blanks if not joined else least <= min(blanks, 1)
                return _Inked(can or least == 0, any(one.inked for one in found) or (joined and most > 1))
            case Let(slot, value, body):
                decided = self.of(value, blank)
                found = [self.of(body, blank | {slot})] if decided.blank else []
                found += [self.of(body, blank - {slot})] if decided.inked else []
                return _Inked(any(one.blank for one in found), any(one.inked for one in found))
