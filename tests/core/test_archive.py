"""Archives: rows go out of the ledger and come back; no sum changes, nothing owned is forgotten, nothing is lost."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.archive import archive, preview, restore
from prefect_imagen.core.archive.files import TABLES
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import (
    ImageState,
    Item,
    ItemState,
    Ledger,
    Period,
    Refused,
    RunItem,
    Selection,
    Unbilled,
    Unknown,
    Verdict,
)
from prefect_imagen.core.ledger.schema import calls, metadata, reviews
from prefect_imagen.core.plan import BatchSpec, make_plan
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.storage import LocalStore

MODEL = "google/imagen4/preview"
PRICE = 104_000
OLD = Selection(edition="old")
KEEPS_ROWS = {"imagen_holders", "imagen_archives", "imagen_history", "imagen_quota_shares"}


def buy(harness: Any, item_id: str, *, images: int = 1, at: str = "a") -> str:
    call_id: str = harness.buy(item_id, images)
    for index in range(images):
        harness.finish(call_id, index=index, at=at)
    return call_id


@pytest.fixture
def shop(harness: Any) -> Any:
    """A run of an old edition with items of every kind, and one of a new edition that asks for old ones, too."""
    harness.start("first", edition="old", tags={"client": "acme"})
    harness.ledger.budgets.set(Period.MONTH, 10**9)
    old = harness.plan(8, edition="old")
    again = [RunItem(90, Item(MODEL, "fox 0", {}, "old"), "prompts.txt", 90, {})]
    harness.ledger.runs.add_items("first", again)
    first = buy(harness, old[0])
    buy(harness, old[1], images=3)
    harness.finish(harness.buy(old[2], 2))
    spoilt = harness.buy(old[3], 2)
    harness.finish(spoilt)
    harness.finish(spoilt, ImageState.QUARANTINED, index=1)
    refused = harness.send(old[4])
    harness.ledger.calls.settle(refused, Refused(http_status=400, reason="no", credits=7))
    harness.ledger.items.release([old[4]])
    unknown = harness.send(old[5])
    harness.ledger.calls.settle(unknown, Unknown(reason="no answer"))
    harness.ledger.items.release([old[5]])
    failed = harness.send(old[6])
    harness.ledger.calls.settle(failed, Unbilled(reason="500", item_state=ItemState.PLANNED))
    harness.ledger.items.release([old[6]])
    buy(harness, old[6])
    harness.ledger.verdicts.record([Verdict(f"{first}-0", "eve", stars=4, note="a cover")])
    harness.ledger.runs.finish("first", "Incomplete")
    harness.start("second", edition="new", tags={"client": "zoo"})
    buy(harness, harness.plan(1, edition="new")[0])
    harness.plan(2, edition="new", prefix="hen")
    rows = [RunItem(n, Item(MODEL, f"fox {n}", {}, "old"), "again.txt", n, {"n": n}) for n in range(50, 53)]
    harness.ledger.runs.add_items("second", [RunItem(70, Item(MODEL, "fox 0", {}, "old"), "again.txt", 1, {}), *rows])
    harness.ledger.runs.finish("second", "Incomplete")
    harness.old = old
    return harness


def everything(ledger: Ledger) -> dict[str, list[Any]]:
    """All rows of all tables but what names processes, or is a log."""
    with ledger.read() as connection:
        return {
            table.name: sorted((dict(row._mapping) for row in connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
            if table.name not in KEEPS_ROWS
        }


def histories(ledger: Ledger, item_ids: list[str]) -> list[Any]:
    return [ledger.items.history(item_id) for item_id in item_ids]


def totals(ledger: Ledger) -> dict[str, Any]:
    """Every sum that a command shows."""
    with ledger.read() as connection:
        connection.execute(sa.text("SELECT 1"))
    runs = ("first", "second")
    ledger.write(lambda connection: connection.execute(sa.delete(metadata.tables["imagen_budget_windows"])))
    return {
        "costs": [ledger.costs.of(run) for run in (None, *runs)],
        "accounts": [ledger.costs.by_account(run) for run in (None, *runs)],
        "tags": ledger.costs.by_tag("client"),
        "budgets": ledger.budgets.states("first"),
        "runs": ledger.runs.all(),
        "progress": [ledger.runs.progress(run) for run in runs],
        "quarantined": [ledger.images.count_in(ImageState.QUARANTINED, run) for run in runs],
        "damaged": [ledger.images.count_damaged(run) for run in runs],
        "models": ledger.items.used_models(),
        "unknown": ledger.calls.unknown(),
    }


def test_rows_go_out_and_come_back(shop: Any, tmp_path: Path) -> None:
    ledger = shop.ledger
    before, rows, changes = totals(ledger), everything(ledger), histories(ledger, shop.old)
    found = preview(ledger, OLD)
    assert (found.items, found.images, found.calls, found.credits, found.archived) == (4, 6, 5, 4 * PRICE, 0)
    assert found.stay == {"unknown": 1, "undelivered": 1, "refused": 1, "unfinished": 4}

    done = archive(ledger, OLD, str(tmp_path / "out"))
    assert (done.items, done.changed) == (4, 0)
    assert totals(ledger) == before
    moved = [shop.old[n] for n in (0, 1, 3, 6)]
    with ledger.read() as connection:
        for name in ("calls", "images", "run_items"):
            query = sa.text(f"SELECT count(*) FROM imagen_{name} WHERE item_id IN ({', '.join(map(repr, moved))})")
            assert connection.scalar(query) == 0, name
        left = connection.execute(sa.text(f"SELECT prompt, state FROM imagen_items WHERE id = '{moved[0]}'")).one()
    assert tuple(left) == ("", "delivered")
    assert histories(ledger, [shop.old[1]]) == [[]]
    # A run that is begun again under its id has the rows that it had.
    rows_again = [RunItem(n, Item(MODEL, f"fox {n}", {}, "old"), "prompts.txt", n + 1, {"n": n}) for n in range(8)]
    ledger.runs.add_items("first", rows_again)
    next(run for run in rows["imagen_runs"] if run["id"] == "first")["items"] = None  # to be counted anew
    assert totals(ledger) == before
    manifest = json.loads((tmp_path / "out" / str(done.id) / "manifest.json").read_text())
    assert (manifest["credits"], manifest["files"]["items"]["rows"]) == (4 * PRICE, 4)
    again = preview(ledger, OLD)
    assert (again.items, again.archived) == (0, 4)
    assert archive(ledger, OLD, str(tmp_path / "out")).id is None

    assert restore(ledger, str(done.id)).items == 4
    assert totals(ledger) == before
    assert without_numbers(everything(ledger)) == without_numbers(rows)
    assert histories(ledger, shop.old) == changes
    with pytest.raises(BadInput, match="already"):
        restore(ledger, done.uri)


class Killed(BaseException):
    """Stands for the end of the process: nothing of this package handles it."""


class Killer:
    """Ends the process before one of the operations that change a ledger or a store, or read a file back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for owner, names in ((Ledger, ("write",)), (LocalStore, ("put", "get", "write_text", "delete"))):
            for name in names:
                monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            # Of the files, the first and the last one are enough.
            of_other_file = any(str(one).endswith(".parquet") for one in arguments) and not any(
                str(one).endswith(("items.parquet", "/history.parquet")) for one in arguments
            )
            if self.left is not None and not of_other_file:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return operation(*arguments, **options)

        return counted

    def at_each_step(self, attempt: Callable[[], Any], check: Callable[[], None], stride: int) -> int:
        """Repeat an attempt, which dies some steps later each time; begin with the first again in a new phase."""
        steps, deaths, phases = 0, 0, {self.phase()}
        while True:
            self.left = steps
            try:
                attempt()
            except Killed:
                deaths += 1
            else:
                return deaths
            finally:
                self.left = None
            check()
            steps = steps + stride if self.phase() in phases else 0
            phases.add(self.phase())

    phase: Callable[[], str]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.long), 4])
