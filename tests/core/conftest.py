"""A throwaway PostgreSQL server, a ledger on either database, and short words for what tests do to it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import (
    Answered,
    BeginResult,
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
class LedgerHarness:
    """A ledger with a run in it."""

    ledger: Ledger
    run: str = "run"
    count: int = field(default=0)

    def start(self, run: str | None = None, **spec: Any) -> None:
        self.run = run or self.run
        self.ledger.runs.start(RunSpec(self.run, MODEL, **{"destination": "file:///a", **spec}))

    def plan(self, count: int, *, prefix: str = "fox", **fields: Any) -> list[str]:
        """Add items to the run; the same prefix gives the same items."""
        rows = [
            RunItem(self.count + n, Item(MODEL, f"{prefix} {n}", {}, **fields), "prompts.txt", n + 1, {"n": n})
            for n in range(count)
        ]
        self.count += count
        self.ledger.runs.add_items(self.run, rows)
        return [row.item.id for row in rows]

    def intent(self, item_id: str, *, reserve: int = RESERVE, requested: int = 1) -> CallIntent:
        return CallIntent(
            id=f"pi-{uuid.uuid4().hex}",
            item_id=item_id,
            run_id=self.run,
            worker_id=self.ledger.worker.id,
            reserve=reserve,
            requested=requested,
            seed=7,
            wire_model=MODEL,
            contract="2025-11",
        )

    def send(self, item_id: str, **options: Any) -> str:
        """Claim where that is needed, and begin a call; returns its id."""
        if self.state(item_id) is not ItemState.CLAIMED:
            assert [item.id for item in self.ledger.items.claim([item_id], **options)] == [item_id]
        intent = self.intent(item_id)
        assert self.ledger.calls.begin(intent) is BeginResult.YES
        return intent.id

    def buy(self, item_id: str, images: int = 1, credits_: int = PRICE) -> str:
        """Buy an item, leaving its images pending, and let go of it."""
        call_id = self.send(item_id)
        assert self.ledger.calls.settle(call_id, answer(images, credits_))
        self.ledger.items.release([item_id])
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
        self.ledger.images.finish([result(self.call(call_id).item_id, call_id, state, index=index, at=at)])


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
def harness(database: str, open_ledger: Callable[..., Ledger]) -> LedgerHarness:
    """A ledger on each kind of database, with a run."""
    opened = LedgerHarness(open_ledger(database))
    opened.start()
    return opened


@pytest.fixture
def shop_of() -> Callable[[Ledger], LedgerHarness]:
    """The short words for a ledger that is open already."""
    return LedgerHarness


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
