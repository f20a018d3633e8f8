"""Files as people have them: what cannot be told from a mistake is an error with its place and the way to mean it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.prompts import PromptError, PromptFileError, PromptSpec, TemplateError, VariantError


def texts(path: Path, **options: Any) -> list[str]:
    return [prompt.text for prompt in PromptSpec(path, **options).prompts()]


@pytest.mark.parametrize(
    ("name", "content", "line", "says"),
    [
        ("p.tsv", 'prompt\tnote\na jug\t"seen from afar,\nin fog"\n', 2, "'tsv-quoted'"),
        ("p.tsv", 'prompt\n"a jug\non a shelf"\n', 2, "'tsv-quoted'"),
        ("p.tsv", 'prompt\tnote\n"a jug, blue"\tx\n', 2, "'tsv-quoted'"),
        ("p.tsv", 'prompt\tnote\n"a ""blue"" jug"\tx\n', 2, "'tsv-quoted'"),
        ("p.txt", "a jug\nprompt\tnote\n", 2, "a tab in the line"),
        ("p.csv", "prompt|note\na jug|x\n", 1, "separated by bars"),
        ("p.csv", "a jug on a shelf\na vase\n", None, "write 'prompt' above it"),
        ("p.csv", "prompt,note\na jug,x\nprompt,note\na vase,y\n", 3, "once more"),
        ("p.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", 1, "git lfs pull"),
        ("p.txt", "version https://hawser.github.com/spec/v1\noid sha256:00\nsize 9\n", 1, "git lfs pull"),
        ("p.txt", "/annex/objects/SHA256E-s9--00\n", 1, "git annex get"),
        ("p.txt", "{\\rtf1\\ansi a jug}\n", 1, "Rich Text"),
        ("p.csv", "%PDF-1.7\n%\xe2\n", 1, "a PDF"),
        ("p.txt", "a jug\n<<<<<<< HEAD\na vase\n=======\na bowl\n>>>>>>> other\n", 2, "not resolved"),
        ("p.csv", "<!DOCTYPE html>\n<title>Log in</title>\n", 1, "a web page"),
        ("p.txt", "\n<HTML>\n", None, ""),
        ("p.csv", "sep=;\nprompt;note\n", 1, "a note to Excel"),
        ("p.csv", "prompt,note\na jug,x\n\x1a\n", 3, "U\\+001A, a control character"),
        ("p.txt", "a jug\x1b[31m\n", 1, "U\\+001B"),
        ("p.txt", "a\x0bjug\n", 1, "U\\+000B"),
        ("p.xlsx", "x", None, "spreadsheets are not read; save the sheet as CSV"),
        ("p.xlsx", "", None, "spreadsheets are not read; save the sheet as CSV"),
        ("p.csv.gz", "x", None, "unpack it"),
    ],
)
def test_a_file_that_is_not_what_it_seems(tmp_path: Path, name: str, content: str, line: int | None, says: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    if not says:
        assert texts(path) == ["<HTML>"]
        return
    with pytest.raises(PromptFileError, match=says) as caught:
        texts(path)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x1f\x8b\x08\x00\x00", "a gzip file"),
        (b"PK\x03\x04\x00\xff", "a ZIP or Excel file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an? old Excel or Word file"),
        (b"SQLite format 3\0", "a SQLite file"),
        ("prompt\n赤いやかんと緑の茶碗\n".encode("shift_jis"), "Shift-JIS"),
        ("prompt\nun café\n".encode("cp1252"), "Windows-1252"),
    ],
)
def test_the_encoding_is_guessed(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(data)
    with pytest.raises(PromptFileError, match=says):
        texts(path)


def test_what_is_meant_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text('prompt\tnote\n"a jug"\tx\n')
    assert texts(path, format="tsv") == ['"a jug"']
    assert texts(path, format="tsv-quoted") == ["a jug"]
    assert texts(path, format="txt") == ["prompt\tnote", '"a jug"\tx']
    path.write_text("a jug on a shelf\na vase\n")
    assert texts(path, format="csv", prompt_column="a jug on a shelf") == ["a vase"]


def test_what_can_be_told_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\ufeff\ufeffa jug\n\u200b\n\ufeff\n\u00ad\u2060\n\u3164\na \u200bvase\n", encoding="utf-8")
    assert texts(path) == ["a jug", "a \u200bvase"]
    path = tmp_path / "p.csv"
    path.write_text('\ufeff\ufeffprompt,note\na jug,"' + "x" * 200_000 + '"\n', encoding="utf-8")
    assert texts(path) == ["a jug"]
    path.write_text("prompt,note\n\u200b,x\n", encoding="utf-8")
    with pytest.raises(PromptFileError, match="line 2: the prompt is empty"):
        texts(path)


PRODUCTS = "name,size\njug,S\n,M\nvase,L\n"


def test_a_hole_in_a_template(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(PRODUCTS)
    template = "{{ name|title }} in size {{ row['size'] }}"
    with pytest.raises(TemplateError, match=r"p.csv, line 3\): 'name' is empty in this row"):
        texts(path, template=template)
    assert texts(path, template=template, exclude=['name=""']) == ["Jug in size S", "Vase in size L"]
    meant = "{{ name|default('', true) }}{% if name %}, {% endif %}{{ size }}"
    assert texts(path, template=meant) == ["jug, S", "M", "vase, L"]
    with pytest.raises(PromptError, match="no row has '' in column 'size'"):
        texts(path, template=template, exclude=['name=""', 'size=""'])


@pytest.mark.parametrize(
    ("template", "error", "says"),
    [
        ("{name} in fog", TemplateError, "names no column"),
        ("$name in fog", TemplateError, "names no column"),
        (" in {thick|thin} fog", TemplateError, "names no column"),
        ("{# a note #}{{ name }}", VariantError, "single alternative"),
        ("{{{ name }}} in fog", TemplateError, "template"),
    ],
)
def test_a_template_of_another_kind(tmp_path: Path, template: str, error: type[Exception], says: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text("name\njug\n")
    with pytest.raises(error, match=says):
        texts(path, template=template)
    lines = tmp_path / "p.jsonl"
    lines.write_text('{"name": "jug"}\n')
    with pytest.raises(error, match=says):
        texts(lines, template=template)


def test_a_folder_of_wildcards_holds_other_things_too(tmp_path: Path) -> None:
    files = {
        "hue.txt": "teal\nplum\n",
        "empty.txt": "",
        "later.txt": "# later\n",
        "list.yaml": "trees:\n  - oak\n  -\n",
        "nothing.yaml": "",
        "broken.yaml": "a: [\n",
        "about.json": '{"id": 3, "pictures": [{"url": "u"}], "tags": []}',
        "block.yaml": "look:\n  - |\n    # soft\n    matte, thin\n  - plain\n",
        ".github/ci.yml": "on: [push]\n",
        ".hidden.txt": "x\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    def expand(text: str) -> list[str]:
        return [prompt.text for prompt in PromptSpec([text], wildcards=tmp_path).prompts()]

    assert expand("__hue__") == expand("__h*__") == ["teal", "plum"]
    for name, says in {
        "empty": "has no values",
        "later": "has no values",
        "trees": r"list.yaml, line 3: an empty value",
        "pictures": "value 1 of 'pictures' is not text but a mapping",
        "look": r"block.yaml, line 2: a value of 'look' has a line that begins with '#'",
        "a": r"no wildcard 'a'.*not read: .*broken.yaml",
        "push": "no wildcard 'push'",
    }.items():
        with pytest.raises(PromptError, match=says):
            expand(f"__{name}__")


def test_a_wildcard_named_by_a_value_with_a_blank(tmp_path: Path) -> None:
    (tmp_path / "old wood.txt").write_text("oak\n")
    path = tmp_path / "p.jsonl"
    path.write_text('{"w": "old wood"}\n')
    assert texts(path, template="a __{{ w }}__ box", wildcards=tmp_path) == ["a oak box"]
    path.write_text('{"w": "new wood"}\n')
    with pytest.raises(VariantError, match="'new wood' cannot be a wildcard's name"):
        texts(path, template="a __{{ w }}__ box", wildcards=tmp_path)
