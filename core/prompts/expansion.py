"""Rows become prompts, in the process that `confined` starts: fill in the template, multiply out the variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, starmap
from typing import Any, NamedTuple

from .channel import Channel, Limits
from .combinations import Variant
from .errors import PromptError, PromptFileError, PromptOptionError, TooManyPrompts, VariantError
from .grammar import escape
from .resolve import Resolver
from .rules import Excluding, Rules
from .sampling import sample
from .sources import Row
from .template import PromptTemplate
from .variants import Variants, parse
from .visible import is_blank, no_text
from .wildcards import read_wildcards


class Expand(NamedTuple):
    """What to make of rows.

    Attributes:
        source: What messages call their file.
        columns: Those that every row has, if that is known.
        wildcards: What messages call the folder of wildcards; the files are asked for.
    """

    source: str
    columns: tuple[str, ...] | None
    has_prompt: bool
    variants: bool
    template: str | None
    exclude: tuple[str, ...]
    wildcards: str | None
    per_row: int | None
    seed: int
    keep_going: bool = False
    """Whether a row that cannot be read is given as `Bad`, and the others go on."""


class Given(NamedTuple):
    """A row.

    Attributes:
        prompt: The text of its prompt column, where there is one.
        values: All of its columns, where a template or a rule may look at them.
    """

    number: int
    line: int
    prompt: str | None
    values: Mapping[str, Any]


class Made(NamedTuple):
    """A prompt, of the row with this number."""

    number: int
    text: str
    choices: tuple[str, ...]


class Bad(NamedTuple):
    """A row of which nothing can be made."""

    line: int
    problem: str


class All(NamedTuple):
    """All prompts; `TooManyPrompts` at the row that makes them more than `at_most`."""

    at_most: int | None
    limit: int | None
    before: int
    """Prompts of the rows that came before these."""


class Picked(NamedTuple):
    """The prompts at places that are asked for; with a seed, as many of each row, by their weights."""

    seed: int | None
    before: int


class Count(NamedTuple):
    """How many prompts there are; it may stop at `enough`."""

    enough: int | None


def expand(asked: Expand, channel: Channel, limits: Limits) -> int:
    """Do what is asked for.

    Returns:
        The number of prompts that the rows offer.
    """
    limits.memory()
    expansion = _Expansion(asked, channel, limits)
    channel.ready()
    match channel.order():
        case All(at_most, limit, before):
            return expansion.all(at_most, limit, before)
        case Picked(seed, before):
            return expansion.picked(seed, before)
        case Count(enough):
            return expansion.count(enough)
        case other:
            raise ValueError(f"there is no such operation: {other!r:.80}")


class _Expansion:
    def __init__(self, asked: Expand, channel: Channel, limits: Limits) -> None:
        self._asked = asked
        self._channel = channel
        self._limits = limits
        wildcards = None
        if asked.wildcards is not None:
            wildcards = read_wildcards(asked.wildcards, channel.each("files"))
        self._resolver = Resolver(wildcards)
        self._rules = Rules(asked.exclude)
        self._template = None if asked.template is None else PromptTemplate(asked.template)
        if self._template is not None:
            self._template.check(asked.columns, has_prompt=asked.has_prompt)

    def all(self, at_most: int | None, limit: int | None, before: int) -> int:
        offered = 0
        left = limit
        for row, space in self._spaces():
            offered += space.count()
            if at_most is not None and before + offered > at_most:
                raise TooManyPrompts(before + offered)
            for variant in islice(space.expand(), left):
                self._give(row, variant)
                if left is not None:
                    left -= 1
            if left == 0:
                return offered
        return offered

    def picked(self, seed: int | None, before: int) -> int:
        rest = self._channel.each("indices")
        index = next(rest, None)
        base = before
        for row, space in self._spaces():
            end = base + space.count()
            here: list[int] = []
            while index is not None and index < end:
                here.append(index - base)
                index = next(rest, None)
            if here and seed is not None and space.weighted and not isinstance(space, _FixedVariants):
                for variant in sample(space, len(here), f"{seed}/{base}"):
                    self._give(row, variant)
            else:
                for place in here:
                    self._give(row, space.pick(place))
            base = end
            if index is None:
                return base
        raise PromptFileError(self._asked.source, None, "the file changed while it was being read")

    def count(self, enough: int | None) -> int:
        total = 0
        for _, space in self._spaces():
            total += space.count()
            if enough is not None and total >= enough:
                return enough
        return total

    def _give(self, row: Given, variant: Variant) -> None:
        size = 100 + len(variant.text) + sum(map(len, variant.choices))
        # A plain tuple: the class of each would travel with it.
        if self._channel.give((row.number, variant.text, variant.choices), size):
            self._limits.more(self._channel.given)

    def _spaces(self) -> Iterator[tuple[Given, Variants | Excluding | _FixedVariants]]:
        """Each row with the prompts that it offers."""
        left = False
        for row in starmap(Given, self._channel.each("rows")):
            self._limits.at(row.line)
            if self._rules and self._rules.leave_out(row.values):
                continue
            try:
                text = self._checked_text(row)
            except PromptError as error:
                if not self._asked.keep_going:
                    raise
                self._channel.give(Bad(row.line, str(error)), len(str(error)))
                continue
            space = self._rules.apply(text, row.values) if self._rules else text
            left = left or space.count() > 0
            per_row = self._asked.per_row
            if per_row is not None and space.count() > per_row:
                yield row, _FixedVariants(sample(space, per_row, f"{self._asked.seed}/{text.source}"))
            else:
                yield row, space
        if self._rules:
            # Also where no row is left: a rule that is mistyped is the better explanation.
            self._rules.check_met()
        if self._rules and not left:
            raise PromptOptionError("exclude", list(self._rules.written), "the rules leave no prompt at all")

    def _checked_text(self, row: Given) -> Variants:
        text = self._text(row)
        if text.can_be_blank():
            what = "the prompt is empty"
            if not is_blank(text.source):
                what = f"a prompt of {text.source.strip()[:80]!r} comes out empty"
            raise PromptFileError(self._asked.source, row.line, what)
        if (problem := no_text(text.source)) is not None:
            raise PromptFileError(self._asked.source, row.line, problem)
        return text

    def _text(self, row: Given) -> Variants:
        """The row's text, with the variants in it."""
        source = self._asked.source
        try:
            if self._template is None:
                text = row.prompt or ""
                return parse(text, self._resolver) if self._asked.variants else parse(escape(text))
            rendered = self._template.render(Row(row.line, row.values), row.prompt, source)
            return rendered.variants(self._resolver) if self._asked.variants else parse(escape(rendered.plain()))
        except VariantError as error:
            # What is wrong with a wildcard's value knows its own place.
            if error.source is not None:
                raise
            raise error.located(source, row.line, rendered=self._template is not None) from None


class _FixedVariants:
    """Some combinations of a row, chosen already."""

    weighted = False

    def __init__(self, chosen: Sequence[Variant]) -> None:
        self._chosen = chosen

    def count(self) -> int:
        return len(self._chosen)

    def expand(self) -> Iterator[Variant]:
        return iter(self._chosen)

    def pick(self, index: int) -> Variant:
        return self._chosen[index]
