"""Reading prompts from files and lists, and saying what is wrong with them."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.prompts import PromptFileError, PromptOptionError, open_source
from prefect_imagen.core.prompts.sources import MAX_LINE, PromptFormat

PARTI = Path(__file__).parents[2] / "data" / "PartiPrompts.tsv"

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a file and returns its path."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def rows(path: Path, format: PromptFormat | None = None) -> list[tuple[int, dict[str, Any]]]:
    return [(row.line, dict(row.values)) for row in open_source(path, format).rows()]


def prompts(path: Path, format: PromptFormat | None = None) -> list[tuple[int, str]]:
    return [(line, values["prompt"]) for line, values in rows(path, format)]


def problem(path: Path, format: PromptFormat | None = None) -> PromptFileError:
    with pytest.raises(PromptFileError) as caught:
        rows(path, format)
    assert isinstance(caught.value, BadInput)
    assert caught.value.source == str(path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_txt_is_a_prompt_a_line_whatever_the_line_end(write: Write, end: str) -> None:
    path = write("p.txt", end.join(["a cat", "", "  \t ", "  a dog  ", "a cat"]))
    assert prompts(path) == [(1, "a cat"), (4, "a dog"), (5, "a cat")]


def test_bom_is_dropped_and_unicode_is_not_normalised(write: Write) -> None:
    decomposed = "cafe\u0301 \u2028 日本 \U0001f408"
    assert prompts(write("p.TXT", "\ufeff" + decomposed + "\ncaf\u00e9\n")) == [(1, decomposed), (2, "caf\u00e9")]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("a cat\ncaf\u00e9\n".encode("latin-1"), 2, r"character 4 is not UTF-8 \(byte 0xE9.*Windows-1252"),
        ("a cat".encode("utf-16"), 1, "UTF-16"),
        ("a cat".encode("utf-16-le"), 1, "NUL at character 2"),
        (b"a cat\r\nno \xed\xa0\x80\r\n", 2, "character 4 is not UTF-8"),
        (b"ok\n" + b"x" * (MAX_LINE + 1), 2, "longer than 1,000,000"),
    ],
)
def test_bytes_that_are_not_text_name_line_and_place(write: Write, content: bytes, line: int, says: str) -> None:
    error = problem(write("p.txt", content))
    assert error.line == line
    with pytest.raises(PromptFileError, match=says):
        raise error


# Tables ---------------------------------------------------------------------------------------------------------------


def test_parti_prompts_come_out_unchanged() -> None:
    read = rows(PARTI)
    lines = PARTI.read_bytes().decode().split("\n")[1:1633]
    assert len(read) == 1632
    assert [values["Prompt"] for _, values in read] == [line.split("\t")[0].strip() for line in lines]
    assert [line for line, _ in read] == list(range(2, 1634))
    assert set(read[0][1]) == {"Prompt", "Category", "Challenge", "Note"}
    assert sum('"' in values["Prompt"] for _, values in read) == 22
    assert next(values for line, values in read if line == 1562)["Prompt"].startswith('"G I G G L E" painted')


def test_csv_cells_may_hold_commas_quotes_and_line_breaks(write: Write) -> None:
    path = write(
        "p.csv",
        'prompt,style\r\n"a ""big"" cat, sitting",oil\r\n\r\n"two\r\nlines", "photo"\r\n12" ruler,\r\nlast\r\n',
    )
    assert rows(path) == [
        (2, {"prompt": 'a "big" cat, sitting', "style": "oil"}),
        (4, {"prompt": "two\r\nlines", "style": "photo"}),
        (6, {"prompt": '12" ruler', "style": ""}),
        (7, {"prompt": "last", "style": ""}),
    ]


def test_rows_of_empty_cells_are_blank_and_duplicates_are_kept(write: Write) -> None:
    assert [line for line, _ in rows(write("p.csv", "\n\na,b\n,\n x , y \n , \nx,y\n\n"))] == [5, 7]


def test_unnamed_columns_are_called_by_their_place(write: Write) -> None:
    assert rows(write("p.csv", ",prompt,\n0,a cat,\n")) == [
        (2, {"column_1": "0", "prompt": "a cat", "column_3": ""}),
    ]


def test_quoted_tsv_has_to_be_asked_for(write: Write) -> None:
    path = write("p.tsv", 'prompt\tstyle\n"a cat, ""sitting"""\toil\n')
    with pytest.raises(PromptFileError, match=r"line 2: the cell .* is in quotes.*'tsv-quoted', or 'tsv'"):
        prompts(path)
    assert prompts(path, "tsv") == [(2, '"a cat, ""sitting"""')]
    assert prompts(path, "tsv-quoted") == [(2, 'a cat, "sitting"')]


