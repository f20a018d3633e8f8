"""Repair: what is paid for is fetched, stored and cataloged again; what is unknown is asked about, and decided on.

Nothing in here buys, but for the items that a person chose with `unknown=retry`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..delivery import Spool
from ..errors import BadInput, ImagenError
from ..inputs import InputShelf
from ..ledger import ClaimedItem, ImageState, ItemState, Ledger
from ..providers import Clients, ImageClient
from ..purchase import recover_calls, recover_replies
from ..purchase.log import Asked, ask_logs
from ..request import RunRequest, UnknownPolicy
from ..run.run import Run
from ..run.services import Services, spool_folder
from ..storage import ObjectStore, open_store
from ..values import batched

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Stores:
    """How the destinations of runs are reached.

    Attributes:
        store: A store at hand: for its own destination, and where it is in S3, with its access for others there.
        options: Without one, fields of `S3Options` for destinations in S3.
    """

    store: ObjectStore | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def open(self, destination: str) -> ObjectStore:
        """The store at a destination.

        Raises:
            BadInput: It is of no known kind.
        """
        if self.store is not None and self.store.destination == destination:
            return self.store
        if not destination.startswith("s3://"):
            return open_store(destination)
        from ..storage import S3Store

        if not isinstance(self.store, S3Store):
            return open_store(destination, **self.options)
        bucket, _, prefix = destination.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix, self.store.options)


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found and did.

    Attributes:
        replayed: Replies found in the spool and recorded now.
        recovered: Lost answers that were asked for once more, and came.
        log: What the provider's log told.
        given_up: Unknown items that count as failed now: the next run buys them.
        bought: Calls that were sent, for unknown items, because that was asked for.
        billed: What they cost, in credits.
        stored: Images that were stored now.
        states: The items that were looked at, by state, as they are now.
        unknown: Items of the ledger (or run) that still wait for a decision.
        unfinished: Items of the ledger (or run) that are paid for and still not stored.
        problems: What could not be done, each once.
    """

    replayed: int = 0
    recovered: int = 0
    log: Asked = field(default_factory=Asked)
    given_up: int = 0
    bought: int = 0
    billed: int = 0
    stored: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0
    unfinished: int = 0
    problems: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left that a repair is for."""
        return not self.unknown and not self.unfinished and not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {**asdict(self), "problems": list(self.problems), "complete": self.complete}

    def summary(self) -> str:
        """One line for a log or a state message."""
        did = [
            f"{count} {what}"
            for count, what in (
                (self.replayed, "replies recorded"),
                (self.recovered, "lost answers asked for again"),
                (self.log.unbilled, "calls unbilled by the API's log"),
                (self.log.billed, "calls billed by the API's log, their answers lost"),
                (self.given_up, "unknown items given up"),
                (self.bought, "bought again"),
                (self.stored, "images stored"),
            )
            if count
        ]
        left = [
            f"{count} {what}" for count, what in ((self.unknown, "unknown"), (self.unfinished, "unfinished")) if count
        ]
        return f"{', '.join(did) or 'nothing to do'}; left: {', '.join(left) or 'nothing'}"


class IncompleteRepair(ImagenError):
    """Something is left to repair; `report` says what."""

    def __init__(self, report: RepairReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return self.report.summary()


def repair(
    ledger: Ledger,
    stores: Stores,
    *,
    client: ImageClient | None = None,
    request: RunRequest | None = None,
    run_id: str | None = None,
    item_ids: Sequence[str] | None = None,
    unknown: UnknownPolicy = UnknownPolicy.HOLD,
    lost: bool = False,
    ask: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> RepairReport:
    """Record what the spool has, ask the provider's log, decide on what is unknown, deliver what is paid for.

    Args:
        ledger: Open.
        stores: How destinations are reached.
        client: To ask the log with, and to buy with; None leaves the unknown as it is. Other providers that the ledger
            has bought from are asked, too, with the keys of the environment.
        request: Limits and delivery.
        run_id: Of this run's items only; None for the whole ledger.
        item_ids: Decide on these unknown items only.
        unknown: HOLD leaves them, FAIL counts them as failed, RETRY buys them again now.
        ask: Ask the provider's log about unknown calls first.
        lost: Also try again to fetch images that are lost or quarantined.
        say: Told what is being done.

    Raises:
        BadInput: RETRY without a client, a run that is not there, a client of another API.
        LedgerUnavailable: The database does not answer.
    """
    if run_id is not None:
        ledger.runs.get(run_id)
    if client is not None:
        ledger.bind(client.origin(), client.address, client.provider.name)
    elif unknown is UnknownPolicy.RETRY:
        raise BadInput("buying again needs credentials: there is no API key")
    work = RepairSession(ledger, stores, client, (request or RunRequest()).with_("policy", unknown=unknown), run_id)
    say("recording what the spool has")
    work.settle_the_past()
    clients = Clients(client) if client is not None and ask else None
    if clients is not None:
        say("asking once more for answers that were lost")
        work.ask_again(clients, item_ids)
    chosen = ledger.items.undecided(run_id, item_ids) if unknown is UnknownPolicy.RETRY else []
    if clients is not None:
        say("asking the API's log about unknown calls")
        work.asked = ask_logs(ledger, clients, run_id=run_id, item_ids=item_ids)
        clients.close()
    if unknown is UnknownPolicy.FAIL:
        work.given_up = ledger.items.fail_unknown(run_id, item_ids)
    if lost:
        ledger.images.retry_lost(run_id)
    todo = list(dict.fromkeys([*chosen, *ledger.items.of_run_in(ItemState.GENERATED, run_id)]))
    for run, mine in ledger.runs.by_delivery(todo, run_id).items():
        say(f"run {run}: {len(mine)} items")
        work.run(run, mine, buy=frozenset(chosen))
    return work.report(todo)


class RepairSession:
    """Delivers items again, run by run, and counts what it did."""

    def __init__(
        self, ledger: Ledger, stores: Stores, client: ImageClient | None, request: RunRequest, run_id: str | None
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._client = client
        self._request = request
        self._run_id = run_id
        self._began = datetime.now(UTC)
        self.replayed = self.recovered = self.given_up = self.stored = 0
        self.asked = Asked()
        self._problems: dict[str, None] = {}

    def settle_the_past(self) -> None:
        """The dead processes, then what they left in the spool: replies of those that are alive are theirs."""
        self._ledger.release_dead_workers()
        spool = Spool(spool_folder(self._request.delivery), self._ledger.id)
        self.replayed = recover_replies(self._ledger, spool.replies)

    def ask_again(self, clients: Clients, item_ids: Sequence[str] | None) -> None:
        """Ask for answers that were lost, where the contract of the provider allows it."""
        spool = Spool(spool_folder(self._request.delivery), self._ledger.id)
        self.recovered = recover_calls(
            self._ledger,
            spool.replies,
            clients,
            inputs_of=lambda where: InputShelf(self._stores.open(where) if where is not None else None),
            run_id=self._run_id,
            item_ids=item_ids,
        )

    def deliver(self, item_ids: Sequence[str], *, at: ObjectStore) -> None:
        """Bring images of items to a destination, whichever run had them made. Buys nothing."""
        for run, mine in self._ledger.runs.by_delivery(item_ids).items():
            self.run(run, mine, buy=frozenset(), at=at)

    def run(self, run_id: str, item_ids: Sequence[str], *, buy: frozenset[str], at: ObjectStore | None = None) -> None:
        """Buy, fetch, store and catalog items of one run, at its destination or at another."""
        destination = self._ledger.runs.get(run_id)["destination"]
        if destination is None and at is None:
            self._problems[f"run {run_id} has no destination: run it with one"] = None
            return
        try:
            store = at if at is not None else self._stores.open(destination)
            store.preflight()
            services = Services(run_id, ledger=self._ledger, store=store, client=self._client, request=self._request)
        except ImagenError as error:
            self._problems[str(error)] = None
            return
        with contextlib.closing(Run(services)) as work:
            for batch in batched(item_ids, _CHUNK):
                self._batch(work, batch, buy)
        if services.halt.reason is not None:
            self._problems[f"{services.halt.reason}: {services.halt.message}"] = None

    def _batch(self, run: Run, item_ids: Sequence[str], buy: frozenset[str]) -> None:
        ledger = self._ledger
        paid = [item_id for item_id in item_ids if item_id not in buy]
        wanted = [item_id for item_id in item_ids if item_id in buy]
        claimed = ledger.items.claim(wanted, unknown=self._request.policy.unknown)
        claimed += [item for item in self._claim_paid(paid) if item.state is not ItemState.CLAIMED]
        held = [item.id for item in claimed]
        try:
            run.services.buy([item for item in claimed if item.state is ItemState.CLAIMED])
            results = run.deliver(held)
            self.stored += sum(result.state is ImageState.STORED for result in results)
            for result in results:
                if result.state is ImageState.PENDING and result.reason:
                    self._problems[result.reason] = None
        finally:
            ledger.items.release(held)

    def _claim_paid(self, item_ids: Sequence[str]) -> list[ClaimedItem]:
        """Hold what is paid for. An item that turned buyable meanwhile is let go of at once: nobody asked to buy it."""
        claimed = self._ledger.items.claim(item_ids)
        self._ledger.items.release([item.id for item in claimed if item.state is ItemState.CLAIMED])
        return claimed

    def report(self, item_ids: Sequence[str]) -> RepairReport:
        """Count."""
        ledger = self._ledger
        states = Counter(state.value for state in ledger.items.states(item_ids).values())
        bought, billed = ledger.calls.sent_since(self._began)
        return RepairReport(
            replayed=self.replayed,
            recovered=self.recovered,
            log=self.asked,
            given_up=self.given_up,
            bought=bought,
            billed=billed,
            stored=self.stored,
            states=dict(states),
            unknown=len(ledger.items.of_run_in(ItemState.UNKNOWN, self._run_id)),
            unfinished=len(ledger.items.of_run_in(ItemState.GENERATED, self._run_id)),
            problems=tuple(self._problems),
        )
