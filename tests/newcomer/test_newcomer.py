"""The README and the page on unattended runs, typed by a newcomer who has the wheel and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from ..asking import ask
from ..bill import check_bill
from ..waiting import until

ROOT = Path(__file__).parents[2]
KEY = "sk-of-a-newcomer-4711"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str, *words: str) -> list[str]:
    """The blocks of a page that have these words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for kind, block in _BLOCK.findall(text) if kind == language and all(word in block for word in words)]


def block(page: str, language: str, *words: str) -> str:
    (found,) = blocks(page, language, *words)
    return found


@dataclass
class Newcomer:
    """A new virtual environment, an empty folder, and what was exported in the terminal."""

    venv: Path
    folder: Path
    environment: Mapping[str, str]
    sandbox: SandboxServer
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def types(self, text: str) -> str:
        """Type a block, line by line, in one shell; returns what it shows."""
        done = subprocess.run(
            ["bash", "-e"],
            input=text,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert KEY not in done.stdout + done.stderr
        return done.stdout

    def starts(self, line: str) -> Path:
        """Start what goes on running, in a terminal of its own; returns its log."""
        log = self.folder / f"terminal-{len(self.started)}.log"
        with log.open("wb") as file:
            self.started.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {line}"],
                    cwd=self.folder,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            )
        return log

    def leaves(self) -> None:
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def bill_is_right(self) -> int:
        """Hold the ledger against the bill; returns the number of images that were paid for."""
        ledger = Ledger(str(self.folder / ".prefect-imagen" / "ledger.db"))
        try:
            check_bill(ledger, self.sandbox, settled=True)
        finally:
            ledger.close()
        return len(self.sandbox.bill()["entries"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: building leaves files behind.
    source = folder / "source"
    # Other tests compile meanwhile.
    left_out = (".*", "__pycache__", "build", "tests", "bench", "*.egg-info", "demo-output")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*left_out))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source],
        check=True,
        timeout=300,
    )
    (built,) = folder.glob("prefect_imagen-*.whl")
    return built


def _pip(venv: Path, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", *arguments]
    subprocess.run(command, check=True, timeout=900)


@contextlib.contextmanager
def newcomer(folder: Path, venv: Path, **environment: str) -> Iterator[Newcomer]:
    folder.mkdir()
    (folder / "prompts.csv").write_text(
        "product,light\nA ceramic mug,morning\nA brass lamp,evening\n", encoding="utf-8"
    )
    with SandboxServer(pictures="fast") as sandbox, LocalS3(folder / "s3") as s3:
        s3.create_bucket("my-images")
        s3.client().put_object(Bucket="my-images", Key="prompts/nightly.csv", Body=b"prompt\na nightly {fox|owl}\n")
        exported = {
            **os.environ,
            "PATH": f"{venv / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / ".prefect"),
            "PREFECT_IMAGEN_HOME": str(folder / ".prefect-imagen"),
            "PREFECT_IMAGEN_MODEL": "",  # the default is what the pages speak of
            "AIMLAPI_API_KEY": KEY,
            "AIMLAPI_BASE_URL": sandbox.base_url,
            "AWS_ENDPOINT_URL_S3": s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment,
        }
        person = Newcomer(venv, folder, exported, sandbox)
        try:
            yield person
        finally:
            person.leaves()


def _without_installing(text: str) -> str:
    """A block without the lines that stand for what this test has done: the wheel is there, the key exported."""
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(("pip install", "export AIML"))
    )


def test_the_wheel_has_all_that_the_first_commands_need(wheel: Path, tmp_path: Path) -> None:
    """The packages that it needs come from the environment of the tests; the long test installs them."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    _pip(venv, "--no-deps", wheel)
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "packages-of-the-tests.pth").write_text(sysconfig.get_path("purelib"))
    with newcomer(tmp_path / "work", venv) as person:
        where = person.types("python -c 'import prefect_imagen.cli as cli; print(cli.__file__)'")
        assert where.startswith(str(venv)), "the wheel's, not the repository's"
        shown = person.types(_without_installing(block("README.md", "sh", "prefect-imagen plan", "prefect-imagen run")))
        assert "Completed  4 of 4 items delivered" in shown
        assert person.bill_is_right() == 4


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_from_the_readme_to_the_first_scheduled_run(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    _pip(venv, "--constraint", ROOT / "constraints.txt", wheel)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with newcomer(tmp_path / "work", venv, PREFECT_SERVER_ANALYTICS_ENABLED="false") as person:
        page = "docs/deploy/README.md"
        # Without a server: buy, look, and buy nothing again.
        first = _without_installing(block("README.md", "sh", "prefect-imagen plan", "prefect-imagen run"))
        assert "Completed  4 of 4 items delivered" in person.types(first)
        assert "4 of the items, not bought again" in person.types(first)
        assert person.bill_is_right() == 4

        # The server, in a terminal of its own. Port 4200 may be taken on this machine.
        log = person.starts(f"{block(page, '', 'prefect server start').strip()} --port {port}")
        api = f"http://127.0.0.1:{port}/api"

        def answers() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=5):
                return True
            return False

        until(answers, "the server", seconds=300, details=log.read_text)
        person.environment = {**person.environment, "PREFECT_API_URL": api}

        # Steps of one's own.
        steps = person.folder / "steps.py"
        steps.write_text(block("README.md", "python", "expand_prompts"), encoding="utf-8")
        assert "{'delivered': 2}" in person.types("python steps.py")
        assert person.bill_is_right() == 6

        # Blocks, deployments, worker.
        typed = block(page, "sh", "deploy init").replace(":4200", f":{port}")
        assert "All well" in person.types(typed)
        worker, by_hand = block(page, "", "prefect worker start").strip().splitlines()
        worker_log = person.starts(worker)
        until(lambda: "started" in worker_log.read_text(), "the worker", seconds=300, details=worker_log.read_text)
        until(
            lambda: "All well" in _said(person, "prefect-imagen doctor"), "a doctor who finds the worker", seconds=120
        )
        person.types(by_hand)
        assert person.bill_is_right() == 8
        assert ask(f"{api}/deployments/name/imagen_pipeline/nightly")["schedules"][0]["active"] is False

        # The schedule, made to come due, and switched on as the page says.
        file = person.folder / "imagen" / "prefect.yaml"
        text = file.read_text(encoding="utf-8").replace('"30 0 * * *"', '"* * * * *"', 1)
        file.write_text(text.replace("active: false", "active: true", 1), encoding="utf-8")
        person.types(next(line for line in typed.splitlines() if line.startswith("prefect --no-prompt deploy")))

        def scheduled() -> list[str]:
            runs = ask(f"{api}/flow_runs/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
            return [run["id"] for run in runs if run["auto_scheduled"] and run["state"]["type"] == "COMPLETED"]

        until(scheduled, "a scheduled run", seconds=300, pause=2, details=worker_log.read_text)
        # The same day, so the same edition: it owns all that the run by hand has bought.
        assert person.bill_is_right() == 8


def _said(person: Newcomer, line: str) -> str:
    done = subprocess.run(
        ["bash", "-c", line], cwd=person.folder, env=person.environment, capture_output=True, text=True, check=False
    )
    return done.stdout
