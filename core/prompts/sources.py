"""Where prompts come from: rows of a file or an object in S3, read one at a time, or a list in memory.

| format | row | columns |
|---|---|---|
| `txt` | a line | one, `prompt` |
| `csv` | RFC 4180: a cell in `"…"` may hold commas, line breaks and `""` | from the header |
| `tsv` | as IANA's `text/tab-separated-values`: a line, cells between tabs, quotes are plain | from the header |
| `tsv-quoted` | tabs, with the quoting of CSV, as spreadsheets and pandas write it | from the header |
| `jsonl` | a JSON object on a line | its keys; values keep their types |
| `parquet` | a row | those of the schema; values keep their types, see `parquet` |
| a list | a string | one, `prompt` |

Common to all text files: UTF-8, with or without a BOM; line ends LF, CRLF or CR; blank lines are skipped, and so are
rows of a table whose cells are all empty; duplicates are rows of their own. White space around a cell or a TXT line is
dropped; all other text is kept as it is, Unicode normalisation included. A row with fewer cells than the header has
empty ones at its end; one with more is an error. A header cell without a name is called `column_3`, by its place.

`s3://bucket/key` has the same formats and is read in pieces: see `s3`. A folder, a pattern or a prefix is a source of
pictures: see `folders`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from ..files import check_stays_inside
from ..http.urls import redact_url
from ..values import from_spreadsheet, repeated, unique_keys
from .errors import PromptFileError, PromptOptionError
from .suggestions import listed, nearest, shortened
from .visible import is_blank

if TYPE_CHECKING:
    from ..storage import S3Options

PromptFormat = Literal["txt", "csv", "tsv", "tsv-quoted", "jsonl", "parquet"]
"""How a file is read; the default follows from its extension."""

LIST_NAME = "<list>"
"""What prompts given as a list call their source."""

MAX_LINE = 1_000_000
"""Characters in a line. A file without line ends would otherwise be read into memory whole."""

MAX_COLUMNS = 20_000
"""Columns of a table. Every row has a cell of each; spreadsheets end at 18,278."""

_EXTENSIONS: Mapping[str, PromptFormat] = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_UNDECODED = re.compile("[\udc80-\udcff]")
"""How the `surrogateescape` error handler marks bytes that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        line: Its first line in the file, or its place in the list or Parquet file; counted from 1.
        values: Column → value. Text, except in JSON Lines and Parquet, where values keep their types.
    """

    line: int
    values: Mapping[str, Any]


class PromptSource(ABC):
    """Rows that can be read any number of times.

    Attributes:
        name: What messages call it: the path as given, or `<list>`.
        left_out: Columns that hold no text, once `columns` was called.
    """

    name: str
    left_out: tuple[str, ...] = ()
    has_header: ClassVar[bool] = False

    @abstractmethod
    def columns(self) -> tuple[str, ...] | None:
        """The columns that every row has, or None where each row brings its own (JSON Lines)."""

    @abstractmethod
    def _rows(self) -> Iterator[Row]:
        """The rows; may be none at all."""

    def rows(self) -> Iterator[Row]:
        """The rows in order, read as they are asked for.

        Raises:
            PromptFileError: A row cannot be read, or there is none.
        """
        empty = True
        for row in self._rows():
            empty = False
            yield row
        if empty:
            raise PromptFileError(self.name, None, "there is no prompt in it")


def open_source(
    source: str | Path | Sequence[str] | PromptSource,
    format: PromptFormat | None = None,
    s3: S3Options | None = None,
) -> PromptSource:
    """Where to read prompts from.

    Args:
        source: A path, `s3://bucket/key`, or prompts themselves as a list of strings. A single string is never a
            prompt.
        format: How to read the file; by default what its extension says.

    Raises:
        PromptFileError: There is no such file, it is empty or not a regular file, its format is not known, or it is
            a URI of another kind.
        PromptOptionError: There is no such format.
        StoreNotUsable, StoreUnavailable: S3 refuses, or does not answer.

    >>> [row.values["prompt"] for row in open_source(["a cat", "a dog"]).rows()]
    ['a cat', 'a dog']
    """
    if isinstance(source, PromptSource):
        return source
    if format is not None and format not in get_args(PromptFormat):
        raise PromptOptionError("format", format, f"one of {listed(get_args(PromptFormat))}")
    if not isinstance(source, str | Path):
        return _ListSource(source)
    name = str(source)
    scheme = _SCHEME.match(name)
    if scheme is None:
        path = Path(source)
        _check_file(path, name)
        reader = _READERS[format or _format_of(path.suffix, name)]
        if path.stat().st_size == 0:
            raise PromptFileError(name, None, "the file is empty")
        return reader(lambda: path.open("rb"), name, sure=format is not None)
    if scheme[1] != "s3":
        raise PromptFileError(
            redact_url(name),
            None,
            f"prompts are read from files and from s3://, not from {scheme[1]}://; download it first",
        )
    # An unknown format is found before the network is asked.
    reader = _READERS[format or _format_of(PurePosixPath(name).suffix, name)]
    from .s3 import S3Object

    found = S3Object(name, s3)
    if found.size == 0:
        raise PromptFileError(name, None, "the file is empty")
    return reader(found.open, name, sure=format is not None)


def _check_file(path: Path, name: str) -> None:
    try:
        if path.is_file():
            check_stays_inside(path)
            return
        if path.is_dir():
            raise PromptFileError(name, None, "this is a folder; name the file with the prompts in it")
        if path.exists():
            raise PromptFileError(
                name, None, "not a regular file; prompts are read more than once, so save them to a file first"
            )
        if path.is_symlink():
            raise PromptFileError(name, None, "a link that leads nowhere")
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, ValueError) as error:
        raise PromptFileError(name, None, f"cannot be read: {_reason(error)}") from error
    close = nearest(path.name, siblings)
    hint = (
        f"; close to it: {listed(close)}"
        if close
        else "; prompts themselves are given as a list, on a command line in quotes"
    )
    raise PromptFileError(name, None, f"there is no such file{hint}")


def _format_of(suffix: str, name: str) -> PromptFormat:
    extension = suffix.lower()
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    what = f"the extension {suffix!r} is not known" if extension else "the name has no extension"
    hint = _HINTS.get(extension, f"rename it to one of {listed(_EXTENSIONS)} or give the format explicitly")
    raise PromptFileError(name, None, f"{what}: {hint}")


class _ListSource(PromptSource):
    def __init__(self, prompts: Iterable[str]) -> None:
        self.name = LIST_NAME
        self._prompts = tuple(prompts)
        for place, prompt in enumerate(self._prompts, start=1):
            if not isinstance(prompt, str):
                raise PromptFileError(
                    LIST_NAME, place, f"a prompt has to be text, not {type(prompt).__name__}: {prompt!r}"
                )

    def columns(self) -> tuple[str, ...]:
        return ("prompt",)

    def _rows(self) -> Iterator[Row]:
        for place, prompt in enumerate(self._prompts, start=1):
            yield Row(place, {"prompt": prompt})


class _FileSource(PromptSource):
    """A file.

    Args:
        sure: Whether the user has named the format: then nothing is taken for a sign that it is another one.
    """

    def __init__(self, open_file: Callable[[], io.RawIOBase | io.BufferedReader], name: str, *, sure: bool) -> None:
        self._open = open_file
        self.name = name
        self._sure = sure

    def _lines(self) -> Iterator[tuple[int, str]]:
        """(number, text with its line end) of every line, checked to be text."""
        try:
            # newline="": all three line ends are recognised, and none is translated inside a quoted cell.
            with _as_text(self._open()) as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise self._error(number, f"the line is longer than {MAX_LINE:,} characters")
                    self._check_text(number, line)
                    if number == 1:
                        # A second byte order mark, as two programs in a row leave it.
                        line = line.lstrip("\ufeff")
                        self._check_kind(line)
                    if line.startswith(_CONFLICT):
                        raise self._error(number, "this is a mark of a merge in Git that is not resolved")
                    yield number, line
        except OSError as error:
            raise PromptFileError(self.name, None, f"cannot be read: {_reason(error)}") from error

    def _check_kind(self, line: str) -> None:
        """Whether the first line is that of a file of another kind, which every reader would take for text."""
        for start, what in _OTHER_KINDS.items():
            if line.lstrip().lower().startswith(start):
                raise self._error(1, f"this is {what}")

    def _check_text(self, number: int, line: str) -> None:
        undecoded = _UNDECODED.search(line)
        if undecoded is not None:
            byte = ord(undecoded.group()) - 0xDC00
            if number == 1 and (packed := _packed(line)) is not None:
                raise self._error(None, f"this is a {packed} file, not text; unpack it, or save it as text")
            raise self._error(
                number,
                f"character {undecoded.start() + 1} is not UTF-8 (byte 0x{byte:02X}; the file may be in "
                f"{_guess(number, line)}); save it as UTF-8",
            )
        if "\0" in line:
            if number == 1 and (packed := _packed(line)) is not None:
                raise self._error(None, f"this is a {packed} file, not text; unpack it, or save it as text")
            raise self._error(
                number, f"NUL at character {line.index(chr(0)) + 1}: this is not text, or not UTF-8; save it as UTF-8"
            )

    def _error(self, line: int | None, problem: str) -> PromptFileError:
        return PromptFileError(self.name, line, problem)


class _TextSource(_FileSource):
    def columns(self) -> tuple[str, ...]:
        return ("prompt",)

    def _rows(self) -> Iterator[Row]:
        for number, line in self._lines():
            prompt = line.strip()
            if "\t" in prompt and not self._sure:
                raise self._error(
                    number,
                    "there is a tab in the line: columns, it seems; give the format 'tsv-quoted' or 'tsv' if it "
                    "is a table, and 'txt' if the tab is part of the prompt",
                )
            if not is_blank(prompt):
                yield Row(number, {"prompt": prompt})


_EXPORTED = frozenset({"image_id", "client_request_id", "source_prompt"})
"""Columns by which an export of this package is known, whose cells are written for spreadsheets."""


class _TableSource(_FileSource):
    """A header and rows of cells; the formats differ in how a line becomes cells."""

    delimiter = "\t"
    has_header = True

    @abstractmethod
    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """(first line, cells) of every row; a blank line may come as a row of no or of empty cells."""

    def _filled(self) -> Iterator[tuple[int, list[str]]]:
        for line, cells in self._cells():
            stripped = [cell.strip() for cell in cells]
            if not all(map(is_blank, stripped)):
                yield line, stripped

    def columns(self) -> tuple[str, ...]:
        rows = self._filled()
        header = next(rows, None)
        if header is None:
            raise self._error(None, "the file has no header and no rows")
        return self._named(*header)

    def _rows(self) -> Iterator[Row]:
        rows = self._filled()
        header = next(rows, None)
        if header is None:
            return
        columns = self._named(*header)
        empty = dict.fromkeys(columns, "")
        exported = set(columns) >= _EXPORTED
        for line, cells in rows:
            if cells == header[1]:
                raise self._error(line, "the header is here once more; remove the line")
            if len(cells) > len(columns):
                raise self._error(
                    line,
                    f"{len(cells)} cells, but the header has {len(columns)}; the first too many is "
                    f"{cells[len(columns)][:40]!r}{self._quoting_hint()}",
                )
            texts = map(from_spreadsheet, cells) if exported else cells
            yield Row(line, empty | dict(zip(columns, texts, strict=False)))

    def _quoting_hint(self) -> str:
        return f'; put a cell that holds {self.delimiter!r} in "double quotes"'

    def _named(self, line: int, header: list[str]) -> tuple[str, ...]:
        if header[0].lower().startswith("sep=") and len(header) <= 2:
            raise self._error(line, f"{header[0]!r} is a note to Excel; remove the line")
        columns = tuple(name or f"column_{place}" for place, name in enumerate(header, start=1))
        if len(columns) > MAX_COLUMNS:
            raise self._error(line, f"{len(columns):,} columns; the limit is {MAX_COLUMNS:,}")
        twice = repeated(columns)
        if twice is not None:
            raise self._error(line, f"two columns are called {twice!r}; rename one")
        # A table read with the wrong delimiter has one column, and every row of it would be bought as a prompt.
        for other, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
            if len(columns) == 1 and other != self.delimiter and other in columns[0]:
                raise self._error(
                    line,
                    f"the header is one cell, {columns[0]!r}: the columns seem to be separated by {name}, where this "
                    f"format has {self.delimiter!r}; save the file again or give the format that it is in",
                )
        return columns


class _QuotedTable(_TableSource):
    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        # The default is shorter than what a line may have.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
        # strict: an unclosed quote is an error instead of one cell that swallows the rest of the file.
        reader = csv.reader(
            (line for _, line in self._lines()), delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        while True:
            first = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._error(
                    first, f'cannot be read as a row ({error}); a quote inside a quoted cell is written ""'
                ) from error
            yield first, cells


class _CsvSource(_QuotedTable):
    delimiter = ","


class _PlainTable(_TableSource):
    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in self._lines():
            cells = line.rstrip("\r\n").split("\t")
            quoted = None if self._sure else next(filter(_is_quoted, cells), None)
            if quoted is not None:
                # As text, it would be bought with its quotes; and cut in two, if it holds a line break.
                raise self._error(
                    number,
                    f"the cell {shortened(quoted.strip())} is in quotes; plain TSV has no quoting: give the format "
                    "'tsv-quoted', or 'tsv' if the quotes are part of the text",
                )
            yield number, cells

    def _quoting_hint(self) -> str:
        return "; a tab cannot be part of a cell (format 'tsv-quoted' reads quoted cells)"


class _JsonLinesSource(_FileSource):
    def columns(self) -> None:
        return None

    def _rows(self) -> Iterator[Row]:
        for number, line in self._lines():
            if not line.strip():
                continue
            try:
                value = json.loads(line, object_pairs_hook=unique_keys, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                raise self._error(number, f"not valid JSON: {_reason(error)}") from error
            if not isinstance(value, dict):
                raise self._error(
                    number, f'a JSON {_JSON_NAMES[type(value)]}, not an object like {{"prompt": "a cat"}}'
                )
            yield Row(number, value)


class _ParquetSource(_FileSource):
    def columns(self) -> tuple[str, ...]:
        from .parquet import read_columns

        found = read_columns(self.name, self._open)
        self.left_out = found.binary
        return found.usable

    def _rows(self) -> Iterator[Row]:
        from .parquet import read_rows

        for place, values in read_rows(self.name, self._open):
            yield Row(place, values)


def _is_quoted(cell: str) -> bool:
    """Whether a cell looks as a program writes it that quotes: whole in quotes, or cut within them."""
    cell = cell.strip()
    if not cell.startswith('"') or cell == '"':
        return False
    inner = cell[1:].removesuffix('"').replace('""', "")
    return '"' not in inner and (cell.endswith('"') or cell.count('"') % 2 == 1)


def _packed(line: str) -> str | None:
    """What a file is that begins like this, if it is no text at all."""
    begin = line[:4].encode("utf-8", "surrogateescape")
    return next((what for magic, what in _MAGIC.items() if begin.startswith(magic)), None)


def _guess(number: int, line: str) -> str:
    """The encoding that a line which is not UTF-8 may be in."""
    data = line.encode("utf-8", "surrogateescape")
    if number == 1 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    for encoding, name in (("shift_jis", "Shift-JIS"), ("gb18030", "GB 18030")):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if sum("\u3040" <= char <= "\u9fff" for char in text) >= 2:
            return name
    return "Windows-1252"


def _as_text(stream: io.RawIOBase | io.BufferedReader) -> io.TextIOWrapper:
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    return io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape", newline="")


_LFS = "a Git LFS pointer, not the file itself: `git lfs pull` fetches it"
_OTHER_KINDS: Mapping[str, str] = {
    "version https://git-lfs.github.com/spec": _LFS,
    "version https://hawser.github.com/spec": _LFS,
    "/annex/objects/": "a pointer of git-annex, not the file itself: `git annex get` fetches it",
    "{\\rtf": "Rich Text; save it as plain text",
    "%pdf-": "a PDF, not a list of prompts",
    "<!doctype html": "a web page, not a list of prompts; a login page, perhaps",
    "<html": "a web page, not a list of prompts; a login page, perhaps",
    "<?xml": "XML, not a list of prompts",
}
_MAGIC: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "ZIP or Excel",
    b"\xd0\xcf\x11\xe0": "old Excel or Word",
    b"PAR1": "Parquet",
    b"%PDF": "PDF",
    b"SQLi": "SQLite",
}
_CONFLICT = ("<<<<<<< ", ">>>>>>> ")
_HINTS: Mapping[str, str] = {
    ".xlsx": "spreadsheets are not read; save the sheet as CSV",
    ".xls": "spreadsheets are not read; save the sheet as CSV",
    ".ods": "spreadsheets are not read; save the sheet as CSV",
    ".gz": "unpack it",
    ".zip": "unpack it",
    ".json": "one JSON object a line is format 'jsonl'",
}

_JSON_NAMES: Mapping[type, str] = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


_READERS: Mapping[PromptFormat, type[_FileSource]] = {
    "txt": _TextSource,
    "csv": _CsvSource,
    "tsv": _PlainTable,
    "tsv-quoted": _QuotedTable,
    "jsonl": _JsonLinesSource,
    "parquet": _ParquetSource,
}
