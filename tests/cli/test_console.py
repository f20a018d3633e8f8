"""What is printed commands no terminal, wherever it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from prefect_imagen.cli.console import facts, harmless, print_json, stdout, table

from .conftest import Said, Terminal

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202etxt.exe"


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    shown = harmless(EVIL)
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07" in shown
    rows = table("a")
    rows.add_row(EVIL)
    stdout.cache_clear()
    stdout().print(EVIL, soft_wrap=True)
    stdout().print(rows)
    facts(stdout(), [("name", f"two\nlines {EVIL}")])
    said = capsys.readouterr().out
    stdout.cache_clear()
    assert said.count("\\x1b") == 6
    assert "two\nlines" in said
    assert not set(EVIL[:1] + "\x07\x9b\x7f\u202e") & set(said)


def test_json_is_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    stdout.cache_clear()
    print_json({"name": EVIL, "fox": "näher 🦊"})
    said = capsys.readouterr().out
    stdout.cache_clear()
    assert json.loads(said) == {"name": EVIL, "fox": "näher 🦊"}
    assert not set(EVIL[:1] + "\x07\x9b\x7f\u202e") & set(said)
    assert "näher 🦊" in said


@pytest.mark.parametrize("command", ["plan", "run"])
def test_names_of_files(here: Callable[..., Said], terminal: Terminal, command: str) -> None:
    name = "a\x1b]0;owned\x07\x1b[2J\x9b31m.txt"
    arguments = ("--to", "images") if command == "run" else ("--offline",)
    for text in ("", "a {fox\n", "a __fox__\n"):
        terminal.write(name, text)
        said = here(command, name, *arguments)
        assert said.code == 2
        assert "\\x1b]0;owned" in said.err
        assert not {"\x1b", "\x07", "\x9b"} & set(said.out + said.err)
    folder = terminal.folder / "w\x1b[2J"
    folder.mkdir()
    (folder / "fox\x1b]0;owned\x07.txt").write_bytes(b"\xff\xfe")
    terminal.write("good.txt", "a __fox__\n")
    said = here(command, "good.txt", "--wildcards", folder.name, *arguments)
    assert said.code == 2
    assert "\\x1b[2J" in said.err
    assert not {"\x1b", "\x07", "\x9b"} & set(said.out + said.err)
