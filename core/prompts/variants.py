r"""Variants: one text that stands for several, `a {red|blue} {cat|dog}`.

    text   = { plain | group }
    group  = "{" branch { "|" branch } "}"
    branch = { plain | group }                  may be empty
    plain  = any character but those of a group | "\{" | "\|" | "\}" | "\\"

- Every combination is one prompt; the last group varies fastest.
- Groups nest. A branch may be empty (`{very |}old`). A group of one branch is that branch: `{a}` is `a`.
- `|` outside a group is an ordinary character. A `}` that closes nothing and a `{` that is never closed are errors.
- A backslash is special before `{`, `|`, `}` and `\` only; anywhere else it is itself. So are `$ % # // @ & < >`.

The parser keeps where in the text every node came from, so that what reads the tree can point at it. It is a loop,
not a recursion, and nesting is bounded: no text can exhaust the stack.

>>> [variant.text for variant in parse("a {red|blue} {cat|dog}").expand()]
['a red cat', 'a red dog', 'a blue cat', 'a blue dog']
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).count()
1000000000000
>>> parse("{0|1|2|3|4|5|6|7|8|9}" * 12).pick(123456789012).text
'123456789012'
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, product
from typing import NamedTuple

from .errors import VariantError

__all__ = ["MAX_DEPTH", "Branch", "Group", "Text", "Variant", "Variants", "escape", "parse"]

MAX_DEPTH = 50
"""Groups within groups. People need two or three; walking the tree is recursive, so there has to be an end."""

_POOLED = 10_000
"""Up to so many expansions of single nodes are held in memory while their product is walked."""

_TOKEN = re.compile(r"[^\\{|}]+|\\[\\{|}]|[\\{|}]")
_SPECIAL = re.compile(r"[\\{|}]")


class Variant(NamedTuple):
    """One combination.

    Attributes:
        text: The text that came out, exactly (white space is not touched here).
        choices: The branch taken in every group on the way, as it came out, in the order in which the groups open.
            A group within a branch that was not taken does not appear.
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


@dataclass(frozen=True, slots=True)
class Group:
    """`{…|…}`: exactly one of its branches. `start` is the index of `{`, `end` the one after `}`."""

    branches: tuple[Branch, ...]
    start: int
    end: int
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", sum(branch.count for branch in self.branches))


@dataclass(frozen=True, slots=True)
class Branch:
    """A sequence of nodes: one alternative of a group, or the whole text."""

    nodes: tuple[Text | Group, ...]
    start: int
    end: int
    count: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", math.prod(node.count for node in self.nodes))


@dataclass(frozen=True, slots=True)
class Variants:
    """A parsed text.

    Attributes:
        source: The text as written; the nodes' positions count in it.
        root: The tree.
    """

    source: str
    root: Branch

    def count(self) -> int:
        """The number of combinations, multiplied out of the tree without enumerating any.

        Equal texts that come out of different choices count separately: `{a|a}` is 2.
        """
        return self.root.count

    def expand(self) -> Iterator[Variant]:
        """All combinations, lazily, left to right, the last group varying fastest."""
        return _expand(self.root)

    def pick(self, index: int) -> Variant:
        """The combination that `expand` would yield at `index`, directly.

        Raises:
            IndexError: `index` is not in `range(count())`.
        """
        if not 0 <= index < self.root.count:
            raise IndexError(f"there is no combination {index}")
        return _pick(self.root, index)

    def can_be_blank(self) -> bool:
        """Whether some combination consists of white space only.

        Choices are independent, so this is read off the tree.

        >>> parse("{a|} {b|}").can_be_blank(), parse("{a|} b").can_be_blank()
        (True, False)
        """
        return _can_be_blank(self.root)


class _Open:
    """A group that is being read (or, at the bottom of the stack, the whole text)."""

    __slots__ = ("branches", "nodes", "plain", "plain_start", "since", "start")

    def __init__(self, start: int, since: int) -> None:
        self.start = start
        self.since = since
        self.branches: list[Branch] = []
        self.nodes: list[Text | Group] = []
        self.plain: list[str] = []
        self.plain_start = since

    def add_plain(self, text: str, at: int) -> None:
        if not self.plain:
            self.plain_start = at
        self.plain.append(text)

    def end_plain(self, at: int) -> None:
        if self.plain:
            self.nodes.append(Text("".join(self.plain), self.plain_start, at))
            self.plain = []

    def end_branch(self, at: int) -> None:
        self.end_plain(at)
        self.branches.append(Branch(tuple(self.nodes), self.since, at))
        self.nodes = []
        self.since = at + 1


