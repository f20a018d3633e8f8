"""Wildcards: files and names, what is in them, and what is wrong with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.prompts import PromptFileError, Resolver, VariantError, Wildcards, open_wildcards, parse

YAML = """\
clothing:
  - T-shirt
  - Pants
artists:
  finnish:
    - Eero Järnefelt
  dutch:
    - Piet Mondrian
    - "Rembrandt van Rijn"
  1234: 5678
  flurp: 12345
bools: [no, yes, null, 1990, 0x1F, 3::red]
"""


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def values(wildcards: Wildcards, name: str) -> list[str]:
    return [value.text for _, value in wildcards.values(wildcards.find(name))]


def texts(source: str, wildcards: Wildcards) -> list[str]:
    return [variant.text for variant in parse(source, Resolver(wildcards)).expand()]


def test_files_and_names(tmp_path: Path) -> None:
    found = open_wildcards(
        folder(
            tmp_path,
            {
                "colours.txt": "\ufeff# a note\r\nred\r\n\r\n  dark blue  \n#off\n\\#ff0000\nred\nC# blue # kept",
                "sub/deep/more.TXT": "x",
                "any.yaml": YAML,
                "sub/other.yml": "list: [a]",
                "things.json": '["one", 2, 3.5]',
                "sub/names.json": '{"here": {"there": ["y"]}}',
                "README.md": "left alone",
                ".hidden.txt": "left alone",
            },
        )
    )
    assert found.names == (
        "artists/dutch", "artists/finnish", "bools", "clothing", "colours", "sub/deep/more", "sub/here/there",
        "sub/list", "things",
    )  # fmt: skip
    assert values(found, "colours") == ["red", "dark blue", "#ff0000", "C# blue # kept"]
    assert values(found, "bools") == ["no", "yes", "null", "1990", "0x1F", "3::red"]
    assert values(found, "things") == ["one", "2", "3.5"]
    assert values(found, "artists/*") == ["Piet Mondrian", "Rembrandt van Rijn", "Eero Järnefelt"]
    assert found.find("*") == ("bools", "clothing", "colours", "things")
    assert found.find("sub/**") == ("sub/deep/more", "sub/here/there", "sub/list")
    assert texts("__bools__", found)[-1] == "red"


def test_a_value_added_at_the_end_moves_none() -> None:
    before = texts("__c__ {1|2}", Wildcards({"c": ["red", "blue"]}))
    assert texts("__c__ {1|2}", Wildcards({"c": ["red", "blue", "amber"]}))[: len(before)] == before


def test_values_of_several_names_count_once() -> None:
    found = Wildcards({"a1": ["x", "y"], "a2": ["y", "z"]})
    assert texts("__a*__", found) == ["x", "y", "z"]


def test_what_depends_on_variables_is_not_remembered() -> None:
    found = Wildcards({"w": ["${v:none}"], "outer": ["__w__!"]})
    assert texts("__outer__ ${v=a}__outer__ ${v=!{b|c}}__outer__ __w(v=d)__", found) == [
        "none! a! b! d",
        "none! a! c! d",
    ]
    assert texts("__outer__", found) == ["none!"]
    closed = Resolver(Wildcards({"w": ["{a|b}"]}))
    first = parse("__w__", closed).root.nodes[0]
    assert parse("x __w__", closed).root.nodes[1] is first


@pytest.mark.parametrize(
    ("files", "line", "says"),
    [
        ({}, None, "there is no wildcard in it"),
        ({"a.txt": "# nothing\n"}, None, "'a' has no values"),
        ({"a.txt": b"ok\ncaf\xe9\n"}, 2, "not UTF-8.*0xE9"),
        ({"a.json": '{"a": []}'}, None, "'a' has no values"),
        ({"a.json": '{"a": ["x",\n]}'}, 2, "not valid JSON"),
        ({"a.json": '{"a": ["x"], "a": ["y"]}'}, None, "the key 'a' appears twice"),
        ({"a.json": '{"a": [{"x": 1}]}'}, None, "value 1 of 'a' is not text"),
        ({"a.json": '{"a": [true]}'}, None, "value 1 of 'a' is not text"),
        ({"a.json": '{"a": ["x", " "]}'}, 2, "an empty value"),
        ({"a.json": "3"}, None, "neither a list"),
        ({"a.json": "[" * 100_000}, None, "not valid JSON"),
        ({"a.yaml": "a: [x\n"}, 2, "not valid YAML"),
        ({"a.yaml": "a: [x]\nb: {c: [y]}\na: [z]\n"}, 3, "the name 'a' appears twice"),
        ({"a.yaml": "? [x]\n: [y]\n"}, 1, "a name has to be text"),
        ({"a.yaml": "a: [[x]]"}, None, "value 1 of 'a' is not text"),
        ({"a.yaml": "a: &a {b: *a}"}, None, "levels"),
        ({"a.yaml": "x0: &x0 {a: [b]}\n" + "".join(
            f"x{n}: &x{n} {{" + ", ".join(f"k{k}: *x{n - 1}" for k in range(9)) + "}\n" for n in range(1, 15))},
         None, "100,000 names"),
        ({"a.yaml": "!!python/object/apply:os.getcwd []"}, None, "has no values"),
        ({"a.txt": "x", "a.json": '["y"]'}, None, "the wildcard 'a' is also in .*a.json"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, files: dict[str, str | bytes], line: int | None, says: str) -> None:
    with pytest.raises(PromptFileError, match=says) as caught:
        open_wildcards(folder(tmp_path, files))
    assert isinstance(caught.value, BadInput)
    assert caught.value.line == line
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match="no such folder"):
        open_wildcards(tmp_path / "missing")
    folder(tmp_path, {"a.txt": "x"})
    with pytest.raises(PromptFileError, match="name the folder"):
        open_wildcards(tmp_path / "a.txt")


def test_what_is_wrong_with_a_value_names_its_file(tmp_path: Path) -> None:
    found = open_wildcards(folder(tmp_path, {"a.txt": "ok\n\n{red|blue\n", "b.txt": "__c__", "c.txt": "x\n__zz__"}))
    with pytest.raises(VariantError, match="unclosed") as caught:
        parse("the __a__", Resolver(found))
    assert (caught.value.source, caught.value.line, caught.value.position) == (str(tmp_path / "a.txt"), 3, 0)
    with pytest.raises(VariantError, match="no wildcard 'zz'") as caught:
        parse("the __b__", Resolver(found))
    assert (caught.value.source, caught.value.line) == (str(tmp_path / "c.txt"), 2)


@pytest.mark.parametrize(
    ("values", "circle"),
    [({"a": ["__a__"]}, "a → a"), ({"a": ["x", "__b__"], "b": ["{y|__c__}"], "c": ["__*__"]}, "a → b → c → a")],
)
def test_circles(values: dict[str, list[str]], circle: str) -> None:
    with pytest.raises(VariantError, match=f"lead back to themselves: {circle}"):
        parse("__a__", Resolver(Wildcards(values)))


@pytest.mark.slow
def test_a_long_list_is_resolved_once() -> None:
    found = Resolver(Wildcards({"n": [f"value {n}" for n in range(20_000)]}))
    for _ in range(200):
        assert parse("a __n__ and {3$$__n__}", found).count() == 20_000 * (20_000 * 19_999 * 19_998 // 6)
