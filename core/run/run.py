"""The home of a run: the order of its steps, on which the money depends, in one place and without Prefect.

    check → bind → free what dead processes held → recover replies → plan → ask the log → buy → deliver → finish

`check_request` and `prepare` check and bind; `Run.open` frees and recovers; the rest are methods of `Run`. Flows,
tasks, the fan-out, the repair and the command line call these steps and add what is theirs: task runs, artifacts, a
progress bar.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

from ..delivery import record
from ..errors import BadInput, ImagenError
from ..inputs import InputRefused, InputShelf, Picture
from ..ledger import BudgetWarning, ClaimedItem, ImageResult, ItemState, Ledger, LedgerUnavailable, RunSpec
from ..limits import StopReason
from ..money import format_usd, usd_to_credits
from ..plan import AnyBatch
from ..purchase import recover_calls, recover_replies
from ..purchase.log import ask_logs
from ..request import Delivery, Rewrite, RunRequest, UnknownPolicy
from ..threads import in_threads
from .checks import CheckedBatch, Prepared
from .chunks import Dispatcher, process_all
from .fallback import log_notices, name_successor, switch_to_fallback
from .models import as_rows
from .report import RunReport, make_report
from .results import Batch, Cataloged, Downloaded, Generated, Opaque, PlannedRun, Rewritten, Uploaded
from .services import Services

_ASK_SECONDS = 120.0
_TEXTS_AT_ONCE = 500
_INPUTS_AT_ONCE = 8

Logger = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True, slots=True)
class FlowRun:
    """The flow run of Prefect that a run belongs to: its id, name and page."""

    id: str | None = None
    name: str | None = None
    url: str | None = None


class Steps(Protocol):
    """The steps of a chunk. `Run` has them; Prefect's are task runs that call those of `Run`."""

    def rewrite(self, batch: Batch) -> Rewritten:
        """Have prompts rewritten."""

    def generate(self, batch: Batch) -> Generated:
        """Buy what is not owned."""

    def download(self, batch: Batch) -> Downloaded:
        """Fetch and verify images."""

    def upload(self, downloaded: Downloaded) -> Uploaded:
        """Store images."""

    def record(self, uploaded: Uploaded) -> Cataloged:
        """Record the outcome of each image."""


def write_run(
    ledger: Ledger, run_id: str, batch: AnyBatch, request: RunRequest, destination: str | None, flow_run: FlowRun
) -> PlannedRun:
    """Write a run and its items to the ledger. Reads the source once; spends nothing.

    Args:
        ledger: Open.
        run_id: A new run, or one to go on with.
        batch: Checked.
        request: For its budget and tags.
        destination: Where images will go, if that is known.
        flow_run: That the run belongs to.
    """
    budget = request.budget_usd
    ledger.runs.start(
        RunSpec(
            id=run_id,
            model=batch.resolve().name,
            parameters=batch.parameters,
            models=as_rows(batch),
            destination=destination,
            edition=batch.edition,
            tags=request.tags,
            mark=_mark_of(request.delivery),
            budget=usd_to_credits(budget) if budget is not None else None,
            flow_run_id=flow_run.id,
            flow_run_name=flow_run.name,
            flow_run_url=flow_run.url,
        )
    )
    ledger.runs.add_items(run_id, batch.run_items())
    progress = ledger.runs.progress(run_id)
    return PlannedRun(run_id, progress.rows, progress.total, progress.owned)


def keep_inputs(ledger: Ledger, run_id: str, batch: AnyBatch, shelf: InputShelf) -> None:
    """Keep the pictures that go into the requests of a run whose items are on the ledger.

    Raises:
        BadInput: One was changed or is gone since it was looked at.
        Unavailable: A store does not answer.
    """
    reader = batch.input_reader
    wanted = ledger.items.inputs_to_send(run_id) if reader is not None else set()
    if reader is None or not wanted:
        return

    def keep(found: tuple[str, Picture]) -> None:
        place, picture = found
        if not shelf.has(picture):
            shelf.keep(picture, reader.read(place))

    with ThreadPoolExecutor(_INPUTS_AT_ONCE, thread_name_prefix="imagen-inputs") as pool:
        try:
            list(pool.map(keep, [one for one in reader.pictures() if one[1].sha256 in wanted]))
        except InputRefused as error:
            raise BadInput(f"a picture is gone since it was looked at: {error.reason}") from None


def _mark_of(delivery: Delivery) -> dict[str, Any] | None:
    """How a run's images are marked, as its row says it to whoever delivers them."""
    if delivery.mark == "none":
        return None
    return {"mode": delivery.mark, "prompt": delivery.mark_prompt, "credit": delivery.credit}