def test_it_can_be_killed_before_each_step(
    shop: Any,
    database: str,
    open_ledger: Callable[..., Ledger],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stride: int,
) -> None:
    monkeypatch.setattr("prefect_imagen.core.ledger.archives.PAGE", 2)
    before, rows, changes = totals(shop.ledger), everything(shop.ledger), histories(shop.ledger, shop.old)
    shop.ledger.close()
    killer = Killer(monkeypatch)

    ledger = open_ledger(database)

    def phase() -> str:
        found = ledger.archives.all()
        return found[0].state if found else ""

    def check() -> None:
        assert totals(ledger) == before
        plan = make_plan(BatchSpec(PromptSpec(["fox 0", "fox 1"]), model=MODEL, edition="old"), ledger)
        assert (plan.owned, plan.to_buy) == (2, 0)

    def dying(work: Callable[[Ledger], Any]) -> Callable[[], Any]:
        def attempt() -> Any:
            with contextlib.closing(Ledger(database)) as mine:
                try:
                    return work(mine)
                finally:
                    killer.left = None

        return attempt

    killer.phase = phase
    deaths = killer.at_each_step(dying(lambda ledger: archive(ledger, OLD, str(tmp_path / "out"))), check, stride)
    assert deaths * stride > 16
    (done,) = ledger.archives.all()
    assert (done.state, done.items, preview(ledger, OLD).archived) == ("moved", 4, 4)
    assert [path.name for path in (tmp_path / "out").glob("archive-*")] == [done.id]
    check()

    deaths = killer.at_each_step(dying(lambda ledger: restore(ledger, done.id)), check, stride)
    assert deaths >= 2
    assert totals(ledger) == before
    rows["imagen_budget_windows"] = []
    assert without_numbers(everything(ledger)) == without_numbers(rows)
    assert histories(ledger, shop.old) == changes


