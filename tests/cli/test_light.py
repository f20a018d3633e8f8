"""Help is short, and quick: a command imports what it needs, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from prefect_imagen.cli.app import app
from prefect_imagen.core.ledger import Ledger

from .conftest import Said

COMMANDS = (
    "demo",
    "sandbox",
    "models",
    "plan",
    "run",
    "chain",
    "status",
    "runs",
    "repair",
    "reconcile",
    "budget",
    "review",
    "gallery",
    "thumbnails",
    "provenance check",
    "provenance show",
    "archive",
    "backup",
    "doctor",
    "models check",
    "models show",
    "blocks create",
    "deploy init",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_an_example(command: str, here: Callable[..., Said]) -> None:
    said = here(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert f"prefect-imagen {command} [OPTIONS]" in said.out
    assert said.out.count(f"prefect-imagen {command}") >= 2
    assert "--verbose" in said.out
    assert "\x1b[" not in said.out


def test_without_a_command_help_is_shown(here: Callable[..., Said]) -> None:
    said = here()
    assert said.code == 0
    assert all(f" {command.split()[0]} " in said.out for command in COMMANDS)
    assert here("--version").out.startswith("prefect-imagen 0.")


def test_the_key_is_no_option(here: Callable[..., Said]) -> None:
    assert "AIMLAPI_API_KEY" in here("run", "--help").out
    assert "--api-key" not in here("run", "--help").out


HEAVY = (
    "asyncio", "boto3", "botocore", "fastapi", "jinja2", "markdown_it", "PIL", "prefect", "pyarrow", "pydantic",
    "requests", "rich", "sqlalchemy", "uvicorn", "yaml",
)  # fmt: skip
OPTIONS = {"pydantic"}
TABLES = OPTIONS | {"rich"}
LEDGER = TABLES | {"sqlalchemy", "asyncio"}
PLAN = LEDGER | {"requests", "PIL", "jinja2", "yaml"}
MAY_IMPORT = {
    "": set(),
    "--help": set(),
    "--version": set(),
    **{f"{command} --help": OPTIONS for command in (*COMMANDS, "export", "verdicts", "regenerate", "deliver", "erase")},
    "models": TABLES | {"requests"},
    "models show flux/dev": TABLES | {"requests"},
    "runs": LEDGER,
    "budget": LEDGER,
    "archive": LEDGER,
    "verdicts": LEDGER,
    "status": PLAN,
    "repair --no-log": PLAN,
    "reconcile": PLAN,
    "plan prompts.txt --offline": PLAN,
    "run nope.txt --to x": PLAN,
}
"""Heavy modules that a command may import, by command line."""

FORKS = """
import json, os, sys
found = {}
for line in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if not os.fork():
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        from prefect_imagen.cli import main
        main(line.split())
        with os.fdopen(write, "w") as pipe:
            json.dump(sorted(sys.modules), pipe)
            pipe.flush()
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found[line] = json.load(pipe)
    os.wait()
print(json.dumps(found))
"""


def test_a_command_imports_what_it_needs(tmp_path: Path) -> None:
    Ledger(str(tmp_path / "ledger.db")).close()
    (tmp_path / "prompts.txt").write_text("a fox\n")
    environment = {**os.environ, "PREFECT_IMAGEN_CATALOG": str(tmp_path / "ledger.db")}
    command = [sys.executable, "-c", FORKS, json.dumps(list(MAY_IMPORT))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    imported = {line: set(modules) for line, modules in json.loads(done.stdout).items()}
    beyond = {line: imported[line].intersection(HEAVY) - may for line, may in MAY_IMPORT.items()}
    assert {line: names for line, names in beyond.items() if names} == {}
    # The page of `plan` took 486 modules when every command was loaded for it; the interpreter alone takes about 60.
    assert len(imported["plan --help"]) < 300
    assert len(imported["--help"]) < 220
    assert not imported["--help"] & {"prefect_imagen.cli.plan", "prefect_imagen.core.request"}
    # The ledger is in SQLite here. What delivers images, and the dialect of the other database, a plan does without.
    unused = {"prefect_imagen.core.delivery", "sqlalchemy.dialects.postgresql"}
    assert not imported["plan prompts.txt --offline"] & unused


def test_the_list_of_commands_says_what_their_pages_say() -> None:
    listed: Any = typer.main.get_command(app)
    for name, command in listed.commands.items():
        assert " ".join(command.load().help.partition("\n\n")[0].split()) == command.help, name


@pytest.mark.parametrize("command", ["", "run", "plan", "regenerate"])
def test_help_fits_a_screen(command: str, here: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = here(*command.split(), "--help").out.splitlines()
    assert len(lines) <= (48 if not command else 40)
    assert max(map(len, lines)) <= 80
    assert "<bool>" not in "".join(lines)
    assert "<bool>" not in here(*command.split(), "--help-all" if command else "--help").out