class Run:
    """A run in one process. Thread-safe; chunks call its steps from many threads.

    `Run(...)` attaches to a run that another process or an earlier step has opened; `Run.open` begins one.

    Args:
        services: What the run works with.
        request: Limits, policy and delivery.
        checked: The batch, as far as this process knows it.
        logger: Where the run says what it does.
    """

    def __init__(
        self,
        services: Services,
        checked: CheckedBatch | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.services = services
        self.logger: Logger = logger or logging.getLogger("prefect_imagen.run")
        self.on_budget_warning: Callable[[str, BudgetWarning], None] = lambda _, __: None
        self.on_pause: Callable[[str, str, str | None], None] = lambda _, __, ___: None
        """Told, with the run and `calls` or `pictures`, why buying pauses, and with None that it goes on."""
        services.accounts.on_change = self._tell_pause
        services.texts.on_change = partial(self._tell_pause, services.texts.of)
        self._checked = checked

    @classmethod
    def open(cls, prepared: Prepared, run_id: str, logger: Logger | None = None) -> Self:
        """Begin a run whose request was checked: free what dead processes held, then record the replies they left.

        In this order: replies of processes that are alive are left to them, and so would be those of a process that is
        not yet known to be dead. A reply that is in the spool must not be bought again.

        Raises:
            LedgerUnavailable: The ledger does not answer.
        """
        services = Services(
            run_id,
            ledger=prepared.ledger,
            store=prepared.store,
            client=prepared.client,
            request=_with_price(prepared.request, prepared.checked),
        )
        run = cls(services, prepared.checked, logger)
        try:
            freed = services.ledger.release_dead_workers()
            recorded = recover_replies(services.ledger, services.spool.replies)
        except BaseException:
            run.close()
            raise
        if recorded:
            run.logger.info("recorded %d replies that an earlier process left in the spool", recorded)
        if freed > recorded:
            run.logger.warning(
                "%d calls of a process that died are unknown: see `prefect-imagen status`", freed - recorded
            )
        return run

    def close(self) -> None:
        """Release what belongs to this run alone. Client, ledger and store stay open."""
        self.services.close()

    @property
    def id(self) -> str:
        """Its id in the ledger."""
        return self.services.run_id

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return self.services.ledger

    @property
    def request(self) -> RunRequest:
        """What was asked for."""
        return self.services.request

    @property
    def batch(self) -> AnyBatch:
        """What the run buys. Only the process that opened the run knows it."""
        if self._checked is None:
            raise BadInput(f"the batch of run {self.id} is not known in this process")
        return self._checked.batch

    @batch.setter
    def batch(self, batch: AnyBatch) -> None:
        self._checked = replace(self._checked, batch=batch) if self._checked is not None else None

    @property
    def has_batch(self) -> bool:
        """Whether this process knows what the run buys."""
        return self._checked is not None

    # --- the run as a whole ---------------------------------------------------------------------------------------

    def plan(self, flow_run: FlowRun | None = None) -> PlannedRun:
        """Write the run and its items to the ledger, and keep the pictures that go in. Spends nothing."""
        destination = self.services.destination
        planned = write_run(self.ledger, self.id, self.batch, self.request, destination, flow_run or FlowRun())
        keep_inputs(self.ledger, self.id, self.batch, self.services.inputs)
        log_notices(self)
        return planned

    def ask_log(self) -> None:
        """Ask about calls of earlier runs that are unknown: for their answers, else the API's log; free."""
        clients = self.services.clients
        if clients is None:
            return
        if found := recover_calls(
            self.ledger, self.services.spool.replies, clients, inputs_of=lambda _: self.services.inputs, run_id=self.id
        ):
            self.logger.info("asked again for the answers of %d unknown calls, and got them", found)
        asked = ask_logs(self.ledger, clients, run_id=self.id, seconds=_ASK_SECONDS)
        if asked.calls:
            self.logger.info(
                "the API's log on %d unknown calls: %d not billed, %d billed and their answers lost, %d silent%s",
                asked.calls,
                asked.unbilled,
                asked.billed,
                asked.silent,
                f" ({asked.problem})" if asked.problem else "",
            )

    def complete(self, dispatcher: Dispatcher[Any], total: int) -> RunReport:
        """Ask the log, buy and deliver, then count and record how the run ended.

        Args:
            dispatcher: Where chunks are processed.
            total: Items of the run.

        Raises:
            BaseException: What interrupted the run. Nothing new is sent from then on.
        """
        self.ask_log()
        with self.stopping():
            failures = self.buy(dispatcher, total)
            return self.finish(failures)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """Within, an exception stops the run: nothing new is sent while what is in flight is recorded."""
        try:
            yield
        except BaseException as error:
            self.services.halt.set(StopReason.STOPPED, f"the run was stopped ({type(error).__name__})")
            raise

    def buy(self, dispatcher: Dispatcher[Any], total: int, rows: range | None = None) -> list[str]:
        """Buy and deliver everything that is left to do, with fallback models where a model is withdrawn meanwhile.

        Returns:
            Why chunks failed, each reason once.
        """
        failures = process_all(self, dispatcher, total, rows)
        while self.has_batch and switch_to_fallback(self):
            failures += process_all(self, dispatcher, total, rows)
        return failures

    def finish(self, failures: Sequence[str] = ()) -> RunReport:
        """Count the run and record on the ledger how it ended."""
        if self.request.policy.unknown is UnknownPolicy.FAIL:
            self.ledger.items.fail_unknown(self.id)
        report = self.report(failures, ended=True)
        if self.has_batch:
            report = name_successor(self, report)
        self.ledger.runs.finish(self.id, report.outcome)
        return report

    def finish_steps(self) -> RunReport | None:
        """End a run that is made of single steps, unless a worker holds some of its items; None if one does.

        More batches may follow: each of them ends the run anew.
        """
        destination = self.ledger.runs.get(self.id)["destination"]
        return None if self.ledger.items.leased(self.id, destination=destination) else self.finish()

    def report(self, failures: Sequence[str] = (), *, ended: bool = False) -> RunReport:
        """Count the run as it stands; why it stopped, if it was stopped, is in the report."""
        halt = self.services.halt
        report = make_report(self.ledger, self.id, message="; ".join(failures), ended=ended)
        if report.complete or halt.reason is None:
            return report
        return replace(
            report,
            outcome=self.outcome,
            message=f"{halt.reason}: {halt.message}",
            stop=halt.reason,
            budget=halt.budget,
        )

    @property
    def outcome(self) -> str:
        """The name of the state that a run ends in which is stopped now."""
        reason = self.services.halt.reason
        if reason is None:
            return "Incomplete"
        return "BudgetReached" if reason is StopReason.BUDGET else "Blocked"

    def _tell_pause(self, of: str, reason: str | None) -> None:
        if reason is None:
            self.logger.warning("%s succeed again: buying goes on", of)
        else:
            patience = self.request.delivery.patience
            self.logger.warning("buying pauses, for %g s at most: %s", patience, reason)
        self.on_pause(self.id, of, reason)

    def warn_of_budgets(self) -> None:
        """Warn of budgets of the run, the day and the month that are four fifths used; once for each."""
        try:
            warnings = self.ledger.budgets.pop_warnings(self.id)
        except ImagenError:
            return  # the ledger is away: whoever spends says so
        for warning in warnings:
            state = warning.state
            used, limit = format_usd(state.used), format_usd(state.limit)
            self.logger.warning("%s of %s of %s are used", used, state.name, limit)
            self.on_budget_warning(self.id, warning)

    # --- the steps of a chunk -------------------------------------------------------------------------------------

    def pending(self, *, rows: range | None = None, paid_only: bool = False) -> Iterator[str]:
        """Ids of the items that are left to do, in the order of the run's rows."""
        policy = self.request.policy
        return self.ledger.items.pending(
            self.id,
            destination=self.services.destination,
            unknown=policy.unknown,
            retry_refused=policy.retry_refused,
            paid_only=paid_only,
            rows=rows,
        )

    def process(self, batch: Batch, steps: Steps | None = None) -> Mapping[str, int]:
        """Take a batch through all steps, delivering each image as soon as it is bought.

        Args:
            batch: Items of the run.
            steps: Who carries the steps out; None for the run itself.

        Returns:
            The batch's items by state.
        """
        steps, policy = steps or self, self.request.policy
        # Two runs of one process are one worker to the ledger: only what this batch has leased may be released.
        leased: Sequence[str] = ()
        try:
            # Images are delivered as they are bought; the steps after the first collect what has arrived.
            with self.services.delivery_queue.tracking(batch.item_ids):
                if self.ledger.rewrites.missing(
                    batch.item_ids, unknown=policy.unknown, retry_refused=policy.retry_refused
                ):
                    steps.rewrite(batch)
                generated = steps.generate(batch)
                leased = generated.item_ids
                if leased:
                    steps.record(steps.upload(steps.download(generated)))
        finally:
            self.ledger.items.release(leased)
        return self._count(batch.item_ids)

    def rewrite(self, batch: Batch) -> Rewritten:
        """Have a language model write the texts that items wait for; those that were bought are not bought again.

        Raises:
            BadInput: There is no client; a language model whose price is not known.
        """
        services, rewriter = self.services, self.services.rewriter()
        for begin in range(0, len(batch.item_ids), _TEXTS_AT_ONCE):
            some = batch.item_ids[begin : begin + _TEXTS_AT_ONCE]
            try:
                rewriter.rewrite(some, partial(in_threads, services.purchase_pool))
            except LedgerUnavailable as error:
                services.halt.set(StopReason.LEDGER, str(error))
            if services.halt.is_set:
                break
        states = self.ledger.rewrites.states(batch.item_ids)
        return Rewritten(self.id, batch.item_ids, _counted(states.values()))

    def generate(self, batch: Batch, *, texts_required: bool = False) -> Generated:
        """Buy what is not owned. The items that have images now stay leased until `record`.

        Args:
            batch: Items of the run.
            texts_required: Whether a prompt that was not rewritten yet is an error. Within a whole run it is not: the
                run may have been stopped before.

        Raises:
            BadInput: There is no client; a prompt was not rewritten yet.
        """
        ledger, policy = self.ledger, self.request.policy
        claimed = ledger.items.claim(batch.item_ids, unknown=policy.unknown, retry_refused=policy.retry_refused)
        to_buy = [item for item in claimed if item.state is ItemState.CLAIMED]
        try:
            if texts_required:
                _require_texts(to_buy)
            self.services.buy(to_buy)
            ledger.items.release([item.id for item in to_buy], keep_paid=True)
            states = ledger.items.states([item.id for item in claimed])
        except BaseException:
            with contextlib.suppress(ImagenError):  # it must not hide what went wrong
                ledger.items.release([item.id for item in claimed])
            raise
        ready = (item.id for item in claimed if states.get(item.id) in (ItemState.GENERATED, ItemState.DELIVERED))
        return Generated(self.id, tuple(ready), _counted(states.values()))

    def download(self, batch: Batch) -> Downloaded:
        """Fetch images into the spool and verify each of them.

        Raises:
            SpoolUnavailable: The disk is full or read-only.
        """
        tasks = self.ledger.images.to_deliver(batch.item_ids, destination=self.services.destination)
        return Downloaded(self.id, batch.item_ids, Opaque(self.services.delivery_queue.download(tasks)))

    def upload(self, downloaded: Downloaded) -> Uploaded:
        """Put verified files into the store, create-only."""
        results = self.services.delivery_queue.upload(downloaded.files)
        return Uploaded(self.id, downloaded.item_ids, Opaque(results))

    def record(self, uploaded: Uploaded) -> Cataloged:
        """Record the outcome of each image and item in one transaction, clear the spool, release the items."""
        record(self.ledger, self.services.spool, uploaded.results)
        self.ledger.items.release(uploaded.item_ids)
        return Cataloged(self.id, uploaded.item_ids, self._count(uploaded.item_ids))

    def deliver(self, item_ids: Sequence[str]) -> Sequence[ImageResult]:
        """Download, upload and record the images of items that this process has leased."""
        uploaded = self.upload(self.download(Batch(self.id, tuple(item_ids))))
        self.record(uploaded)
        return uploaded.results

    def _count(self, item_ids: Sequence[str]) -> dict[str, int]:
        return _counted(self.ledger.items.states(item_ids).values())


def _require_texts(items: Sequence[ClaimedItem]) -> None:
    missing = sum(1 for item in items if item.rewrite is not None and item.rewrite.state is ItemState.PLANNED)
    if missing:
        raise BadInput(f"{missing} prompts are to be rewritten first: call rewrite_prompts before generate_images")


def _counted(states: Iterator[ItemState] | Any) -> dict[str, int]:
    return dict(Counter(state.value for state in states))


def _with_price(request: RunRequest, checked: CheckedBatch | None) -> RunRequest:
    """The request, knowing how prompts are rewritten also where a plan file says so."""
    asked = checked.batch.rewrite if checked is not None else None
    if asked is None or request.rewrite is not None:
        return request
    rewrite = Rewrite(model=asked.model, variations=asked.variations, brief=asked.brief, price=asked.price)
    return request.model_copy(update={"rewrite": rewrite})
