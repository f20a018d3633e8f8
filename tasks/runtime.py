"""The run that a task works for: references become services, once a process and run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import prefect.runtime
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..blocks.references import catalog_block, credentials_block, image_store_block
from ..core.errors import Unavailable
from ..core.ledger import LedgerBehind
from ..core.limits import StopReason
from ..core.request import RunRequest
from ..core.run.results import Batch, PlannedRun
from ..core.run.run import FlowRun, Run
from ..core.run.services import Services


class _OnlyNews(logging.Filter):
    """Leaves out that a task of ours has finished well: a run has hundreds of them, and its end says what they did."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record of a task run is worth a line."""
        finished = str(record.msg).startswith("Finished in state Completed")
        return not (finished and getattr(record, "task_name", None) in _TASKS)


_TASKS = frozenset({
    "imagen_chunk", "expand_prompts", "rewrite_prompts", "generate_images", "download_images", "upload_images",
    "catalog_images",
})  # fmt: skip
logging.getLogger("prefect.task_runs").addFilter(_OnlyNews())

Credentials = ApiCredentials | str | None
Store = S3ImageStore | LocalImageStore | str | None
Catalog = ImageCatalog | str | None

_SERVICE_REASONS = frozenset({
    StopReason.API,
    StopReason.CALLS,
    StopReason.PICTURES,
    StopReason.STORE,
    StopReason.LEDGER,
    StopReason.RATE,
    StopReason.SPOOL,
})  # fmt: skip
_lock = threading.Lock()
_shared: dict[str, tuple[Run, int]] = {}


class StepUnavailable(Unavailable):
    """A step could not finish because a service is down. What is done is in the ledger; a retry does the rest."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a step needs besides its batch. Plain data and references, so that it may travel to another process.

    Attributes:
        credentials: Block, name, or None for the environment.
        store: Block, slug, or address; None for a step that stores nothing.
        catalog: Block, slug, or address; None for this user's own.
        request: Limits, policy and delivery.
        buys: Whether the step needs an API client.
    """

    credentials: Credentials = None
    store: Store = None
    catalog: Catalog = None
    request: RunRequest = field(default_factory=RunRequest)
    buys: bool = True

    def attach(self, run_id: str) -> Run:
        """Resolve the references and attach to the run.

        Raises:
            BadInput: A block or address that is not there.
            Unavailable: The catalog does not answer.
        """
        ledger = catalog_block(self.catalog).get_ledger()
        store = image_store_block(self.store).get_store() if self.store is not None else None
        wanted = self.buys or self.credentials is not None
        client = None
        if wanted:
            model = str(ledger.runs.get(run_id)["model"])
            client = credentials_block(self.credentials, model).get_client(model)
        return Run(Services(run_id, ledger=ledger, store=store, client=client, request=self.request))


@contextmanager
def shared_run(run_id: str, make: Callable[[], Run]) -> Iterator[Run]:
    """Share one run between all its tasks in this process, for as long as any of them is in here.

    Limits, gates and the stop signal only mean something if all tasks look at the same ones.
    """
    with _lock:
        found = _shared.get(run_id)
        run = found[0] if found else make()
        _shared[run_id] = (run, found[1] + 1 if found else 1)
    try:
        yield run
    finally:
        with _lock:
            users = _shared[run_id][1] - 1
            if users:
                _shared[run_id] = (run, users)
            else:
                del _shared[run_id]
        if not users:
            run.close()


@contextmanager
def attached(run_id: str, config: RunConfig) -> Iterator[tuple[Run, bool]]:
    """The run, and whether this step is on its own (not inside a flow or chunk that shares the run)."""
    alone = running(run_id) is None
    with shared_run(run_id, lambda: config.attach(run_id)) as run:
        yield run, alone


def running(run_id: str | None) -> Run | None:
    """The run that a flow or chunk of this process shares, if there is one."""
    with _lock:
        found = _shared.get(run_id or "")
    return found[0] if found else None


def batch_of(run: Run, wanted: PlannedRun | Batch) -> Batch:
    """A batch as it is; of a whole run, everything that is left to do."""
    return wanted if isinstance(wanted, Batch) else Batch(run.id, tuple(run.pending()))


def bind_alone(run: Run, *, alone: bool) -> None:
    """Bind the ledger to the API, which a flow does before its steps begin."""
    client = run.services.client
    if alone and client is not None:
        run.ledger.bind(client.origin(), client.address, client.provider.name)


def raise_if_unavailable(run: Run, *, alone: bool) -> None:
    """Tell Prefect that a step may be retried, if it is on its own and was stopped by a service that is down.

    Raises:
        StepUnavailable: So it is. Inside `imagen_pipeline` the flow decides instead.
        LedgerBehind: The ledger is an older copy of itself.
    """
    halt = run.services.halt
    if alone and halt.reason is StopReason.BEHIND:
        raise LedgerBehind(halt.message)
    if alone and halt.reason in _SERVICE_REASONS:
        raise StepUnavailable(f"{halt.reason}: {halt.message}")


def unavailable_only(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only after a service was down: bad input stays bad, and a bug is not worth money."""
    try:
        state.result()
    except Unavailable:
        return True
    except Exception:  # noqa: BLE001 - whatever it is, it is not for a retry
        return False
    return False


def current_flow_run() -> FlowRun:
    """Id, name and page of the current flow run; the page is None where Prefect's settings name no UI."""
    flow_run_id = prefect.runtime.flow_run.id
    if flow_run_id is None:
        return FlowRun()
    url = url_for("flow-run", obj_id=str(flow_run_id)) if get_current_settings().server.ui.enabled else None
    return FlowRun(flow_run_id, prefect.runtime.flow_run.name, url)
