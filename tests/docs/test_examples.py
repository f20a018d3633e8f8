"""Every example a reader can copy is run here: README, docs, docstrings."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import runpy
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect_imagen.cli import main
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3
from prefect_imagen.sandbox.signing import make_identity

from ..inside import command, inside, prefect

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARTS = ("core", "blocks", "tasks", "flows", "cli", "sandbox", "deployments")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^```file (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Installing is what `make` does, and the demo and the tests have their own places.
_NOT_RUN = ("make ", "pip install", "export ")


_ABOUT_PREFECT = ("blocks", "deploy", "doctor")
"""Commands that are given the Prefect API. The others are run without it: with it they are tested elsewhere."""


_PROGRAMS = {"prefect-imagen": main, "prefect": prefect}


@dataclass(frozen=True)
class Example:
    page: str
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}:{self.language}"


def _examples(*languages: str) -> list[Example]:
    """The examples of all pages; those that several pages share once."""
    found: dict[tuple[str, str], Example] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 2
                example = Example(page.relative_to(ROOT).as_posix(), match[1], match[2], line)
                done = "\n".join(_commands(match[2])) if match[1] == "sh" else match[2]
                found.setdefault((match[1], done or str(example)), example)
    return list(found.values())


def _commands(text: str) -> list[str]:
    """The lines of a shell example that are carried out."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line for line in lines if line.strip() and not line.startswith((*_NOT_RUN, "#"))]


@dataclass(frozen=True)
class Workplace:
    folder: Path
    environment: dict[str, str]

    def run(self, line: str) -> None:
        """Carry out a line: a plain command of ours or of Prefect in this process, anything else in a shell."""
        program, *arguments = shlex.split(line)
        if program in _PROGRAMS and not re.search(r"[<>|&;$]", re.sub(r"'[^']*'|\"[^\"]*\"", "", line)):
            environment = dict(self.environment)
            if program == "prefect-imagen" and arguments[0] not in _ABOUT_PREFECT:
                del environment["PREFECT_API_URL"]
            code, out, err = command(arguments, environment, self.folder, _PROGRAMS[program])
        else:
            done = subprocess.run(
                ["bash", "-ec", line],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=150,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, f"{out}\n{err}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, s3_server: LocalS3) -> Iterator[Workplace]:
    """What the pages take for granted: a key, a bucket, a file of prompts, and the files that they show."""
    folder = tmp_path_factory.mktemp("readme")
    for page in PAGES:
        for name, text in _FILE.findall(page.read_text(encoding="utf-8")):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    (folder / "prompts.csv").write_text(
        "product,light\nA ceramic mug,morning\nA brass lamp,evening\n", encoding="utf-8"
    )
    shutil.copy(ROOT / "docs/images/mug.png", folder)
    studio = make_identity("Studio Nord")
    (folder / "chain.pem").write_bytes(studio.chain)
    (folder / "key.pem").write_bytes(studio.key)
    s3 = s3_server
    with SandboxServer(pictures="fast") as sandbox:
        s3.create_bucket("my-images")
        s3.client().put_object(Bucket="my-images", Key="prompts/nightly.csv", Body=b"prompt\nA lighthouse\n")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PREFECT_API_URL": prefect_api,
            "PREFECT_IMAGEN_HOME": str(folder / ".prefect-imagen"),
            "AIMLAPI_API_KEY": "key-of-the-tests",
            "AIMLAPI_BASE_URL": sandbox.base_url,
            "OPENAI_API_KEY": "key-of-the-tests",
            "OPENAI_BASE_URL": f"{sandbox.origin}/openai/v1",
            "FAL_KEY": "key-of-the-tests",
            "FAL_QUEUE_URL": f"{sandbox.origin}/queue",
            "AWS_ENDPOINT_URL_S3": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Workplace(folder, environment)


def test_the_pages_have_examples_to_run() -> None:
    assert {example.language for example in _examples("python", "sh", "sql")} == {"python", "sh", "sql"}


@pytest.mark.parametrize("example", _examples("sh"), ids=str)
def test_shell_examples(example: Example, workplace: Workplace) -> None:
    shutil.rmtree(workplace.folder / "imagen", ignore_errors=True)  # each page's own deployments
    for line in _commands(example.text):
        if line.startswith("sqlite3 ") and shutil.which("sqlite3") is None:
            pytest.skip("there is no sqlite3 on this machine")
        workplace.run(line)


@pytest.mark.parametrize("example", _examples("python"), ids=str)
def test_python_examples(example: Example, workplace: Workplace) -> None:
    script = workplace.folder / f"example_{example.line}.py"
    # A block saved with a made-up key is loaded by the next example: give it the key and place of the tests.
    text = example.text.replace(
        'api_key="..."', f'api_key="key", base_url="{workplace.environment["AIMLAPI_BASE_URL"]}"'
    )
    script.write_text(text, encoding="utf-8")
    with inside(workplace.environment, workplace.folder):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("example", _examples("sql"), ids=str)
def test_sql_examples(example: Example, workplace: Workplace) -> None:
    with sqlite3.connect(workplace.folder / ".prefect-imagen" / "ledger.db") as connection:
        for statement in example.text.split(";"):
            if statement.strip():
                connection.execute(statement).fetchall()
    connection.close()


def _modules() -> list[str]:
    return [
        "prefect_imagen." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for part in PARTS
        for path in sorted((ROOT / part).rglob("*.py"))
        if path.name != "__main__.py"
    ]


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0


def test_pages_name_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
