"""Prompts on the command line and from standard input, help in two levels, the list of runs, completion."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.cli import console

from .conftest import IMAGEN, Said, Terminal

Here = Callable[..., Said]


def test_prompts_are_arguments(here: Here, alone: Terminal) -> None:
    said = here("plan", "a {red|blue} fox", "a dog in the rain", "--json")
    assert (said.code, json.loads(said.out)["to_buy"]) == (0, 3)
    assert alone.run("run", "a red fox", "--to", "images").code == 0
    assert [call["prompt"] for call in alone.sandbox.calls()] == ["a red fox"]
    alone.write("foxes.txt", "a fox\n")
    said = here("plan", "a red fox", "foxes.txt")
    assert (said.code, "foxes.txt is no prompt" in said.err) == (2, True)
    # A name that is spelled wrong is never bought as a prompt.
    for name in ("my foxes.csv", "foxes"):
        assert here("plan", name).code == 2


def test_prompts_come_from_standard_input(here: Here, alone: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    typed("a fox\na {big|small} dog\n")
    assert json.loads(here("plan", "-", "--json").out)["to_buy"] == 3
    command = [
        IMAGEN,
        "run",
        "-",
        "--format",
        "csv",
        "--template",
        "{{ product }} in {{ light }} light",
        "--to",
        "images",
    ]
    piped = "product,light\nmug,soft\n"
    subprocess.run(command, input=piped, text=True, cwd=alone.folder, env=alone.environment, check=True, timeout=180)
    assert [call["prompt"] for call in alone.sandbox.calls()] == ["mug in soft light"]
    typed("")
    assert here("plan", "-").code == 2


@pytest.mark.parametrize("command", ["run", "plan"])
def test_help_has_two_levels(here: Here, command: str) -> None:
    short, long, again = here(command, "--help"), here(command, "--help-all"), here(command, "--help")
    assert long.code == 0
    assert again.out == short.out, "the long one leaves no trace"
    for shown in ("--template", "--model", "--help-all"):
        assert shown in short.out
    assert "--sample-seed" not in short.out
    assert "--sample-seed" in long.out
    assert len(short.out.splitlines()) < len(long.out.splitlines()) / 1.8


def test_the_list_of_runs(here: Here, alone: Terminal) -> None:
    alone.write("foxes.txt", "a fox\n")
    assert here("runs").code == 2, "there is no ledger yet"
    assert alone.run("run", "foxes.txt", "--to", "images").code == 0
    assert "1 run in " in here("runs").out
    assert [run["outcome"] for run in json.loads(here("runs", "--json").out)] == ["Completed"]


def test_a_shell_is_told_how_to_complete(alone: Terminal) -> None:
    environment = {**alone.environment, "_PREFECT_IMAGEN_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": "prefect-imagen rec", "COMP_CWORD": "1"}
    done = subprocess.run([IMAGEN], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["reconcile"]
    assert "--install-completion" in alone.run("--help").out


def test_commands_are_printed_as_they_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "prefect-imagen")])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert console.program() == os.path.join(".venv", "bin", "prefect-imagen")  # noqa: PTH118 - as it is typed
    monkeypatch.setenv("PATH", str(IMAGEN.parent))
    assert console.program() == "prefect-imagen"