@pytest.mark.parametrize(
    ("name", "content", "line", "says"),
    [
        ("p.csv", "prompt,style\na,b\nc,d,e\n", 3, "3 cells, but the header has 2; the first too many is 'e'"),
        ("p.csv", 'prompt,style\n"x\ny",b,c\n', 2, "3 cells"),
        ("p.tsv", "prompt\tstyle\na\tb\tc\n", 2, "a tab cannot be part of a cell"),
        ("p.tsv", 'prompt\tstyle\n"two\nlines"\toil\n', 2, "is in quotes"),
        ("p.csv", 'prompt,style\na,b\n"never closed,x\nc,d\n', 3, "cannot be read as a row"),
        ("p.csv", 'prompt\n"G I G" painted\n', 2, "cannot be read as a row"),
        ("p.csv", "prompt,style,prompt\na,b,c\n", 1, "two columns are called 'prompt'"),
        ("p.csv", "prompt;style\na cat;oil\n", 1, "separated by semicolons"),
        ("p.csv", "prompt\tstyle\na cat\toil\n", 1, "separated by tabs"),
        ("p.tsv", "prompt,style\na cat,oil\n", 1, "separated by commas"),
        ("p.csv", "prompt,style\n", None, "there is no prompt in it"),
        ("p.tsv", "prompt\n\n \n", None, "there is no prompt in it"),
        ("p.txt", "\n  \n", None, "there is no prompt in it"),
        ("p.csv", b"prompt\ncaf\xe9\n", 2, "not UTF-8"),
        ("p.jsonl", '{"prompt": "a"}\n["a"]\n', 2, "a JSON array, not an object"),
        ("p.jsonl", '"a cat"\n', 1, "a JSON string, not an object"),
        ("p.jsonl", "null\n", 1, "a JSON null"),
        ("p.jsonl", '{"prompt": "a"}\n\n{"prompt": "a"\n', 3, "not valid JSON"),
        ("p.jsonl", '{"prompt": "a", "prompt": "b"}\n', 1, "the key 'prompt' appears twice"),
        ("p.jsonl", '{"prompt": "a", "x": NaN}\n', 1, "NaN is not a JSON value"),
        ("p.jsonl", "[" * 200_000, 1, "not valid JSON"),
        ("p.jsonl", "\n", None, "there is no prompt in it"),
        ("p.txt", "", None, "the file is empty"),
        ("p.csv", "", None, "the file is empty"),
        ("prompts", "a cat", None, "no extension"),
        ("p.json", "[]", None, "'.json' is not known.*format 'jsonl'"),
    ],
)
def test_bad_files_name_file_and_line(
    write: Write, name: str, content: str | bytes, line: int | None, says: str
) -> None:
    error = problem(write(name, content))
    assert error.line == line
    with pytest.raises(PromptFileError, match=says):
        raise error


def test_a_header_without_rows_has_columns_and_a_blank_table_has_none(write: Write) -> None:
    assert open_source(write("p.csv", "a,b\n")).columns() == ("a", "b")
    with pytest.raises(PromptFileError, match="no header and no rows"):
        open_source(write("q.csv", "\n,\n")).columns()


