"""Rows become prompts: choose the column, fill in the template, multiply out the variants, take what was asked for.

In this order: `exclude` leaves out combinations, `per_row` takes some of each row's, `sample` some of all, `limit` the
first of these, and `max_prompts` refuses what is still too much.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .combinations import Variant
from .errors import PromptFileError, PromptOptionError, TooManyPrompts, VariantError
from .grammar import escape
from .resolve import Resolver
from .rules import Excluding, Rules
from .sampling import draw, sample
from .sources import PromptFormat, PromptSource, Row, open_source
from .suggestions import listed, no_column
from .template import PromptTemplate
from .variants import Variants, parse
from .wildcards import open_wildcards

if TYPE_CHECKING:
    from ..storage import S3Options

_PROMPT_NAMES = ("prompt", "text", "caption")
_KEPT = 10_000
"""Prompts that are kept after a check, where no more than these are asked for."""

_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, and where it came from.

    Attributes:
        text: What is sent; white space around it is stripped, never empty.
        line: The first line of its row, or its place in the list; counted from 1.
        choices: The alternatives taken in its variants, in the order in which the groups open.
    """

    text: str
    source: str
    line: int
    row: Mapping[str, Any] = field(hash=False)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSpec:
    """Which prompts a user wants.

    Options that are not described here are those of `core.request.PromptOptions`; see also `template`, `grammar` and
    `rules`. Nothing is kept in memory but the row at hand and, for a sample, its indices; the source is read again each
    time.

    Args:
        source: A path, `s3://bucket/key`, or prompts as a list of strings (a single string is always a path or URI).
        prompt_column: The column with the prompts. By default the only one, else the one called `prompt`, `text` or
            `caption` (in this order, in any case).
        sample: So many prompts, drawn without replacement from all of them, kept in file order. All of them where
            there are not as many. Rows are drawn by how many prompts they have; within a row, weights count.
        wildcards: The folder with the values of `__name__`, a path or `s3://bucket/prefix`: see `wildcards`.
        per_row: So many prompts of each row, drawn at random like a sample. Which ones follows from the row's text and
            `sample_seed` alone: other rows may come and go.
        s3: How to reach S3, for `source` and `wildcards`; by default the AWS chain (environment, profile, role).

    Raises:
        PromptOptionError: A number is below 1, a rule of `exclude` cannot be read, or `wildcards` are given where
            `variants` are off.

    >>> spec = PromptSpec(["a {red|blue} cat", "a dog"])
    >>> spec.count(), [prompt.text for prompt in spec.prompts()]
    (3, ['a red cat', 'a blue cat', 'a dog'])
    >>> [prompt.text for prompt in PromptSpec(["cat", "dog"], template="{{ prompt|title }}, {photo|oil}").prompts()]
    ['Cat, photo', 'Cat, oil', 'Dog, photo', 'Dog, oil']
    """

    source: str | Path | Sequence[str]
    format: PromptFormat | None = None
    prompt_column: str | None = None
    template: str | None = None
    variants: bool = True
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    wildcards: str | Path | None = None
    exclude: Sequence[str] = ()
    per_row: int | None = None
    max_prompts: int | None = None
    s3: S3Options | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "sample", "per_row", "max_prompts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PromptOptionError(name, value, "the number of prompts, 1 or more")
        if isinstance(self.exclude, str):
            raise PromptOptionError("exclude", self.exclude, "a list of rules")
        if self.wildcards is not None and not self.variants:
            raise PromptOptionError("wildcards", str(self.wildcards), "wildcards are variants, and these are off")
        object.__setattr__(self, "exclude", tuple(self.exclude))
        Rules(self.exclude)
        if not isinstance(self.source, str | Path):
            object.__setattr__(self, "source", tuple(self.source))

    @cached_property
    def _known(self) -> dict[str, Any]:
        """What a reading has found out, so that nothing is read a second time for it: `total`, and a few `prompts`."""
        return {}

    def prompts(self) -> Iterator[Prompt]:
        """The prompts in file order, made as they are asked for.

        What can be known without reading rows (the file, its header, the template) is checked by the call itself; what
        is wrong with a row is raised when its turn comes. A row is checked whole: if any combination of its variants
        comes out empty, none of it is yielded.

        Raises:
            PromptFileError: The source, a row or the choice of the column; a prompt that comes out empty.
            TemplateError: The template, as it is or for a row.
            VariantError: A row's variants cannot be read, or name a wildcard or variable that does not exist.
            PromptOptionError: There are more than `max_prompts`; a rule of `exclude` fits nothing, or nothing is left.
        """
        if "prompts" in self._known:
            return iter(self._known["prompts"])
        if self.max_prompts is not None and (count := self.count()) > self.max_prompts:
            raise PromptOptionError("max_prompts", self.max_prompts, f"there are {count:,} prompts; ask for fewer")
        if self.exclude:
            # A mistyped rule shows only when all rows are known, and has to show before the first prompt.
            self.total()
        expander = _Expander(self)
        if self.sample is None:
            chosen = expander.all()
        else:
            chosen = expander.picked(draw(self.total(), self.sample, self.sample_seed), self.sample_seed)
        return islice(chosen, self.limit)

    def checked(self, at_most: int) -> Iterator[Prompt]:
        """The prompts, for a check that goes through all of them: what is wrong with the whole shows at the latest at
        the end, instead of before the first one. So the source is read once, or twice for a sample.

        What it finds out is remembered: `prompts` reads the source once more after it, or not at all where at most
        10,000 are asked for.

        Args:
            at_most: More prompts than this are an error.

        Raises:
            TooManyPrompts: There are more than `at_most`.
            PromptError: What `prompts` raises.
        """
        few = min((n for n in (self.limit, self.sample) if n is not None), default=None)
        if few is not None:
            if few > at_most and (count := self.count()) > at_most:
                raise TooManyPrompts(count)
            yield from self._remembered(self.prompts()) if few <= _KEPT else self.prompts()
            return
        expander = _Expander(self)
        try:
            yield from expander.all(at_most if self.max_prompts is None else min(at_most, self.max_prompts))
        except TooManyPrompts:
            self.prompts()  # raises where it is `max_prompts` that is exceeded
            raise TooManyPrompts(self.count()) from None
        self._known["total"] = expander.offered

    def _remembered(self, prompts: Iterator[Prompt]) -> Iterator[Prompt]:
        kept = []
        for prompt in prompts:
            kept.append(prompt)
            yield prompt
        self._known["prompts"] = kept

    def spread(self, size: int) -> Iterator[Prompt]:
        """At most `size` prompts at equal distances in all there are before `sample` and `limit`: to look at.

        >>> [prompt.text for prompt in PromptSpec(["{0|1|2|3|4|5|6|7|8|9}" * 12]).spread(3)]
        ['000000000000', '333333333333', '666666666666']
        """
        expander, total = _Expander(self), self.total()
        return expander.picked([total * place // size for place in range(size)] if size < total else range(total), None)

    def count(self) -> int:
        """How many prompts `prompts` yields, without enumerating combinations.

        Reads the rows (no more of them than `limit` needs, unless there are rules) and raises what `prompts` would.
        """
        if self.limit is not None and self.sample is None and not self.exclude:
            return _Expander(self).total(enough=self.limit)
        total = self.total()
        return min(n for n in (total, self.sample, self.limit) if n is not None)

    def total(self) -> int:
        """How many prompts there are before `sample` and `limit`; reads all rows and raises what `prompts` would."""
        if "total" not in self._known:
            self._known["total"] = _Expander(self).total()
        return int(self._known["total"])


class _Expander:
    """One reading of a spec."""

    def __init__(self, spec: PromptSpec) -> None:
        self.offered = 0
        self._source: PromptSource = open_source(spec.source, spec.format, spec.s3)
        self._variants = spec.variants
        self._resolver = Resolver(None if spec.wildcards is None else open_wildcards(spec.wildcards, spec.s3))
        self._rules = Rules(spec.exclude)
        self._per_row = spec.per_row
        self._seed = spec.sample_seed
        self._wanted = spec.prompt_column
        self._template = None if spec.template is None else PromptTemplate(spec.template)
        columns = self._source.columns()
        # JSON Lines: every row has its own columns, so that nothing is known before the rows.
        self._column: str | None = None
        self._column_by_row = columns is None
        if columns is not None:
            self._column = self._choose(columns, line=None)
            if self._template is not None:
                self._template.check(columns, has_prompt=self._column is not None)
            self._rules.check_columns(columns)

    def all(self, at_most: int | None = None) -> Iterator[Prompt]:
        """All prompts; `TooManyPrompts` at the row that makes them more than `at_most`."""
        for row, space in self._spaces():
            self.offered += space.count()
            if at_most is not None and self.offered > at_most:
                raise TooManyPrompts(self.offered)
            for variant in space.expand():
                yield self._prompt(row, variant)

    def picked(self, indices: Iterable[int], seed: int | None) -> Iterator[Prompt]:
        """The prompts at these places; with a seed, as many of each row, by their weights."""
        rest = iter(indices)
        index = next(rest, None)
        base = 0
        for row, space in self._spaces():
            end = base + space.count()
            here: list[int] = []
            while index is not None and index < end:
                here.append(index - base)
                index = next(rest, None)
            if here and seed is not None and space.weighted and not isinstance(space, _FixedVariants):
                for variant in sample(space, len(here), f"{seed}/{base}"):
                    yield self._prompt(row, variant)
            else:
                for place in here:
                    yield self._prompt(row, space.pick(place))
            if index is None:
                return
            base = end
        raise PromptFileError(self._source.name, None, "the file changed while it was being read")

    def total(self, enough: int | None = None) -> int:
        """Prompts in all rows; stops reading at `enough`."""
        total = 0
        for _, space in self._spaces():
            total += space.count()
            if enough is not None and total >= enough:
                return enough
        return total

    def _spaces(self) -> Iterator[tuple[Row, Variants | Excluding | _FixedVariants]]:
        """Each row with the prompts that it offers."""
        left = False
        for row in self._source.rows():
            text = self._text(row)
            if text.can_be_blank():
                what = "the prompt is empty"
                if text.source.strip():
                    what = f"a prompt of {text.source.strip()[:80]!r} comes out empty"
                raise self._error(row.line, what)
            space = self._rules.apply(text, row.values) if self._rules else text
            left = left or space.count() > 0
            if self._per_row is not None and space.count() > self._per_row:
                yield row, _FixedVariants(sample(space, self._per_row, f"{self._seed}/{text.source}"))
            else:
                yield row, space
        if self._rules:
            self._rules.check_met()
        if not left:
            raise PromptOptionError("exclude", list(self._rules.written), "the rules leave no prompt at all")

    def _text(self, row: Row) -> Variants:
        """The row's text, with the variants in it."""
        column = self._choose(row.values, line=row.line) if self._column_by_row else self._column
        prompt = None if column is None else self._value(row, column)
        try:
            if self._template is None:
                return parse(prompt or "", self._resolver) if self._variants else parse(escape(prompt or ""))
            rendered = self._template.render(row, prompt, self._source.name)
            return rendered.variants(self._resolver) if self._variants else parse(escape(rendered.plain()))
        except VariantError as error:
            # What is wrong with a wildcard's value knows its own place.
            if error.source is not None:
                raise
            raise error.located(self._source.name, row.line, rendered=self._template is not None) from None

    def _choose(self, columns: Collection[str], line: int | None) -> str | None:
        """The prompt column, or None where a template does without."""
        if self._wanted is not None:
            if self._wanted in columns:
                return self._wanted
            raise self._error(line, no_column(self._wanted, columns))
        if len(columns) == 1:
            return next(iter(columns))
        for name in _PROMPT_NAMES:
            matching = [column for column in columns if column.casefold() == name]
            if len(matching) == 1:
                return matching[0]
        if self._template is not None:
            return None
        raise self._error(
            line,
            f"which column has the prompts? None is called {' or '.join(_PROMPT_NAMES)}; name one of {listed(columns)}",
        )

    def _value(self, row: Row, column: str) -> str | None:
        value = row.values[column]
        if isinstance(value, str):
            return value
        if self._template is not None and self._wanted is None:
            # A guess at what the template may call `prompt`; it can still reach the value by the column's own name.
            return None
        raise self._error(row.line, f"column {column!r} has to be text to be the prompt, not {value!r:.40}")

    def _prompt(self, row: Row, variant: Variant) -> Prompt:
        text = variant.text.strip()
        # JSON can spell both; neither can be sent as UTF-8 nor stored by every database.
        bad = _NO_CHARACTER.search(text)
        if bad is not None:
            raise self._error(
                row.line, f"the prompt contains U+{ord(bad.group()):04X}, which is not a character; remove it"
            )
        return Prompt(text, self._source.name, row.line, row.values, variant.choices)

    def _error(self, line: int | None, problem: str) -> PromptFileError:
        return PromptFileError(self._source.name, line, problem)


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
