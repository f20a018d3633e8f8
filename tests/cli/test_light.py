"""Help and the commands that only look are quick: they never import Prefect."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.core.ledger import Ledger

from .conftest import Said

COMMANDS = (
    "demo",
    "sandbox",
    "models",
    "plan",
    "run",
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


def test_looking_never_imports_prefect(tmp_path: Path) -> None:
    Ledger(str(tmp_path / "ledger.db")).close()
    (tmp_path / "prompts.txt").write_text("a fox\n")
    script = """
import sys
from prefect_imagen.cli import main
for arguments in (["--help"], ["run", "--help"], ["doctor", "--help"], ["blocks", "create", "--help"], ["models"],
                  ["provenance", "check", "--help"],
                  ["plan", "prompts.txt"], ["status", "repair", "reconcile", "budget", "--all"],
                  ["run", "nope.txt", "--to", "x"]):
    main([*arguments])
    assert "prefect" not in sys.modules, arguments
    assert arguments[-1] != "--help" or "sqlalchemy" not in sys.modules, arguments
"""
    environment = {**os.environ, "PREFECT_IMAGEN_CATALOG": str(tmp_path / "ledger.db")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