def parse(text: str) -> Variants:
    r"""Read a text with variants.

    Raises:
        VariantError: A `{` is never closed, a `}` closes nothing, or groups nest deeper than `MAX_DEPTH`.

    >>> parse(r"50% off | \{plain\} C:\temp #sale // $5").pick(0).text
    '50% off | {plain} C:\\temp #sale // $5'
    >>> parse("a {red|blue cat")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    prefect_imagen.core.prompts.errors.VariantError: unclosed '{': ...
    """
    stack = [_Open(start=-1, since=0)]
    for match in _TOKEN.finditer(text):
        token, at = match.group(), match.start()
        here = stack[-1]
        if token == "{":  # noqa: S105 - a brace, not a secret
            if len(stack) > MAX_DEPTH:
                raise VariantError(f"variants nest deeper than {MAX_DEPTH} levels", text, at)
            here.end_plain(at)
            stack.append(_Open(start=at, since=at + 1))
        elif token == "|" and len(stack) > 1:  # noqa: S105
            here.end_branch(at)
        elif token == "}":  # noqa: S105
            if len(stack) == 1:
                raise VariantError(r"'}' without a '{': write '\}' for a plain brace", text, at)
            here.end_branch(at)
            stack.pop()
            stack[-1].nodes.append(Group(tuple(here.branches), here.start, match.end()))
        else:
            here.add_plain(token[-1] if token[0] == "\\" else token, at)
    if len(stack) > 1:
        raise VariantError(r"unclosed '{': add the missing '}', or write '\{' for a plain brace", text, stack[-1].start)
    stack[0].end_branch(len(text))
    return Variants(text, stack[0].branches[0])


def escape(text: str) -> str:
    r"""Spell `text` so that `parse` reads it as exactly itself.

    >>> print(escape(r"{a|b} \o/"))
    \{a\|b\} \\o/
    """
    return _SPECIAL.sub(r"\\\g<0>", text)


def _expand(branch: Branch) -> Iterator[Variant]:
    if sum(node.count for node in branch.nodes) <= _POOLED:
        return _expand_pooled(branch.nodes)
    return _expand_lazily(branch.nodes)


def _expand_pooled(nodes: tuple[Text | Group, ...]) -> Iterator[Variant]:
    """The usual case and the faster way: the nodes' own expansions fit in memory."""
    for parts in product(*(tuple(_expand_node(node)) for node in nodes)):
        yield Variant("".join([text for text, _ in parts]), tuple([choice for _, taken in parts for choice in taken]))


def _expand_lazily(nodes: tuple[Text | Group, ...]) -> Iterator[Variant]:
    """One generator a node, started again whenever a node before it advances: memory does not grow with the count."""
    last = len(nodes) - 1
    texts = [""] * len(nodes)
    choices: list[tuple[str, ...]] = [()] * len(nodes)
    running = [_expand_node(nodes[0])]
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
            running.append(_expand_node(nodes[depth + 1]))


def _expand_node(node: Text | Group) -> Iterator[Variant]:
    if isinstance(node, Text):
        return iter((Variant(node.text, ()),))
    return (Variant(text, (text, *inner)) for branch in node.branches for text, inner in _expand(branch))


def _pick(branch: Branch, index: int) -> Variant:
    """`index` read as a number whose digits, last first, are the nodes' own indices."""
    picked: list[Variant] = []
    for node in reversed(branch.nodes):
        index, digit = divmod(index, node.count)
        picked.append(_pick_node(node, digit))
    picked.reverse()
    return Variant(
        "".join(variant.text for variant in picked),
        tuple(chain.from_iterable(variant.choices for variant in picked)),
    )


def _pick_node(node: Text | Group, index: int) -> Variant:
    if isinstance(node, Text):
        return Variant(node.text, ())
    for branch in node.branches:
        if index < branch.count:
            text, inner = _pick(branch, index)
            return Variant(text, (text, *inner))
        index -= branch.count
    raise IndexError("there is no such combination")


def _can_be_blank(branch: Branch) -> bool:
    return all(
        not node.text.strip() if isinstance(node, Text) else any(map(_can_be_blank, node.branches))
        for node in branch.nodes
    )
