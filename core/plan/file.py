"""Plans in files: written by `plan --out`, carried out by `run` exactly as they are, or not at all.

A plan file is JSON Lines. The first line is the header; it says what was asked for and how many rows there are. Each
further line is a row of the run: the item it asks for, and where it came from. A plan is known by its header, whatever
the file is called. A reader makes every item anew from the prompt and the header, so that a line that was edited, left
out or written by another version of the rules is found by its id before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BadInput
from ..files import AtomicFile
from ..inputs import InputReader, InputRefused, RowInputs
from ..ledger import RunItem
from ..prompts import Prompt, PromptFileError, PromptSource, PromptSpec, Row, open_source
from ..rewrite import RewriteSpec
from .availability import ModelAvailability
from .rows import BatchBase, PlannedRow
from .spec import BatchSpec

if TYPE_CHECKING:
    from ..storage import S3Options

_MARK = "prefect_imagen_plan"
_ROOM = 32
"""Spaces at the header's end: room for the counts, which are known when the last row is written."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Rewriting(_Model):
    """How prompts are rewritten, in the header."""

    model: str
    variations: int
    brief: str
    price: str | None


class _Header(_Model):
    """The first line."""

    prefect_imagen_plan: Literal[1]
    model: str
    parameters: dict[str, Any]
    matrix: dict[str, list[Any]]
    edition: str
    repeat: int = Field(ge=1, le=1000)
    rewrite: _Rewriting | None = None
    lenient: bool = False
    inputs: list[str] = []
    prompts: dict[str, Any]
    rows: int = Field(ge=1)
    items: int = Field(ge=1)


class _Line(_Model):
    """Any other line."""

    item: str
    model: str
    prompt: str
    parameters: dict[str, Any]
    edition: str
    repeat: int
    variation: int | None = None
    source: str
    line: int
    choices: list[str]
    row: dict[str, Any]
    inputs: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class PlanFile(BatchBase):
    """A plan in a file, to be carried out. Make one with `open_plan`.

    Attributes:
        fallback: Models that may stand in for `model`; not in the file, but said when it is carried out.
        inputs: The common words for the pictures that each row brings with it.
        reader: Reads them.
    """

    name: str
    model: str
    parameters: Mapping[str, Any]
    matrix: Mapping[str, list[Any]]
    edition: str
    repeat: int
    rows: int
    rewrite: RewriteSpec | None = None
    fallback: tuple[str, ...] = ()
    lenient: bool = False
    terms: ModelAvailability = field(default_factory=ModelAvailability)
    s3: S3Options | None = None
    inputs: tuple[str, ...] = ()
    reader: InputReader = field(default_factory=InputReader, compare=False)

    @property
    def input_words(self) -> tuple[str, ...]:
        return self.inputs

    @property
    def input_reader(self) -> InputReader | None:
        return self.reader

    def count_rows(self) -> int:
        return self.rows

    def check(self) -> int:
        """Check every line, without keeping anything.

        Raises:
            PromptFileError: With the line that is not what was planned.
        """
        return sum(1 for _ in self.stream()) // (self.variations * len(self.forms()) * self.repeat)

    def stream(self) -> Iterator[PlannedRow]:
        """The rows, in order, each checked.

        Raises:
            PromptFileError: With the line that is not what was planned.
        """
        candidates, active = self.candidates(), self.active_index
        lines = open_source(self.name, "jsonl", self.s3).rows()
        next(lines, None)  # the header
        position = 0
        rows: Iterator[PlannedRow] = iter(())
        for number, line in _numbered(lines, self.name):
            wanted = next(rows, None)
            if wanted is None:  # the first row of a prompt
                if (problem := self.problem(candidates, line.prompt)) is not None:
                    raise PromptFileError(self.name, number, problem)
                prompt = Prompt(line.prompt, line.source, line.line, line.row, tuple(line.choices))
                rows = self.rows_of(candidates, active, prompt, position, self._inputs_of(line, number))
                wanted = next(rows)
            expected = wanted.row.item
            variation = expected.rewrite.variation if expected.rewrite is not None else None
            stated = (line.item, line.model, line.prompt, line.parameters, line.edition, line.repeat, line.variation)
            fixed = (expected.id, expected.model, expected.prompt, expected.parameters, expected.edition)
            if stated != (*fixed, expected.repeat, variation):
                raise PromptFileError(
                    self.name,
                    number,
                    f"the id {line.item[:12]}… is not that of this line's content at this place: the plan was edited, "
                    "or written by another version, or a picture that goes in was changed; plan again",
                )
            yield wanted
            position += 1
        if position != self.rows:
            raise PromptFileError(
                self.name, None, f"the plan has {self.rows:,} rows, and {position:,} are here: it is not whole"
            )

    def _inputs_of(self, line: _Line, number: int) -> RowInputs:
        """The pictures of a row, which have to be those that were planned: their content is in the item's id."""
        try:
            return RowInputs(
                {
                    word: tuple((where, self.reader.look(where)) for where in places)
                    for word, places in line.inputs.items()
                }
            )
        except InputRefused as error:
            raise PromptFileError(self.name, number, error.reason) from None

    def run_items(self) -> Iterator[RunItem]:
        return (wanted.row for wanted in self.stream())


