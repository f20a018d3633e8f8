"""What a command does in a large ledger does not grow with what it does not ask for. Counted, not timed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import CostLine, CostSummary, Item, Ledger, RunItem, RunSpec
from prefect_imagen.core.ledger.runs import add_run_items
from prefect_imagen.core.ledger.schema import CATALOG_VIEW, runs
from rich.progress import Progress
from sqlalchemy.engine import Engine

from bench import large

WHOLE = ("status", "review page of everything", "plan of")
"""What adds up or lists the whole ledger, and says so in docs/scaling.md; and what takes long to ask."""
LISTS = ("status --all", "review page, what to filter by")
"""What has a line for each run, of which there are ten times as many."""
STEP = 50
ITEMS = 200


class Steps:
    """Counts the instructions that SQLite executes."""

    count = 0

    def connected(self, raw: Any, _record: Any) -> None:
        if isinstance(raw, sqlite3.Connection):
            raw.set_progress_handler(self._tick, STEP)

    def _tick(self) -> int:
        self.count += STEP
        return 0


@pytest.fixture
def steps() -> Iterator[Steps]:
    counting = Steps()
    sa.event.listen(Engine, "connect", counting.connected)
    yield counting
    sa.event.remove(Engine, "connect", counting.connected)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imagen_home: Path) -> Iterator[list[large._Place]]:
    """A ledger with one run, and one with ten more and owned prompts; the last run is the same in both."""
    monkeypatch.setattr(large, "_RUN", ITEMS)
    monkeypatch.setattr(large, "_GROUP", 5)
    monkeypatch.setattr(large, "_UNKNOWN", 5)
    made = []
    with Progress(disable=True) as progress:
        for name, runs, owned in (("small", range(10, 11), 0), ("large", range(11), 3000)):
            url = f"sqlite:///{tmp_path}/{name}.db"
            large.fill(url, runs, owned, recent=0, progress=progress)
            made.append(large._Place(url, tmp_path, 10))
    yield made
    for place in made:
        place.ledger.close()


def test_what_is_asked_does_not_read_the_rest_of_the_ledger(places: list[large._Place], steps: Steps) -> None:
    grown = {}
    for name, ask in large._QUESTIONS.items():
        if name.startswith(WHOLE) and name not in LISTS:
            continue
        counts = []
        for place in places:
            ask(place, [])  # prepares statements
            place.ledger.engine.dispose()  # connections from now on are counted
            steps.count = 0
            ask(place, [])
            counts.append(steps.count)
        grown[name] = tuple(counts)
    assert grown
    slower = {name: two for name, two in grown.items() if two[1] > (3 if name in LISTS else 1.5) * two[0]}
    assert not slower


def test_the_whole_ledger_has_cost_what_its_runs_have(places: list[large._Place]) -> None:
    ledger = places[1].ledger
    each = [ledger.costs.of(row["run_id"]) for row in ledger.runs.all()]
    names = CostSummary.__dataclass_fields__
    added = {name: sum((getattr(run, name) for run in each), CostLine()) for name in names}
    whole = ledger.costs.of()
    assert {name: getattr(whole, name) for name in names} == added
    assert all(added[name].calls for name in ("delivered", "lost", "erased", "unbilled"))
    accounts = ledger.costs.by_account()
    assert len(accounts) > 1
    assert sum(account.billed for account in accounts) == whole.billed
    assert sum(account.billed_at_most for account in accounts) == whole.billed_at_most
    assert sum(account.calls for account in accounts) == sum(line.calls for line in added.values())


def test_the_items_of_a_run_are_counted_when_it_ends_and_anew_when_it_asks_for_more(
    database: str, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(database)
    rows = [RunItem(n, Item("m", f"fox {n % 3}", {}), "x", n) for n in range(5)]
    kept = sa.select(runs.c["items"])

    def told() -> tuple[int, int | None]:
        with ledger.read() as connection:
            return ledger.runs.all()[0]["items"], connection.scalar(kept)

    ledger.runs.start(RunSpec("run", "m"))
    ledger.runs.add_items("run", rows[:2])
    assert told() == (2, None)
    ledger.runs.finish("run", "Completed")
    assert told() == (2, 2)
    ledger.runs.add_items("run", rows[2:])  # by another process, say
    assert told() == (3, None)
    ledger.runs.start(RunSpec("run", "m"))
    ledger.runs.finish("run", "Completed")
    assert told() == (3, 3)
    ledger.runs.start(RunSpec("run", "m"))
    assert told() == (3, None)


def test_a_run_that_ends_waits_for_rows_that_another_process_adds(
    postgres: str, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(postgres)
    ledger.runs.start(RunSpec("run", "m"))
    with ThreadPoolExecutor() as pool:
        with ledger.engine.begin() as other:
            add_run_items(other, "run", [RunItem(0, Item("m", "fox", {}), "x", 1)])
            ending = pool.submit(ledger.runs.finish, "run", "Completed")
            assert not wait([ending], timeout=0.5).done
        ending.result()
    assert ledger.runs.all()[0]["items"] == 1


def test_postgresql_plans_the_view_together_with_what_is_asked_of_it(postgres: str) -> None:
    ledger = Ledger(postgres)
    with ledger.read() as connection:
        limits = [
            int(connection.scalar(sa.text(f"SHOW {name}")) or 0)
            for name in ("from_collapse_limit", "join_collapse_limit", "geqo_threshold")
        ]
    ledger.close()
    joined = CATALOG_VIEW.count("\nFROM ") + CATALOG_VIEW.count("\nLEFT JOIN ")
    # Beside them the first rows of a run, the choice of its items, and one to spare.
    assert min(limits) > joined + 3 > 8
