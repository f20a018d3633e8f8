"""The combinations of a tree of variants: all of them in order, any one by its index, and whether one can be blank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import NamedTuple

from .tree import Branch, Group, Let, Node, Several, Text, Use
from .visible import is_blank

_POOLED = 10_000
"""Up to so many expansions of single nodes are held in memory while their product is walked."""

_POOLED_CHARACTERS = 2_000_000
"""And up to so many characters of them."""

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


def expand_branch(branch: Branch, values: Values | None = None) -> Iterator[Variant]:
    """The combinations of one branch, in order.

    Args:
        branch: It may use variables from outside only if `values` has them.
    """
    if sum(node.count for node in branch.nodes) <= _POOLED and (
        sum(node.count * node.size.longest for node in branch.nodes) <= _POOLED_CHARACTERS
    ):
        return _expand_pooled(branch.nodes, values or {})
    return _expand_lazily(branch.nodes, values or {})


def _expand_pooled(nodes: tuple[Node, ...], values: Values) -> Iterator[Variant]:
    """The usual case and the faster way: the nodes' own expansions fit in memory.

    As many of the last nodes as fit in memory together are joined once, not for every combination of those before.
    """
    at, count, length = len(nodes), 1, 0
    while at:
        count, length = count * nodes[at - 1].count, length + nodes[at - 1].size.longest
        if count > _POOLED or count * length > _POOLED_CHARACTERS:
            break
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


def pick_branch(branch: Branch, index: int, values: Values) -> Variant:
    """The combination at `index`, read as a number whose digits, last first, are the nodes' own indices."""
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
                    text, inner = pick_branch(branch, index, values)
                    return Variant(text, (text, *inner))
                index -= branch.count
            raise IndexError("there is no such combination")
        case Several():
            places, index = node.locate(index)
            return pick_branch(node.taken(places), index, values)
        case Let(slot, value, body):
            first, second = divmod(index, body.count)
            known, decided = pick_branch(value, first, values)
            text, taken = pick_branch(body, second, {**values, slot: known})
            return Variant(text, (*decided, *taken))


class _Inked(NamedTuple):
    """Whether some combination is white space only, and whether some is not."""

    blank: bool
    inked: bool


class Blankness:
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
                return _Inked(is_blank(text), not is_blank(text))
            case Use(slot):
                return _Inked(slot in blank, slot not in blank)
            case Group(branches):
                found = [self.of(branch, blank) for branch in branches]
                return _Inked(any(one.blank for one in found), any(one.inked for one in found))
            case Several(branches, least, most):
                found = [self.of(branch, blank) for branch in branches]
                blanks = sum(one.blank for one in found)
                joined = not is_blank(node.separator)
                can = least <= blanks if not joined else least <= min(blanks, 1)
                return _Inked(can or least == 0, any(one.inked for one in found) or (joined and most > 1))
            case Let(slot, value, body):
                decided = self.of(value, blank)
                found = [self.of(body, blank | {slot})] if decided.blank else []
                found += [self.of(body, blank - {slot})] if decided.inked else []
                return _Inked(any(one.blank for one in found), any(one.inked for one in found))
