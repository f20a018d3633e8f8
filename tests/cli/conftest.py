"""The command line as a user meets it: in this process where no flow runs, else in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect_imagen.cli import main
from prefect_imagen.core.storage import s3_client
from prefect_imagen.sandbox import SandboxServer

from ..asking import ask
from ..bill import check_bill
from ..inside import command

IMAGEN = Path(sys.executable).with_name("prefect-imagen")
KEY = "sk-never-to-be-printed-4711"


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


def _said(code: int, out: str, err: str) -> Said:
    assert KEY not in out + err
    assert "Traceback" not in out + err, err
    return Said(code, out, err)


@dataclass
class Terminal:
    """A folder to work in, and what a user has exported there."""

    folder: Path
    environment: Mapping[str, str]
    sandbox: SandboxServer
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(IMAGEN), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> Said:
        """Carry out a command in this process; neither a traceback nor the key may ever show."""
        code, out, err = command(list(arguments), {**self.environment, **environment}, self.folder)
        return _said(code, out, err)

    def run_apart(self, *arguments: str, **environment: str) -> Said:
        """The same in a process of its own: for what a process does when it starts and ends."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=180)
        return _said(process.returncode, out, err)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=20_000) as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: SandboxServer) -> Iterator[SandboxServer]:
    sandbox_server.clear_faults()
    sandbox_server.reset()
    yield sandbox_server
    sandbox_server.clear_faults()


@pytest.fixture
def terminal(sandbox: SandboxServer, tmp_path: Path) -> Iterator[Terminal]:
    environment = {
        **os.environ,
        "PREFECT_IMAGEN_HOME": str(tmp_path / "home"),
        "PREFECT_IMAGEN_CATALOG": str(tmp_path / "ledger.db"),
        "AIMLAPI_API_KEY": KEY,
        "AIMLAPI_BASE_URL": sandbox.base_url,
        "PATH": f"{IMAGEN.parent}{os.pathsep}{os.environ['PATH']}",
    }
    del environment["PREFECT_LOGGING_LEVEL"]  # set for the other tests; a user has none
    folder = tmp_path / "work"
    folder.mkdir()
    terminal = Terminal(folder, environment, sandbox)
    yield terminal
    terminal.close()
    if (tmp_path / "ledger.db").exists():
        from prefect_imagen.core.ledger import Ledger

        ledger = Ledger(str(tmp_path / "ledger.db"), create=False)
        check_bill(ledger, terminal.sandbox)
        ledger.close()


@pytest.fixture
def no_deployments(prefect_api: str) -> Iterator[None]:
    """A server without deployments, for a doctor: it looks at all there are, and other tests leave theirs."""

    def clear() -> None:
        with get_client(sync_client=True) as client:
            for row in ask(f"{prefect_api}/deployments/filter", {}):
                client.delete_deployment(row["id"])

    clear()
    yield
    clear()


IN_PREFECT_TOO = pytest.mark.parametrize(
    "user", ["alone", pytest.param("in Prefect", marks=pytest.mark.long)], indirect=True
)
"""For what a command says of a run, wherever it ran: in Prefect in the long tests."""


@pytest.fixture(params=["alone", "in Prefect"])
def user(request: pytest.FixtureRequest, terminal: Terminal, tmp_path: Path) -> Terminal:
    """A user without Prefect, and one whose Prefect is configured for a server."""
    if request.param == "alone":
        return without_prefect(terminal, tmp_path)
    terminal.environment = {**terminal.environment, "PREFECT_API_URL": request.getfixturevalue("prefect_api")}
    return terminal


@pytest.fixture
def alone(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A user who has configured no Prefect API."""
    return without_prefect(terminal, tmp_path)


def without_prefect(terminal: Terminal, tmp_path: Path) -> Terminal:
    kept = {name: value for name, value in terminal.environment.items() if name != "PREFECT_API_URL"}
    terminal.environment = {**kept, "PREFECT_HOME": str(tmp_path / "prefect")}
    return terminal


@pytest.fixture
def migrated(prefect_database: Path) -> Callable[[Path], None]:
    """Fills a PREFECT_HOME with a database of the right schema: making one takes Prefect many seconds each time."""

    def fill(home: Path) -> None:
        home.mkdir(parents=True)
        shutil.copy(prefect_database, home / "prefect.db")

    return fill


@pytest.fixture
def here(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Runs a command in this process: for everything that ends before a flow begins."""
    from prefect_imagen.core.ledger import close_ledgers

    for name, value in terminal.environment.items():
        monkeypatch.setenv(name, value)
    # A client keeps the keys that the environment had when it was made.
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.chdir(terminal.folder)

    def run(*arguments: str) -> Said:
        code = main(list(arguments))
        said = capsys.readouterr()
        return _said(code, said.out, said.err)

    yield run
    close_ledgers()
