"""Erasing: nothing that identifies is left, every credit is, and nothing is bought again or called delivered."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.delivery import Spool
from prefect_imagen.core.erase import erase, preview
from prefect_imagen.core.errors import BadInput, Unavailable
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
    Refused,
    Rewrite,
    Rewritten,
    RunItem,
    Selection,
    StoredAt,
    Unknown,
)
from prefect_imagen.core.ledger.erasure import Erasure
from prefect_imagen.core.ledger.schema import calls, deliveries, images, items, metadata, run_items, runs
from prefect_imagen.core.plan import BatchSpec, make_plan
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.storage import Deleted, LocalStore

MODEL = "google/imagen4/preview"
PRICE = 104_000


def texts(ledger: Ledger) -> str:
    """Everything that stands in the ledger."""
    with ledger.read() as connection:
        return "\n".join(
            str(tuple(row)) for table in metadata.sorted_tables for row in connection.execute(sa.select(table))
        )


class ErasureHarness:
    """A ledger with real objects in folders."""

    def __init__(self, harness: Any, folder: Path) -> None:
        self.harness = harness
        self.ledger: Ledger = harness.ledger
        self.folder = folder

    def ask(self, *prompts: str, run: str, edition: str = "", tags: dict[str, str] | None = None) -> list[str]:
        self.harness.start(run, tags=tags or {}, edition=edition)
        rows = [
            RunItem(n, Item(MODEL, prompt, {}, edition), f"{prompt}.csv", n, {"who": prompt}, (prompt,))
            for n, prompt in enumerate(prompts)
        ]
        self.ledger.runs.add_items(run, rows)
        return [row.item.id for row in rows]

    def deliver(self, item_id: str, *, place: str = "out", key: str | None = None) -> str:
        """Buy an item and store its image, with its prompt in whatever may hold text."""
        prompt = self.harness.row(items, items.c.id == item_id).prompt
        call_id: str = self.harness.send(item_id)
        image = NewImage(0, f"https://cdn.test/{prompt}.png", "image/png", f"revised {prompt}")
        assert self.ledger.calls.settle(call_id, Answered([image], PRICE, "reply"))
        self.copy(item_id, call_id, place=place, key=key or f"{prompt}-{call_id}.png")
        self.ledger.items.release([item_id])
        return call_id

    def copy(self, item_id: str, call_id: str, *, place: str, key: str) -> None:
        store = LocalStore(self.folder / place)
        store.preflight()
        path = self.folder / "picture"
        path.write_bytes(b"picture")
        sha256 = hashlib.sha256(b"picture").hexdigest()
        stored = store.put(key, path, sha256=sha256, content_type="image/png")
        at = StoredAt(store.destination, key, stored.uri, None, "image/png", 8, 8, 7, sha256)
        self.ledger.images.finish([ImageResult(call_id, 0, item_id, ImageState.STORED, at)])

    def files(self, place: str = "out") -> list[str]:
        return sorted(path.name for path in (self.folder / place).rglob("*.png"))


@pytest.fixture
def erasure(harness: Any, tmp_path: Path) -> ErasureHarness:
    return ErasureHarness(harness, tmp_path)


def test_nothing_of_an_item_is_left_but_its_money(erasure: ErasureHarness) -> None:
    [secret, other] = erasure.ask("moby-dick", "a fox", run="r1", tags={"client": "acme"})
    call_id = erasure.deliver(secret)
    erasure.copy(secret, call_id, place="second", key="moby-dick-copy.png")
    erasure.ask("a fox", run="r2")
    erasure.deliver(other)
    before = erasure.ledger.costs.of()
    selection = Selection(tags={"client": "acme"})
    found = preview(erasure.ledger, selection)
    assert (found.items, found.images, found.shared, found.credits) == (1, 1, 1, PRICE)
    assert sorted(found.objects.values()) == [1, 1]

    done = erase(erasure.ledger, selection)
    assert (done.items, done.objects, done.kept, done.hidden, done.failed) == (1, 2, 0, 0, {})
    assert "moby" not in texts(erasure.ledger)
    assert erasure.files("second") == []
    assert len(erasure.files()) == 1
    assert erasure.harness.state(secret) is ItemState.ERASED
    assert erasure.harness.state(other) is ItemState.DELIVERED
    after = erasure.ledger.costs.of()
    assert (after.billed, after.billed_at_most) == (before.billed, before.billed_at_most) == (2 * PRICE, 2 * PRICE)
    assert (after.erased.calls, after.erased.credits, after.delivered.calls) == (1, PRICE, 1)
    row = next(row for row in erasure.ledger.catalog.rows() if row["state"] == "erased")
    assert (row["cost_credits"], row["prompt"], row["uri"], row["source_url"], row["sha256"]) == (
        PRICE,
        "",
        *[None] * 3,
    )
    assert (row["client_request_id"], row["tags"], row["source_file"]) == (call_id, '{"client": "acme"}', "")
    # Once more there is nothing to do.
    assert erase(erasure.ledger, selection).items == 0


def test_an_erased_item_is_neither_bought_again_nor_called_delivered(erasure: ErasureHarness) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    erasure.deliver(item_id)
    erase(erasure.ledger, Selection(run_id="r1"))
    erasure.ask("moby-dick", run="r2")
    pending = list(erasure.ledger.items.pending("r2", destination="file:///out", retry_refused=True))
    assert pending == []
    assert erasure.ledger.items.claim([item_id], retry_refused=True) == []
    progress = erasure.ledger.runs.progress("r2")
    assert (progress.items[ItemState.ERASED], progress.items[ItemState.DELIVERED], progress.owned) == (1, 0, 0)
    spec = BatchSpec(PromptSpec(["moby-dick", "new"]), model=MODEL)
    plan = make_plan(spec, erasure.ledger)
    assert (plan.erased, plan.owned, plan.to_buy) == (1, 0, 1)
    # Another edition is another purchase.
    [fresh] = erasure.ask("moby-dick", run="r3", edition="again")
    assert list(erasure.ledger.items.pending("r3", destination=None)) == [fresh]


@pytest.mark.parametrize("state", ["planned", "refused", "unknown", "generated"])
def test_items_of_every_state_are_erased_and_the_sum_closes(erasure: ErasureHarness, state: str) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1", edition="may")
    if state != "planned":
        call_id = erasure.harness.send(item_id)
        outcome: Any = {
            "refused": Refused("moby-dick is not allowed", credits=4_000),
            "unknown": Unknown("cut while drawing moby-dick"),
            "generated": Answered([NewImage(0, "https://cdn.test/moby-dick", None, None)], PRICE, "reply"),
        }[state]
        erasure.ledger.calls.settle(call_id, outcome)
        erasure.ledger.items.release([item_id])
    before = erasure.ledger.costs.of()
    assert erase(erasure.ledger, Selection(edition="may")).items == 1
    after = erasure.ledger.costs.of()
    assert "moby" not in texts(erasure.ledger)
    assert (after.billed, after.billed_at_most) == (before.billed, before.billed_at_most)
    assert erasure.harness.state(item_id) is ItemState.ERASED
    assert list(erasure.ledger.items.pending("r1", destination=None, retry_refused=True)) == []


def test_a_late_reply_for_an_erased_item_counts_its_money_and_keeps_no_word(erasure: ErasureHarness) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    call_id = erasure.harness.send(item_id)
    erasure.ledger.calls.settle(call_id, Unknown("time-out"))
    erasure.ledger.items.release([item_id])
    erase(erasure.ledger, Selection(run_id="r1"))
    late = Answered([NewImage(0, "https://cdn.test/moby-dick", None, "moby-dick, revised")], PRICE, "reply")
    assert erasure.ledger.calls.settle(call_id, late)
    assert "moby" not in texts(erasure.ledger)
    assert erasure.harness.state(item_id) is ItemState.ERASED
    assert erasure.harness.image(call_id).state == ImageState.ERASED
    account = erasure.ledger.costs.of()
    assert (account.erased.credits, account.unknown.calls, account.billed) == (PRICE, 0, PRICE)
    assert erasure.ledger.images.to_deliver([item_id], destination="file:///out") == []


def test_a_rewritten_text_goes_with_the_last_image_that_uses_it(erasure: ErasureHarness) -> None:
    """Its money, and the money of its image, stay."""
    ledger = erasure.ledger
    wanted = Rewrite("chat/model", "moby-dick", "as whalers tell it", 400, 1)
    mine, other = (Item(MODEL, "moby-dick", {}, edition, rewrite=wanted) for edition in ("1", "2"))
    for run, item in (("r1", mine), ("r2", other)):
        erasure.harness.start(run)
        ledger.runs.add_items(run, [RunItem(0, item, "whales.csv", 1)])
    ledger.items.claim([wanted.id])
    intent = CallIntent("pi-text", wanted.id, "r1", ledger.worker.id, 1000, 1, None, "chat/model", "chat")
    assert ledger.calls.begin(intent) is BeginResult.YES
    ledger.calls.settle("pi-text", Rewritten("a white whale", 70, "reply", None))
    ledger.items.release([wanted.id])
    for item in (mine, other):
        erasure.deliver(item.id)
    billed = ledger.costs.of().billed

    assert erase(ledger, Selection(run_id="r1")).items == 1
    assert ledger.rewrites.states([other.id]) == {wanted.id: ItemState.DELIVERED}, "another image still uses it"
    assert erase(ledger, Selection(run_id="r2")).items == 1
    left = texts(ledger)
    for word in ("moby", "whale"):
        assert word not in left
    assert ledger.costs.of().billed == billed == 2 * PRICE + 70
    assert erasure.files() == []


def test_what_is_being_worked_on_is_left_alone(erasure: ErasureHarness) -> None:
    [flying, idle] = erasure.ask("in flight", "idle", run="r1")
    erasure.harness.send(flying)
    selection = Selection(run_id="r1")
    assert preview(erasure.ledger, selection).held == 1
    assert erase(erasure.ledger, selection).items == 1
    assert (erasure.harness.state(flying), erasure.harness.state(idle)) == (ItemState.SENT, ItemState.ERASED)


def test_what_other_runs_ask_for_is_erased_only_if_told(erasure: ErasureHarness) -> None:
    erasure.ask("both", run="r1", tags={"client": "acme"})
    [item_id] = erasure.ask("both", run="r2", tags={"client": "else"})
    erasure.deliver(item_id)
    selection = Selection(tags={"client": "acme"})
    assert erase(erasure.ledger, selection).items == 0
    assert erasure.harness.state(item_id) is ItemState.DELIVERED
    assert preview(erasure.ledger, selection, shared=True).shared == 0
    assert erase(erasure.ledger, selection, shared=True).items == 1
    assert "both" not in texts(erasure.ledger)


def test_the_same_object_of_an_item_that_stays_is_kept(erasure: ErasureHarness) -> None:
    [gone, stays] = erasure.ask("one", "two", run="r1")
    erasure.deliver(gone, key="same.png")
    erasure.deliver(stays, key="same.png")
    erasure.harness.start("r1", tags={})
    with erasure.ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(deliveries)) == 2
    erasure.ledger.write(lambda connection: connection.execute(
        sa.update(items).where(items.c.id == gone).values(edition="old")
    ))  # fmt: skip
    done = erase(erasure.ledger, Selection(edition="old"))
    assert (done.items, done.objects, done.kept) == (1, 0, 1)
    assert erasure.files() == ["same.png"]
    done = erase(erasure.ledger, Selection(run_id="r1"))
    assert (done.items, done.objects, done.kept) == (1, 1, 0)
    assert erasure.files() == []


def test_age_is_that_of_the_last_call(erasure: ErasureHarness) -> None:
    [old, new, never] = erasure.ask("old", "new", "never bought", run="r1")
    erasure.deliver(old)
    erasure.deliver(new)
    long_ago = datetime.now(UTC) - timedelta(days=100)

    def age(connection: sa.Connection) -> None:
        connection.execute(sa.update(calls).where(calls.c.item_id == old).values(sent_at=long_ago))
        connection.execute(sa.update(items).where(items.c.id.in_([new, never])).values(created_at=long_ago))

    erasure.ledger.write(age)
    erase(erasure.ledger, Selection(before=datetime.now(UTC) - timedelta(days=90)))
    states = [erasure.harness.state(item_id) for item_id in (old, new, never)]
    assert states == [ItemState.ERASED, ItemState.DELIVERED, ItemState.ERASED]


def test_an_object_that_cannot_be_deleted_keeps_its_item(
    erasure: ErasureHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    erasure.deliver(item_id)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", lambda _self, keys: Deleted((), (), dict.fromkeys(keys, "locked")))
        done = erase(erasure.ledger, Selection(run_id="r1"))
    assert (done.items, list(done.failed.values())) == (0, ["locked"])
    assert erasure.harness.state(item_id) is ItemState.DELIVERED
    assert erasure.harness.row(items, items.c.id == item_id).holder_id is None
    assert erase(erasure.ledger, Selection(run_id="r1")).items == 1
    assert erasure.files() == []


def test_a_store_that_is_away_stops_it_before_anything_is_erased(erasure: ErasureHarness) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    erasure.deliver(item_id)
    (erasure.folder / "out").rename(erasure.folder / "moved")
    with pytest.raises(Unavailable):
        erase(erasure.ledger, Selection(run_id="r1"))
    assert erasure.harness.state(item_id) is ItemState.DELIVERED


def test_a_process_that_dies_in_between_leaves_what_the_same_command_finishes(
    erasure: ErasureHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    erasure.deliver(item_id)

    def dies(_self: Erasure, _ids: list[str]) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Erasure, "redact", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(erasure.ledger, Selection(run_id="r1"))
    assert erasure.files() == []
    assert erase(erasure.ledger, Selection(run_id="r1")).items == 1
    assert "moby" not in texts(erasure.ledger)


def test_spooled_files_go_too(erasure: ErasureHarness, tmp_path: Path) -> None:
    [item_id] = erasure.ask("moby-dick", run="r1")
    call_id = erasure.deliver(item_id)
    spool = Spool(tmp_path / "spool", erasure.ledger.id)
    for path in (spool.images / f"{call_id}-0", spool.quarantine / f"{call_id}-1", spool.images / "other-0"):
        path.write_bytes(b"picture")
    (spool.replies.folder / f"{call_id}.reply").write_bytes(b"{}")
    erase(erasure.ledger, Selection(run_id="r1"), spool=tmp_path / "spool")
    left = [path.name for path in spool.folder.rglob("*") if path.is_file()]
    assert left == ["other-0"]


def test_the_words_of_a_run_go_with_its_last_item(erasure: ErasureHarness) -> None:
    [first, second] = erasure.ask("one", "two", run="r1")
    erasure.harness.start("r1", flow_run_name="one · imagen4", parameters={"negative_prompt": "whales"})

    def only(item_id: str) -> None:
        erasure.ledger.write(
            lambda connection: connection.execute(sa.update(items).where(items.c.id == item_id).values(edition=item_id))
        )
        erase(erasure.ledger, Selection(edition=item_id))

    only(first)
    assert erasure.harness.row(runs, runs.c.id == "r1").flow_run_name == "one · imagen4"
    only(second)
    row = erasure.harness.row(runs, runs.c.id == "r1")
    assert (row.flow_run_name, row.parameters) == (None, {})
    assert [(row.source, row.row, row.choices) for row in erasure.harness.rows(run_items)] == [("", {}, [])] * 2
    assert erasure.harness.rows(images) == []


def test_everything_is_never_meant(harness: Any) -> None:
    with pytest.raises(BadInput, match="say what to erase"):
        erase(harness.ledger, Selection())


def test_the_file_of_a_ledger_holds_nothing_of_it_any_more(
    tmp_path: Path, open_ledger: Callable[..., Ledger], shop_of: Callable[[Ledger], Any]
) -> None:
    path = tmp_path / "ledger.db"
    harness = shop_of(open_ledger(str(path)))
    erasure = ErasureHarness(harness, tmp_path)
    ids = erasure.ask(*(f"moby-dick-{n}" for n in range(200)), run="r1")
    for item_id in ids[:20]:
        erasure.deliver(item_id)
    done = erase(erasure.ledger, Selection(run_id="r1"))
    assert (done.items, done.scrubbed) == (200, True)
    for file in tmp_path.glob("ledger.db*"):
        assert b"moby" not in file.read_bytes(), file.name
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*), sum(settled) FROM imagen_calls").fetchone() == (20, 20 * PRICE)
    connection.close()
