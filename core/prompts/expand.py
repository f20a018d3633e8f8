"""Rows become prompts: choose the column, fill in the template, multiply out the variants, take what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from . import variants
from .errors import PromptFileError, PromptOptionError, VariantError
from .names import listed, nearest
from .sampling import draw
from .sources import PromptFormat, PromptSource, Row, open_source
from .template import PromptTemplate

__all__ = ["Prompt", "PromptSpec"]

_PROMPT_NAMES = ("prompt", "text", "caption")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, and where it came from.

    Attributes:
        text: What is sent; white space around it is stripped, never empty.
        source: The file as the user named it, or `<list>`.
        line: The first line of its row, or its place in the list; counted from 1.
        row: The row's columns.
        choices: The alternatives taken in its variants, in the order in which the groups open.
    """

    text: str
    source: str
    line: int
    row: Mapping[str, Any] = field(hash=False)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """Which prompts a user wants.

    Nothing is kept in memory but the row at hand and, for a sample, its indices; the source is read again each time.

    Args:
        source: A path, or prompts as a list of strings (a single string is always a path).
        format: How to read the file; by default what its extension says.
        prompt_column: The column with the prompts. By default the only one, else the one called `prompt`, `text` or
            `caption` (in this order, in any case).
        template: A Jinja template over the row's columns; needs no prompt column. See `template`.
        variants: Whether `{a|b}` is multiplied out: in the prompt column's text, or in the template's output.
        limit: Only the first so many prompts; applied last, so also to a sample.
        sample: So many prompts, drawn without replacement from all of them, kept in file order. All of them where
            there are not as many.
        sample_seed: Another seed, another sample; the same seed on the same file, the same sample.

    Raises:
        PromptOptionError: `limit` or `sample` is below 1.

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

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            if value is not None and value < 1:
                raise PromptOptionError(name, value, "the number of prompts, 1 or more")
        if not isinstance(self.source, str | Path):
            object.__setattr__(self, "source", tuple(self.source))

    def prompts(self) -> Iterator[Prompt]:
        """The prompts in file order, made as they are asked for.

        What can be known without reading rows (the file, its header, the template) is checked by the call itself; what
        is wrong with a row is raised when its turn comes. A row is checked whole: if any combination of its variants
        comes out empty, none of it is yielded.

        Raises:
            PromptFileError: The source, a row or the choice of the column; a prompt that comes out empty.
            TemplateError: The template, as it is or for a row.
            VariantError: A row's variants cannot be read.
        """
        expander = _Expander(self)
        chosen = expander.all() if self.sample is None else expander.sampled(self.sample, self.sample_seed)
        return islice(chosen, self.limit)

    def count(self) -> int:
        """How many prompts `prompts` yields, without enumerating combinations.

        Reads the rows (no more of them than `limit` needs) and raises what `prompts` would.
        """
        if self.limit is not None and self.sample is None:
            return _Expander(self).total(enough=self.limit)
        total = self.total()
        return min(n for n in (total, self.sample, self.limit) if n is not None)

    def total(self) -> int:
        """How many prompts there are before `sample` and `limit`; reads all rows and raises what `prompts` would."""
        return _Expander(self).total()


class _Expander:
    """One reading of a spec."""

    def __init__(self, spec: PromptSpec) -> None:
        self._source: PromptSource = open_source(spec.source, spec.format)
        self._variants = spec.variants
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

    def all(self) -> Iterator[Prompt]:
        for row, text in self._texts():
            for variant in text.expand():
                yield self._prompt(row, variant)

    def sampled(self, size: int, seed: int) -> Iterator[Prompt]:
        """Two readings: one to count, one to pick."""
        indices = iter(draw(self.total(), size, seed))
        index = next(indices, None)
        base = 0
        for row, text in self._texts():
            end = base + text.count()
            while index is not None and index < end:
                yield self._prompt(row, text.pick(index - base))
                index = next(indices, None)
            if index is None:
                return
            base = end
        raise PromptFileError(self._source.name, None, "the file changed while it was being read")

    def total(self, enough: int | None = None) -> int:
        """Prompts in all rows; stops reading at `enough`."""
        total = 0
        for _, text in self._texts():
            total += text.count()
            if enough is not None and total >= enough:
                return enough
        return total

    def _texts(self) -> Iterator[tuple[Row, variants.Variants]]:
        for row in self._source.rows():
            text = self._text(row)
            if text.can_be_blank():
                what = "the prompt is empty"
                if text.source.strip():
                    what = f"a prompt of {text.source.strip()[:80]!r} comes out empty"
                raise self._error(row.line, what)
            yield row, text

    def _text(self, row: Row) -> variants.Variants:
        """The row's text, with the variants in it."""
        column = self._choose(row.values, line=row.line) if self._column_by_row else self._column
        prompt = None if column is None else self._value(row, column)
        if self._template is None:
            source = prompt or ""
            if not self._variants:
                source = variants.escape(source)
        else:
            rendered = self._template.render(row, prompt, self._source.name)
            source = rendered.variant_source() if self._variants else variants.escape(rendered.plain())
        try:
            return variants.parse(source)
        except VariantError as error:
            raise error.located(self._source.name, row.line, rendered=self._template is not None) from None

    def _choose(self, columns: Collection[str], line: int | None) -> str | None:
        """The prompt column, or None where a template does without."""
        if self._wanted is not None:
            if self._wanted in columns:
                return self._wanted
            close = nearest(self._wanted, columns)
            hint = f"; did you mean {listed(close)}?" if close else "."
            raise self._error(line, f"there is no column {self._wanted!r}{hint} The columns are {listed(columns)}")
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

    def _prompt(self, row: Row, variant: variants.Variant) -> Prompt:
        text = variant.text.strip()
        # JSON can spell both; neither can be sent as UTF-8 nor stored by every database.
        bad = next((char for char in text if char == "\0" or "\ud800" <= char <= "\udfff"), None)
        if bad is not None:
            raise self._error(row.line, f"the prompt contains U+{ord(bad):04X}, which is not a character; remove it")
        return Prompt(text, self._source.name, row.line, row.values, variant.choices)

    def _error(self, line: int | None, problem: str) -> PromptFileError:
        return PromptFileError(self._source.name, line, problem)
