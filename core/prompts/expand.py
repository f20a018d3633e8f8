"""Rows become prompts: choose the column, fill in the template, multiply out the variants, take what was asked for.

In this order: `exclude` leaves out combinations, `per_row` takes some of each row's, `sample` some of all, `limit` the
first of these, and `max_prompts` refuses what is still too much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .confined import Confined
from .errors import PromptFileError, PromptOptionError, TooManyPrompts
from .expansion import All, Bad, Count, Expand, Given, Made, Picked
from .folders import PictureSource, is_pictures
from .grammar import is_plain
from .rules import Rules
from .sampling import draw
from .sources import PromptFormat, PromptSource, Row, open_source
from .suggestions import listed, no_column, shortened
from .visible import is_blank, no_text
from .wildcards import wildcard_files

if TYPE_CHECKING:
    from ..storage import S3Options

_PROMPT_NAMES = ("prompt", "text", "caption")
_KEPT = 10_000
"""Prompts that are kept after a check, where no more than these are asked for."""

_LONGEST_NAME = 40
"""Characters of a column's name that nobody takes for a prompt."""

_FIRST_ROWS = 16
"""Rows that a confined process is given first, since often only the first prompt is wanted; and then `_ROWS`."""

_ROWS = 256
_ROWS_SIZE = 1_000_000
_ROW_SIZE = 100
_INDICES = 10_000


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
        source: A path, `s3://bucket/key`, prompts as a list of strings (a single string is always a path or URI), or a
            source of rows.
        prompt_column: The column with the prompts. By default the only one, else the one called `prompt`, `text` or
            `caption` (in this order, in any case).
        sample: So many prompts, drawn without replacement from all of them, kept in file order. All of them where
            there are not as many. Rows are drawn by how many prompts they have; within a row, weights count.
        wildcards: The folder with the values of `__name__`, a path or `s3://bucket/prefix`: see `wildcards`.
        per_row: So many prompts of each row, drawn at random like a sample. Which ones follows from the row's text and
            `sample_seed` alone: other rows may come and go.
        keep_going: Whether a row of which nothing can be made is left out; `unreadable` has it then.
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

    source: str | Path | Sequence[str] | PromptSource
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
    keep_going: bool = False

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
        if not isinstance(self.source, str | Path | PromptSource):
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
        if self.sample is None:
            return _Reading(self).all(limit=self.limit)
        chosen = draw(self.total(), self.sample, self.sample_seed)
        return islice(_Reading(self).picked(chosen, self.sample_seed), self.limit)

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
        reading = _Reading(self)
        try:
            yield from reading.all(at_most if self.max_prompts is None else min(at_most, self.max_prompts))
        except TooManyPrompts:
            self.prompts()  # raises where it is `max_prompts` that is exceeded
            raise TooManyPrompts(self.count()) from None
        self._known["total"] = reading.offered

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
        reading, total = _Reading(self), self.total()
        return reading.picked([total * place // size for place in range(size)] if size < total else range(total), None)

    @property
    def column(self) -> str | None:
        """The column that the last reading took prompts from, if every row has it."""
        return self._known.get("column")

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that the last reading found in every row; None where each row has its own."""
        return self._known.get("columns")

    @property
    def unreadable(self) -> dict[int, str]:
        """Line → problem, of the rows that readings so far have left out (`keep_going`)."""
        found: dict[int, str] = self._known.setdefault("unreadable", {})
        return found

    def count(self) -> int:
        """How many prompts `prompts` yields, without enumerating combinations.

        Reads the rows (no more of them than `limit` needs, unless there are rules) and raises what `prompts` would.
        """
        if self.limit is not None and self.sample is None and not self.exclude:
            return _Reading(self).total(enough=self.limit)
        total = self.total()
        return min(n for n in (total, self.sample, self.limit) if n is not None)

    def total(self) -> int:
        """How many prompts there are before `sample` and `limit`; reads all rows and raises what `prompts` would."""
        if "total" not in self._known:
            self._known["total"] = _Reading(self).total()
        return int(self._known["total"])


def _open(spec: PromptSpec) -> PromptSource:
    if spec.format is None and is_pictures(spec.source):
        return PictureSource(str(spec.source), spec.s3)
    return open_source(spec.source, spec.format, spec.s3)


class _Reading:
    """One reading of a spec. Rows in which nothing has a meaning are prompts as they are; from the first other row on,
    or at once where there is a template, a rule or a folder of wildcards, rows go to a confined process."""

    def __init__(self, spec: PromptSpec) -> None:
        self.offered = 0
        self._spec = spec
        self._source: PromptSource = _open(spec)
        columns = self._source.columns()
        # JSON Lines: every row has its own columns, so that nothing is known before the rows.
        self._column: str | None = None
        self._column_by_row = columns is None
        spec._known["columns"] = columns
        if columns is not None:
            self._column = spec._known["column"] = self._choose(columns, line=None)
            Rules(spec.exclude).check_columns(columns)
        self._values_matter = spec.template is not None or bool(spec.exclude)
        self._first: tuple[Given, Row] | None = None
        files = iter(()) if spec.wildcards is None else wildcard_files(spec.wildcards, spec.s3)
        self._pump = _Pump(files)
        self._confined: Confined | None = None
        if self._values_matter or spec.wildcards is not None:
            self._confined = self._begin(columns)

    def all(self, at_most: int | None = None, limit: int | None = None) -> Iterator[Prompt]:
        """All prompts; `TooManyPrompts` at the row that makes them more than `at_most`."""
        rows = self._numbered()
        for given, row in self._plain(rows):
            self.offered += 1
            if at_most is not None and self.offered > at_most:
                raise TooManyPrompts(self.offered)
            yield self._prompt(row, Made(given.number, given.prompt or "", ()))
            if self.offered == limit:
                return
        if self._confined is not None:
            yield from self._run(rows, All(at_most, None if limit is None else limit - self.offered, self.offered))

    def picked(self, indices: Iterable[int], seed: int | None) -> Iterator[Prompt]:
        """The prompts at these places; with a seed, as many of each row, by their weights."""
        rest = iter(indices)
        index = next(rest, None)
        rows = self._numbered()
        for given, row in self._plain(rows):
            if self.offered == index:
                yield self._prompt(row, Made(given.number, given.prompt or "", ()))
                index = next(rest, None)
            self.offered += 1
            if index is None:
                return
        if index is None:
            return
        if self._confined is None:
            raise self._error(None, "the file changed while it was being read")
        yield from self._run(rows, Picked(seed, self.offered), chain((index,), rest))

    def total(self, enough: int | None = None) -> int:
        """Prompts in all rows; stops reading at `enough`."""
        rows = self._numbered()
        for _ in self._plain(rows):
            self.offered += 1
            if self.offered == enough:
                return enough
        if self._confined is not None:
            for _ in self._run(rows, Count(None if enough is None else enough - self.offered)):
                pass
        return self.offered

    def _numbered(self) -> Iterator[tuple[Given, Row]]:
        """Each row as the process is given it, and as it is."""
        for number, row in enumerate(self._source.rows()):
            column = self._choose(row.values, line=row.line) if self._column_by_row else self._column
            prompt = None if column is None else self._value(row, column)
            yield Given(number, row.line, prompt, row.values if self._values_matter else {}), row

    def _plain(self, rows: Iterator[tuple[Given, Row]]) -> Iterator[tuple[Given, Row]]:
        """The rows before the first that needs the process, which is then put back in front."""
        if self._confined is not None:
            return
        for given, row in rows:
            text = (given.prompt or "").strip()
            if self._spec.variants and not is_plain(text):
                self._confined = self._begin(None)
                self._first = given, row
                return
            problem = "the prompt is empty" if is_blank(text) else no_text(text)
            if problem is not None:
                error = self._error(row.line, problem)
                if not self._spec.keep_going:
                    raise error
                self._spec.unreadable[row.line] = str(error)
                continue
            yield given, row

    def _begin(self, columns: tuple[str, ...] | None) -> Confined:
        spec = self._spec
        asked = Expand(
            source=self._source.name,
            columns=columns,
            has_prompt=self._column is not None,
            variants=spec.variants,
            template=spec.template,
            exclude=tuple(spec.exclude),
            wildcards=None if spec.wildcards is None else str(spec.wildcards),
            per_row=spec.per_row,
            seed=spec.sample_seed,
            keep_going=spec.keep_going,
        )
        return Confined(self._source.name, ("expand", asked), self._pump.answers)

    def _run(
        self, rows: Iterator[tuple[Given, Row]], operation: All | Picked | Count, indices: Iterable[int] = ()
    ) -> Iterator[Prompt]:
        assert self._confined is not None  # noqa: S101 - for the type checker
        self._pump.rows = rows if self._first is None else chain((self._first,), rows)
        self._pump.indices = iter(indices)
        for made in self._confined.run(operation):
            if isinstance(made, Bad):
                self._spec.unreadable[made.line] = made.problem
                continue
            found = Made(*made)
            yield self._prompt(self._pump.row(found.number), found)
        self.offered += self._confined.result

    def _choose(self, columns: Collection[str], line: int | None) -> str | None:
        """The prompt column, or None where a template does without."""
        if self._spec.prompt_column is not None:
            if self._spec.prompt_column in columns:
                return self._spec.prompt_column
            self._refuse_binary({self._spec.prompt_column}, line)
            raise self._error(line, no_column(self._spec.prompt_column, columns))
        self._refuse_binary({column for column in self._source.left_out if column.casefold() in _PROMPT_NAMES}, line)
        if len(columns) == 1:
            (only,) = columns
            if self._source.has_header and (" " in only or len(only) > _LONGEST_NAME):
                raise self._error(
                    line,
                    f"the first line, {shortened(only)}, would be the name of the column and no prompt; write 'prompt' "
                    "above it, or name the column if that is its name",
                )
            return only
        for name in _PROMPT_NAMES:
            matching = [column for column in columns if column.casefold() == name]
            if len(matching) == 1:
                return matching[0]
        if self._spec.template is not None:
            return None
        raise self._error(
            line,
            f"which column has the prompts? None is called {' or '.join(_PROMPT_NAMES)}; name one of {listed(columns)}",
        )

    def _refuse_binary(self, wanted: set[str], line: int | None) -> None:
        """Another column must not be taken because the one that is meant cannot be read."""
        for column in wanted.intersection(self._source.left_out):
            raise self._error(line, f"the column {column!r} is binary; save it as text (in Arrow: as string)")

    def _value(self, row: Row, column: str) -> str | None:
        value = row.values[column]
        if isinstance(value, str):
            return value
        if self._spec.template is not None and self._spec.prompt_column is None:
            # A guess at what the template may call `prompt`; it can still reach the value by the column's own name.
            return None
        raise self._error(row.line, f"column {column!r} has to be text to be the prompt, not {value!r:.40}")

    def _prompt(self, row: Row, made: Made) -> Prompt:
        text = made.text.strip()
        if (problem := no_text(text)) is not None:
            raise self._error(row.line, problem)
        return Prompt(text, self._source.name, row.line, row.values, made.choices)

    def _error(self, line: int | None, problem: str) -> PromptFileError:
        return PromptFileError(self._source.name, line, problem)


class _Pump:
    """What a confined process is given when it asks.

    It asks for rows before it works on those it has, and gives what it made of those before: so of the rows that it was
    given, no more than the last two lists are still of interest.
    """

    def __init__(self, files: Iterator[tuple[str, str, bytes]]) -> None:
        self.rows: Iterator[tuple[Given, Row]] = iter(())
        self.indices: Iterator[int] = iter(())
        self._files = files
        self._problem: Exception | None = None
        self._most = _FIRST_ROWS
        self._given: deque[tuple[int, list[Row]]] = deque(maxlen=2)
        self.answers: dict[str, Callable[[Any], Any]] = {
            "files": lambda _: list(islice(self._files, 1)),
            "rows": lambda _: self._next(),
            "indices": lambda _: list(islice(self.indices, _INDICES)),
        }

    def row(self, number: int) -> Row:
        first, rows = next(given for given in self._given if number - given[0] < len(given[1]))
        return rows[number - first]

    def _next(self) -> list[tuple[Any, ...]]:
        """The next rows. What is wrong with one is raised after those before it were worked on."""
        if self._problem is not None:
            raise self._problem
        given: list[tuple[Any, ...]] = []
        rows: list[Row] = []
        size = 0
        try:
            for one, row in self.rows:
                given.append(tuple(one))
                rows.append(row)
                size += len(one.prompt or "") + sum(map(_size, one.values.values())) + _ROW_SIZE
                if len(given) == self._most or size > _ROWS_SIZE:
                    break
        except Exception as error:
            if not given:
                raise
            self._problem = error
        self._most = _ROWS
        if given:
            self._given.append((given[0][0], rows))
        return given


def _size(value: object) -> int:
    return len(value) + 10 if isinstance(value, str | list | dict) else 10
