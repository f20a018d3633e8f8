"""From syntax to variants: wildcards become their values, variables what they were set to.

Variables
    `${hue={red|blue}}` sets one for everything after it in the same text, alternative or value, and in the values of
    wildcards named there. The value itself sees the variables set before it. Without `!` it is a name for a piece of
    text: each use decides its choices anew. With `=!` the choices are decided where it is set.

Wildcards
    A wildcard's values are read as alternatives are: with weights, choices, wildcards and variables of their own. A
    choice that takes several and consists of a single wildcard (`{2$$__fruit__}`) takes several of its values.

Strictness
    An unknown name is an error, and so is a wildcard that leads back to itself, a variable that is decided once in
    several ways and never used (each prompt would be bought as often), a choice that takes more alternatives than
    there are. Sizes are bounded: names that double each other cannot fill the memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from .errors import VariantError
from .grammar import Alternative, Assignment, Choice, Concat, Part, Pick, Plain, Reference, WildcardUse
from .suggestions import listed, nearest
from .tree import Branch, Group, Let, Node, Several, Text, Use
from .wildcards import Wildcards, WildcardValue

MAX_LENGTH = 1_000_000
"""Characters of one combination, where variables or wildcards make it longer than the text that names them."""

MAX_STEPS = 1_000_000
"""Nodes on the way to one combination, and nodes made for one text."""

MAX_RESOLVED_DEPTH = 200
"""Levels of the tree when wildcards and variables are in their places; a choice takes two."""

MAX_PICK = 200_000
"""Alternatives times how many of them a choice takes; with every order, times that number again."""

_slots = itertools.count()


@dataclass(slots=True)
class _Variable:
    """What a name means: a branch to be decided in each use, or the `Let` that has decided it."""

    value: Branch
    slot: int | None = None
    used: bool = False


_Scope = Mapping[str, _Variable]


@dataclass(frozen=True, slots=True)
class _Place:
    """The text that positions count in."""

    text: str
    value: WildcardValue | None = None

    def error(self, problem: str, at: int) -> VariantError:
        error = VariantError(problem, self.text, max(0, min(at, len(self.text) - 1)))
        return error if self.value is None else self.value.located(error)


class Resolver:
    """Makes trees of variants of syntax trees. It keeps what a wildcard comes to without variables."""

    def __init__(self, wildcards: Wildcards | None = None) -> None:
        self.wildcards = wildcards
        self.spaced = frozenset[str]() if wildcards is None else wildcards.spaced
        self.known: dict[tuple[str, Pick | None], Node] = {}

    def resolve(self, text: str, syntax: Concat) -> Branch:
        """The tree of variants that a syntax tree stands for."""
        return _Resolution(self).concat(syntax, {}, _Place(text))


class _Resolution:
    """The resolution of one text."""

    def __init__(self, resolver: Resolver) -> None:
        self._wildcards = resolver.wildcards
        self._known = resolver.known
        self._open: list[str] = []
        self._depth = 0
        self._made = 0
        self._looked_up = 0

    def concat(self, concat: Concat, scope: _Scope, place: _Place) -> Branch:
        return self._parts(concat.parts, scope, place, concat.start, concat.end)

    def _parts(self, parts: tuple[Part, ...], scope: _Scope, place: _Place, start: int, end: int) -> Branch:
        self._depth += 1
        if self._depth > MAX_RESOLVED_DEPTH // 2:
            raise place.error("choices, wildcards and variables lead too deeply into each other", start)
        nodes: list[Node] = []
        for number, part in enumerate(parts, start=1):
            match part:
                case Plain(text):
                    nodes.append(Text(text, part.start, part.end))
                case Choice():
                    nodes.append(self._choice(part, scope, place))
                case WildcardUse():
                    nodes.append(self._wildcard(part, None, scope, place))
                case Reference():
                    nodes.extend(self._reference(part, scope, place))
                case Assignment(name, content, immediate):
                    if part.unless_set and name in scope:
                        continue
                    variable = _Variable(self.concat(content, scope, place))
                    scope = {**scope, name: variable}
                    if immediate:
                        variable.slot = next(_slots)
                        body = self._parts(parts[number:], scope, place, part.end, end)
                        nodes.append(self._let(name, variable, body, place, part.start, end))
                        break
        self._made += len(nodes)
        branch = Branch(tuple(nodes), start, end)
        self._check(branch, place, start)
        self._depth -= 1
        return branch

    def _choice(self, choice: Choice, scope: _Scope, place: _Place) -> Node:
        alternatives, pick = choice.alternatives, choice.pick
        if pick is not None and len(alternatives) == 1 and alternatives[0].weight is None:
            parts = alternatives[0].content.parts
            if len(parts) == 1 and isinstance(parts[0], WildcardUse):
                return self._wildcard(parts[0], choice, scope, place)
        branches = tuple(self.concat(one.content, scope, place) for one in alternatives)
        return self._group(branches, _weights(alternatives), pick, place, choice.start, choice.end)

    def _group(
        self,
        branches: tuple[Branch, ...],
        weights: tuple[float, ...] | None,
        pick: Pick | None,
        place: _Place,
        start: int,
        end: int,
    ) -> Node:
        if pick is None:
            return Group(branches, start, end, weights)
        there = len(branches)
        if pick.least > there:
            raise place.error(f"{pick.least} alternatives are asked for and there are {there}", start)
        most = there if pick.most is None else min(pick.most, there)
        if there * most * (most if pick.permute else 1) > MAX_PICK:
            raise place.error(f"taking up to {most} of {there} alternatives is more than can be counted", start)
        return Several(branches, pick.least, most, pick.separator, pick.permute, start, end, weights)

    def _wildcard(self, use: WildcardUse, choice: Choice | None, scope: _Scope, place: _Place) -> Node:
        """A wildcard, or the `choice` that takes several values of it."""
        inner = dict(scope)
        arguments = {one.name: _Variable(self.concat(one.value, scope, place)) for one in use.arguments}
        for one in use.arguments:
            if one.immediate:
                arguments[one.name].slot = next(_slots)
        inner.update(arguments)
        around = use if choice is None else choice
        node = self._values(use, None if choice is None else choice.pick, inner, place, around.start, around.end)
        for name, variable in reversed(arguments.items()):
            if variable.slot is not None:
                body = Branch((node,), around.start, around.end)
                node = self._let(name, variable, body, place, around.start, around.end)
        return node

    def _let(self, name: str, variable: _Variable, body: Branch, place: _Place, start: int, end: int) -> Let:
        assert variable.slot is not None  # noqa: S101 - for the type checker
        if not variable.used and variable.value.count > 1:
            raise place.error(
                f"the variable {name!r} comes out in {variable.value.count:,} ways and is never used: every prompt "
                "would be bought that often",
                start,
            )
        return Let(variable.slot, variable.value, body, start, end)

    def _values(self, use: WildcardUse, pick: Pick | None, scope: _Scope, place: _Place, start: int, end: int) -> Node:
        if self._wildcards is None:
            raise place.error(
                f"{use.name!r} is a wildcard and no wildcards are given: name their folder (wildcards=…), or write "
                r"'\__' for plain underscores",
                use.start,
            )
        known = self._known.get((use.name, pick))
        if known is not None:
            return known
        names = self._wildcards.find(use.name)
        if not names:
            self._unknown(self._wildcards, use, place)
        again = next((name for name in names if name in self._open), None)
        if again is not None:
            circle = " → ".join([*self._open[self._open.index(again) :], again])
            raise place.error(f"wildcards lead back to themselves: {circle}", use.start)
        looked_up = self._looked_up
        values = self._wildcards.values(names)
        alternatives: list[Alternative] = []
        branches: list[Branch] = []
        for name, value in values:
            self._open.append(name)
            alternatives.append(value.read(self._wildcards.spaced))
            branches.append(self.concat(alternatives[-1].content, scope, _Place(value.text, value)))
            self._open.pop()
        node = self._group(tuple(branches), _weights(alternatives), pick, place, start, end)
        if self._looked_up == looked_up:
            self._known[use.name, pick] = node
        return node

    def _unknown(self, wildcards: Wildcards, use: WildcardUse, place: _Place) -> NoReturn:
        if "*" in use.name:
            problem = f"no wildcard's name fits {use.name!r}; there are {listed(wildcards.names)}"
        else:
            close = nearest(use.name, wildcards.names)
            hint = f"did you mean {listed(close)}?" if close else f"there are {listed(wildcards.names)}."
            problem = rf"there is no wildcard {use.name!r}; {hint} Write '\__' for plain underscores"
        unread = f"; not read: {wildcards.unread[0]}" if wildcards.unread else ""
        raise place.error(f"{problem} (wildcards of {wildcards.name}{unread})", use.start)

    def _reference(self, reference: Reference, scope: _Scope, place: _Place) -> Iterable[Node]:
        self._looked_up += 1
        variable = scope.get(reference.name)
        if variable is None:
            if reference.default is None:
                close = nearest(reference.name, scope)
                hint = f"did you mean {listed(close)}?" if close else f"set it first: ${{{reference.name}=…}}."
                raise place.error(
                    f"there is no variable {reference.name!r} here; {hint} Write '$\\{{' for plain text",
                    reference.start,
                )
            return self.concat(reference.default, scope, place).nodes
        variable.used = True
        if variable.slot is None:
            return variable.value.nodes
        return (Use(variable.slot, variable.value.size.longest, reference.start, reference.end),)

    def _check(self, branch: Branch, place: _Place, at: int) -> None:
        _, longest, steps, depth = branch.size
        if longest > max(MAX_LENGTH, len(place.text)):
            raise place.error(f"this comes out longer than {MAX_LENGTH:,} characters", at)
        if steps > MAX_STEPS or self._made > MAX_STEPS:
            raise place.error(f"this has more than {MAX_STEPS:,} parts", at)
        if depth > MAX_RESOLVED_DEPTH:
            raise place.error("choices, wildcards and variables lead too deeply into each other", at)


def _weights(alternatives: Iterable[Alternative]) -> tuple[float, ...] | None:
    """The weights written, 1 where none is; None where none is written at all."""
    written = [one.weight for one in alternatives]
    if all(weight is None for weight in written):
        return None
    return tuple(1.0 if weight is None else float(weight) for weight in written)