def open_plan(source: object, s3: S3Options | None = None) -> PlanFile | None:
    """A plan, if it is one: a file or an object in S3 whose first line is a plan's header.

    Returns:
        None for anything else, a file that is not there included.

    Raises:
        PromptFileError: A plan of another version, or a header that was edited.
        StoreNotUsable, StoreUnavailable: S3 refuses, or does not answer.
    """
    if not isinstance(source, str | Path):
        return None
    name = str(source)
    try:
        with closing(open_source(name, "jsonl", s3).rows()) as rows:  # type: ignore[type-var]
            first = next(rows)
    except PromptFileError:
        return None
    if _MARK not in first.values:
        return None
    if first.values[_MARK] != 1:
        raise PromptFileError(
            name, first.line, f"a plan of version {first.values[_MARK]!r}; this package reads version 1: plan again"
        )
    try:
        header = _Header.model_validate(first.values)
    except ValidationError as error:
        raise PromptFileError(name, first.line, f"not the header of a plan: {_problem(error)}") from None
    if header.rows % header.repeat:
        raise PromptFileError(name, first.line, "not the header of a plan: its numbers do not fit")
    try:
        rewrite = RewriteSpec(**header.rewrite.model_dump()) if header.rewrite is not None else None
    except BadInput as error:
        raise PromptFileError(name, first.line, str(error)) from None
    return PlanFile(
        name,
        header.model,
        header.parameters,
        header.matrix,
        header.edition,
        header.repeat,
        header.rows,
        rewrite,
        lenient=header.lenient,
        s3=s3,
        inputs=tuple(header.inputs),
    )


def _numbered(lines: Iterator[Row], name: str) -> Iterator[tuple[int, _Line]]:
    for row in lines:
        try:
            yield row.line, _Line.model_validate(row.values)
        except ValidationError as error:
            raise PromptFileError(name, row.line, f"not a line of a plan: {_problem(error)}") from None


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


class PlanWriter:
    """Writes a plan. The file appears under its name when it is whole, and not at all if it is not finished.

    Args:
        path: Where to; what is there is replaced.

    Raises:
        BadInput: The file cannot be written, or it is the one the prompts come from.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> folder = TemporaryDirectory()
        >>> spec, path = BatchSpec(PromptSpec(["a {red|blue} fox"])), Path(folder.name, "plan.jsonl")
        >>> with PlanWriter(path, spec) as writer:
        ...     for row in spec.run_items():
        ...         writer.add(row)
        ...     writer.finish(items=2)
        >>> plan = open_plan(path)
        >>> list(plan.run_items()) == list(spec.run_items())
        True
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, spec: BatchSpec) -> None:
        self._path = path
        self._header = _describe(spec)
        self._rows = 0
        source = spec.prompts.source
        if isinstance(source, str | Path) and Path(source).exists() and path.exists() and path.samefile(source):
            raise BadInput(f"{path}: the prompts are in this file; write the plan to another one")
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self._out = _Output(path, sync=True).__enter__()
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from None
        self._out.write(self._first_line(0, 0, _ROOM))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.__exit__(kind, error, trace)

    def add(self, row: RunItem) -> None:
        item = row.item
        line = {
            "item": item.id,
            "model": item.model,
            "prompt": item.prompt,
            "parameters": dict(item.parameters),
            "edition": item.edition,
            "repeat": item.repeat,
            **({"variation": item.rewrite.variation} if item.rewrite is not None else {}),
            "source": row.source,
            "line": row.line,
            "choices": list(row.choices),
            "row": dict(row.row),
            **({"inputs": dict(row.inputs)} if row.inputs else {}),
        }
        self._out.write(_json(line))
        self._rows += 1

    def finish(self, *, items: int) -> None:
        """Complete the header and put the file where it belongs.

        Args:
            items: Distinct items in the rows.

        Raises:
            BadInput: There is no row, or the disk is full.
        """
        if not self._rows:
            raise BadInput(f"{self._path}: there is nothing to plan")
        taken = len(self._first_line(self._rows, items, 0)) - len(self._first_line(0, 0, 0))
        try:
            self._out.file.seek(0)
        except OSError as error:
            raise _unwritable(self._path, error) from None
        self._out.write(self._first_line(self._rows, items, _ROOM - taken))
        self._out.commit()

    def _first_line(self, rows: int, items: int, room: int) -> bytes:
        return _json({**self._header, "rows": rows, "items": items})[:-1] + b" " * room + b"\n"


class _Output(AtomicFile):
    def failure(self, error: OSError) -> Exception:
        return _unwritable(self.dest, error)


def _unwritable(path: Path, error: OSError | ValueError) -> BadInput:
    return BadInput(f"{path} cannot be written: {error.strerror if isinstance(error, OSError) else error}")


def _describe(spec: BatchSpec) -> dict[str, Any]:
    """The header, but for its counts. How S3 is reached stays out: it may hold a key."""
    model = spec.models()[0]
    source = spec.prompts.source
    asked = {
        option.name: value
        for option in fields(PromptSpec)
        if option.name not in ("source", "s3", "keep_going")
        and (value := getattr(spec.prompts, option.name)) != option.default
    }
    return {
        _MARK: 1,
        "model": f"{model.spec.id}@{model.contract_name}",
        "parameters": {name: value for name, value in spec.parameters.items() if value is not None},
        "matrix": {name: list(values) for name, values in spec.matrix.items()},
        "edition": spec.edition,
        "repeat": spec.repeat,
        **({"lenient": True} if spec.lenient else {}),
        **({"inputs": list(spec.input_words)} if spec.input_words else {}),
        **({"rewrite": asdict(spec.rewrite)} if spec.rewrite is not None else {}),
        "prompts": {"source": _named(source), **asked},
    }


def _named(source: str | Path | Sequence[str] | PromptSource) -> str:
    if isinstance(source, PromptSource):
        return source.name
    return str(source) if isinstance(source, str | Path) else f"{len(source)} prompts"


def _json(value: Any) -> bytes:
    """A line of JSON. What JSON has no form for (dates of a Parquet file, not-a-number) is written as text."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str)
    # Half a surrogate pair has no UTF-8; written with a backslash it is JSON's own escape of it.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
