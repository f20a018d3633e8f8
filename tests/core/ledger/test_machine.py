"""Random interleavings of everything that happens to items, held against a bill that knows the truth."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
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
    Period,
    Refused,
    RunItem,
    RunSpec,
    StoredAt,
    Unbilled,
    Unknown,
)
from prefect_imagen.core.ledger.conditions import LOG
from prefect_imagen.core.ledger.schema import budget_windows, calls, images, items, runs, workers
from prefect_imagen.core.ledger.workers import Worker, release_dead_workers
from prefect_imagen.core.request import UnknownPolicy

RESERVE, PRICE, BUDGET, MONTH = 10, 9, 120, 100
ITEMS = 4


@dataclass
class Sent:
    """A call as the provider knows it; `logged` once its log has said that it was billed."""

    item: str
    holder: str
    retried: bool
    billed: int = 0
    answer: Answered | None = None
    over: bool = False
    logged: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """Two processes share a run; either may die or oversleep its lease, replies come late, and the log tells."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="imagen-machine-")
        self.ledger = Ledger(f"{self.folder.name}/ledger.db")
        self.sent: dict[str, Sent] = {}
        self.holders: list[Worker] = []
        self.held: dict[str, str] = {}
        self.retries: Counter[str] = Counter()
        self.given_up: set[str] = set()
        self.stored: set[tuple[str, int]] = set()

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()
        assert not Path(self.folder.name).exists()

    @initialize()
    def plan(self) -> None:
        self.items = [Item("m", f"p{n}", {}) for n in range(ITEMS)]
        self.ledger.runs.start(RunSpec("run", "m", budget=BUDGET))
        self.ledger.budgets.set(Period.MONTH, MONTH, "Europe/Berlin")
        rows = [RunItem(n, item, "x", n) for n, item in enumerate(self.items)]
        self.ledger.runs.add_items("run", [*rows, RunItem(99, self.items[0], "x", 99)])
        for _ in range(2):
            self._born()

    def _born(self) -> None:
        me = Worker.of_this_process()
        holder = Worker(uuid.uuid4().hex, me.host, me.boot, me.pid)
        self.ledger.write(holder.register)
        self.holders.append(holder)

    @contextlib.contextmanager
    def _worker(self, who: int) -> Iterator[None]:
        """One of the two workers takes the place of this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.ledger, "_worker", self.holders[who])
            yield

    def _states(self) -> dict[str, ItemState]:
        with self.ledger.read() as connection:
            return {row.id: ItemState(row.state) for row in connection.execute(sa.select(items.c.id, items.c.state))}

    @rule(
        who=st.integers(0, 1), n=st.integers(0, ITEMS - 1), unknown=st.sampled_from(UnknownPolicy), again=st.booleans()
    )
    def claim(self, who: int, n: int, unknown: UnknownPolicy, again: bool) -> None:
        item, holder, before = self.items[n].id, self.holders[who].id, self._states()
        with self._worker(who):
            won = self.ledger.items.claim([item], unknown=unknown, retry_refused=again)
        if not won:
            return
        assert self.held.get(item) in (None, holder), "won twice"
        if before[item] in (ItemState.UNKNOWN, ItemState.LOST):
            assert unknown is UnknownPolicy.RETRY
            self.retries[item] += 1
        elif before[item] is ItemState.FAILED and item in self.given_up:
            self.retries[item] += 1
        self.given_up.discard(item)
        self.held[item] = holder

    @rule(who=st.integers(0, 1), n=st.integers(0, ITEMS - 1))
    def release(self, who: int, n: int) -> None:
        item, holder = self.items[n].id, self.holders[who].id
        flying = self._states()[item] is ItemState.SENT
        with self._worker(who):
            self.ledger.items.release([item])
        if self.held.get(item) == holder and not flying:
            del self.held[item]

    @rule(who=st.integers(0, 1), n=st.integers(0, ITEMS - 1), cost=st.sampled_from([0, PRICE, RESERVE]))
    def send(self, who: int, n: int, cost: int) -> None:
        item, holder = self.items[n].id, self.holders[who].id
        state = self._states()[item]
        call_id = uuid.uuid4().hex
        begun = self.ledger.calls.begin(CallIntent(call_id, item, "run", holder, RESERVE, 1, None, "m", "c"))
        if begun is not BeginResult.YES:
            return
        assert state is ItemState.CLAIMED
        assert self.held[item] == holder, "sent without a claim"
        images_ = [NewImage(index, f"u{index}", None, None) for index in range(2)]
        answer = Answered(images_, cost, "reply") if cost else None
        self.sent[call_id] = Sent(item, holder, bool(self.retries[item]), cost, answer)

    def _open(self) -> list[str]:
        return [call_id for call_id, sent in self.sent.items() if not sent.over]

    @precondition(lambda self: self._open())
    @rule(data=st.data(), end=st.sampled_from(["reply", "lost", "refused", "claimed", "planned", "failed"]))
    def end(self, data: st.DataObject, end: str) -> None:
        """What comes of a call, on time or late; a lost reply may still come."""
        call_id = data.draw(st.sampled_from(self._open()))
        sent = self.sent[call_id]
        if end == "lost":
            assert self.ledger.calls.settle(call_id, Unknown("cut")) is not sent.logged
            return
        if sent.logged and end != "reply":
            assert not self.ledger.calls.settle(call_id, Refused("safety", sent.billed)), "it is known to be billed"
            return
        if sent.answer is not None and end == "refused":
            outcome: Answered | Refused | Unbilled = Refused("safety", sent.billed)
        elif sent.answer is not None:
            outcome = sent.answer
        elif end == "refused":
            outcome = Refused("safety")
        else:
            state = {"claimed": ItemState.CLAIMED, "failed": ItemState.FAILED}.get(end, ItemState.PLANNED)
            outcome = Unbilled("429", state)
        sent.over = True
        if not isinstance(outcome, Answered):
            sent.answer = None
        assert self.ledger.calls.settle(call_id, outcome)
        assert not self.ledger.calls.settle(call_id, Unknown("again")), "a final outcome was changed"

    def _unknown(self) -> list[str]:
        with self.ledger.read() as connection:
            unknown = set(connection.scalars(sa.select(calls.c.id).where(calls.c.outcome == "unknown")))
        return [call_id for call_id in self._open() if call_id in unknown]

    @precondition(lambda self: self._unknown())
    @rule(data=st.data())
    def the_log_tells(self, data: st.DataObject) -> None:
        """Billed, and its answer is lost, though it may turn up; or failed, for good."""
        call_id = data.draw(st.sampled_from(self._unknown()))
        sent = self.sent[call_id]
        if sent.answer is not None:
            sent.logged = True
            told: Answered | Unbilled = Answered([], sent.billed, LOG, reason="reply: lost")
        else:
            sent.over = True
            told = Unbilled("failed, says the log", ItemState.PLANNED)
        assert self.ledger.calls.settle(call_id, told)
        assert not self.ledger.calls.settle(call_id, told), "the log was heard twice"

    @rule()
    def give_up(self) -> None:
        """Somebody decides that what is unknown counts as failed."""
        self.given_up |= {item for item, state in self._states().items() if state is ItemState.UNKNOWN}
        self.ledger.items.fail_unknown("run")

    @rule(who=st.integers(0, 1))
    def oversleep(self, who: int) -> None:
        """A process that is taken for dead by its lease, and works on."""
        sleeper, other = self.holders[who], self.holders[1 - who]
        late = sa.update(workers).where(workers.c.id == sleeper.id).values(heartbeat=workers.c.heartbeat - 1000)
        self.ledger.write(lambda c: c.execute(late))
        self.ledger.write(lambda c: release_dead_workers(c, other))
        self.held = {item: holder for item, holder in self.held.items() if holder != sleeper.id}
        self.ledger.write(sleeper.beat)

    @rule(who=st.integers(0, 1))
    def die(self, who: int) -> None:
        dead = self.holders.pop(who)
        me = self.holders[0]
        self.ledger.write(lambda c: release_dead_workers(c, me, force=(dead.id,)))
        self.held = {item: holder for item, holder in self.held.items() if holder != dead.id}
        self._born()

    @rule(n=st.integers(0, ITEMS - 1), state=st.sampled_from(ImageState), at=st.sampled_from("ab"))
    def deliver(self, n: int, state: ImageState, at: str) -> None:
        results = []
        for task in self.ledger.images.to_deliver([self.items[n].id], destination=at):
            stored = None
            if state is ImageState.STORED:
                stored = StoredAt(at, "k", f"{at}/k", None, "image/png", 1, 1, 1, "00")
                self.stored.add((task.call_id, task.index))
            results.append(ImageResult(task.call_id, task.index, task.item_id, state, stored, "r"))
        self.ledger.images.finish(results)

    @invariant()
    def the_sum_closes(self) -> None:
        billed = sum(sent.billed for sent in self.sent.values())
        account = self.ledger.costs.of("run")
        assert account.billed <= billed <= account.billed_at_most
        if account.unknown.calls == 0 == account.in_flight.calls:
            assert account.billed == billed == account.billed_at_most
        lines = [getattr(account, name).calls for name in account.__dataclass_fields__]
        assert sum(lines) == len(self.sent)
        progress = self.ledger.runs.progress("run")
        assert progress.spent == account.billed
        assert progress.reserved == account.unknown.credits + account.in_flight.credits
        assert progress.spent + progress.reserved <= BUDGET
        with self.ledger.read() as connection:
            windows = connection.execute(sa.select(budget_windows.c.spent, budget_windows.c.reserved)).all()
        assert sum(row.spent for row in windows) == progress.spent
        assert sum(row.reserved for row in windows) == progress.reserved
        assert all(row.spent + row.reserved <= MONTH for row in windows)
        assert progress.total == ITEMS

    @invariant()
    def nothing_is_bought_twice_but_on_demand(self) -> None:
        answered = Counter(sent.item for sent in self.sent.values() if sent.over and sent.answer is not None)
        flying = Counter(sent.item for sent in self.sent.values() if not sent.over)
        for item in answered | flying:
            assert answered[item] + flying[item] <= 1 + self.retries[item]

    @invariant()
    def nothing_that_was_paid_is_lost(self) -> None:
        with self.ledger.read() as connection:
            rows = connection.execute(sa.select(images.c.call_id, images.c.idx, images.c.state)).all()
            outcomes = {row.id: row.outcome for row in connection.execute(sa.select(calls.c.id, calls.c.outcome))}
            assert connection.scalar(sa.select(runs.c.reserved)) >= 0 if self.sent else True
        kept = {(row.call_id, row.idx): row.state for row in rows}
        for call_id, sent in self.sent.items():
            if sent.over and sent.answer is not None:
                assert outcomes[call_id] == "answered"
                assert {(call_id, 0), (call_id, 1)} <= kept.keys()
        assert {place for place, state in kept.items() if state == "stored"} == self.stored

    @invariant()
    def states_agree(self) -> None:
        with self.ledger.read() as connection:
            rows = connection.execute(sa.select(items.c.id, items.c.state, items.c.holder_id)).all()
            pending = set(connection.scalars(sa.select(images.c.item_id).where(images.c.state == "pending")))
            with_images = set(connection.scalars(sa.select(images.c.item_id)))
            unknown = set(connection.scalars(sa.select(calls.c.item_id).where(calls.c.outcome == "unknown")))
            logged = set(connection.scalars(sa.select(calls.c.item_id).where(calls.c.cost_source == LOG)))
        for row in rows:
            state = ItemState(row.state)
            if state in (ItemState.CLAIMED, ItemState.SENT):
                assert row.holder_id is not None, f"{state} and held by nobody: stuck for ever"
            if row.id in pending:
                assert state in (ItemState.GENERATED, ItemState.SENT), f"{state} with images that are to be fetched"
            if state in (ItemState.PLANNED, ItemState.FAILED) and row.id not in self.given_up:
                paid = with_images | unknown | logged
                assert row.id not in paid, f"{state}, and would be bought although it may be paid for"
            if state is ItemState.LOST:
                assert row.id in with_images | logged
            if state is ItemState.UNKNOWN:
                assert row.id in unknown


LedgerMachine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
TestLedger = LedgerMachine.TestCase


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_many_more_interleavings() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