def test_what_changes_meanwhile_stays(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, old = shop.ledger, shop.old
    before = totals(ledger)
    put = LocalStore.put

    def judge(*arguments: Any, **options: Any) -> Any:
        image_id = f"{shop.row(calls, calls.c.item_id == old[1]).id}-0"
        ledger.verdicts.record([Verdict(image_id, "eve", stars=2)])
        return put(*arguments, **options)

    monkeypatch.setattr(LocalStore, "put", judge)
    done = archive(ledger, OLD, str(tmp_path / "out"))
    assert (done.items, done.changed) == (3, 1)
    assert set(ledger.archives.places(old)) == {old[0], old[3], old[6]}
    assert len(ledger.items.history(old[1])) == 6
    assert totals(ledger) == before
    monkeypatch.undo()
    assert archive(ledger, OLD, str(tmp_path / "out")).items == 1
    assert totals(ledger) == before


def test_what_is_at_work_stays(shop: Any, tmp_path: Path) -> None:
    ledger, old = shop.ledger, shop.old
    ledger.items.claim([old[0]])
    shop.start("third", edition="old")
    ledger.runs.add_items("third", [RunItem(0, Item(MODEL, "fox 1", {}, "old"), "prompts.txt", 1, {})])
    found = preview(ledger, OLD)
    assert (found.items, found.stay["held"], found.stay["wanted"]) == (2, 1, 1)
    assert archive(ledger, OLD, str(tmp_path / "out")).items == 2
    assert set(ledger.archives.places(old)) == {old[3], old[6]}


def test_a_file_that_is_not_what_was_stored_is_found_before_anything_is_changed(shop: Any, tmp_path: Path) -> None:
    ledger = shop.ledger
    done = archive(ledger, OLD, str(tmp_path / "out"))
    path = tmp_path / "out" / str(done.id) / "calls.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BadInput, match="is not what was stored"):
        restore(ledger, str(done.id))
    assert ledger.archives.all()[0].state == "moved"
    path.unlink()
    with pytest.raises(BadInput, match="is not what was stored"):
        restore(ledger, str(done.id))
    path.write_bytes(whole)
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert restore(ledger, str(moved / str(done.id))).items == 4


def test_files_without_a_later_column_are_put_back(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = shop.ledger
    before = ledger.catalog.rows()
    with monkeypatch.context() as older:
        older.delitem(TABLES["reviews"], "note_at")  # type: ignore[arg-type]
        moved = archive(ledger, OLD, (tmp_path / "archives").as_uri())
    restore(ledger, moved.id)
    assert ledger.catalog.rows() == before
    with ledger.read() as connection:
        assert connection.execute(sa.select(reviews.c.note, reviews.c.note_at)).all() == [("a cover", None)]


def test_another_archive_has_to_be_finished_first(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    killer.left = 3
    with pytest.raises(Killed):
        archive(shop.ledger, OLD, str(tmp_path / "out"))
    killer.left = None
    with pytest.raises(BadInput, match="is not finished: first give its command once more"):
        archive(shop.ledger, Selection(edition="new"), str(tmp_path / "out"))
    assert archive(shop.ledger, OLD, str(tmp_path / "out")).items == 4


def test_a_live_process_is_left_alone(
    shop: Any, database: str, open_ledger: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = Killer(monkeypatch)
    killer.left = 4
    with pytest.raises(Killed):
        archive(shop.ledger, OLD, str(tmp_path / "out"))
    killer.left = None
    other = open_ledger(database)
    with pytest.raises(BadInput, match="another process works on archive"):
        archive(other, OLD, str(tmp_path / "out"))
    shop.ledger.close()
    assert archive(other, OLD, str(tmp_path / "out")).items == 4


def without_numbers(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Rows that are put back are numbered anew."""
    for name in ("imagen_verdicts", "imagen_revision_requests"):
        found[name] = sorted(({**row, "number": None} for row in found[name]), key=repr)
    return {name: rows for name, rows in found.items() if name != "imagen_budget_windows"}