def test_jsonl_keeps_types_and_has_no_common_columns(write: Write) -> None:
    path = write("p.ndjson", '\ufeff{"prompt": " a ", "n": 3, "x": null}\r\n\r\n{"prompt": "\\n", "tags": ["a"]}')
    assert open_source(path).columns() is None
    assert rows(path) == [(1, {"prompt": " a ", "n": 3, "x": None}), (3, {"prompt": "\n", "tags": ["a"]})]


def test_the_format_can_be_given(write: Write) -> None:
    assert prompts(write("prompts.dat", "a, b\n"), "txt") == [(1, "a, b")]
    with pytest.raises(PromptOptionError, match="format='xml': one of 'txt', 'csv'"):
        open_source(write("p.xml", "a"), "xml")  # type: ignore[arg-type]


# Where it comes from --------------------------------------------------------------------------------------------------


def test_a_list_is_a_source_counted_from_one() -> None:
    source = open_source(["a cat", "a\ndog"])
    assert source.name == "<list>"
    assert source.columns() == ("prompt",)
    assert [(row.line, row.values["prompt"]) for row in source.rows()] == [(1, "a cat"), (2, "a\ndog")]
    assert open_source(source) is source


def test_a_list_has_to_hold_text() -> None:
    with pytest.raises(PromptFileError, match="<list>, line 2: a prompt has to be text, not int: 7"):
        open_source(["a cat", 7])  # type: ignore[list-item]
    with pytest.raises(PromptFileError, match="no prompt"):
        list(open_source([]).rows())


def test_a_missing_file_suggests_its_neighbours(write: Write) -> None:
    path = write("prompts.csv", "prompt\na\n")
    with pytest.raises(PromptFileError, match=r"there is no such file; close to it: 'prompts.csv'"):
        open_source(path.with_name("promts.csv"))
    path.with_name("linked.csv").symlink_to("nowhere.csv")
    with pytest.raises(PromptFileError, match="a link that leads nowhere"):
        open_source(path.with_name("linked.csv"))
    with pytest.raises(PromptFileError, match="prompts themselves are given as a list"):
        open_source("a cat on a mat")
    with pytest.raises(PromptFileError, match="this is a folder"):
        open_source(path.parent)
    with pytest.raises(PromptFileError, match="not a regular file"):
        open_source("/dev/null")
    with pytest.raises(PromptFileError):
        open_source("x\0y.txt")
    with pytest.raises(PromptFileError):
        open_source("x" * 5000 + ".txt")


@pytest.mark.parametrize("uri", ["https://example.com/p.csv", "gs://b/p.txt", "https://user:s3cret@h/p.csv?k=s3cret"])
def test_uris_of_other_kinds_are_refused(uri: str) -> None:
    with pytest.raises(PromptFileError, match=rf"{uri.split(':')[0]}://; download it first") as caught:
        open_source(uri)
    assert "s3cret" not in str(caught.value)


def test_a_login_in_an_address_of_s3_is_refused_and_not_quoted() -> None:
    with pytest.raises(PromptFileError, match="its address holds a login") as caught:
        open_source("s3://key:s3cret@bucket/p.csv")
    assert "s3cret" not in str(caught.value)


def test_rows_can_be_read_again_and_given_up_half_way(write: Write) -> None:
    source = open_source(write("p.txt", "a\nb\nc\n"))
    first = source.rows()
    assert next(first).values["prompt"] == "a"
    # Unclosed files are warnings, and warnings are errors here.
    del first
    assert len(list(source.rows())) == len(list(source.rows())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    cell = "x" * 1000
    line = f'{{"prompt": "{cell}"}}\n' if name.endswith("jsonl") else cell + "\n"
    path.write_text("prompt\n" * name.endswith("sv") + line * 20_000, encoding="utf-8")
    tracemalloc.start()
    try:
        assert sum(1 for _ in open_source(path).rows()) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 1_000_000
