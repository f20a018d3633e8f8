"""Which run a task works for: references become live parts, once a process and run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..blocks import AimlApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.references import catalog_block, credentials_block, image_store_block
from ..core.aimlapi import AimlApiClient
from ..core.errors import Unavailable
from ..core.limits import StopReason, StopSignal
from ..core.run.services import RunContext, RunSettings
from ..core.storage import ObjectStore

__all__ = ["StepUnavailable", "Work", "attached", "raise_if_unavailable", "shared_context"]


Credentials = AimlApiCredentials | str | None
Store = S3ImageStore | LocalImageStore | str | None
Catalog = ImageCatalog | str | None

_SERVICE_REASONS = frozenset({StopReason.API, StopReason.STORE, StopReason.LEDGER, StopReason.RATE, StopReason.SPOOL})
_lock = threading.Lock()
_shared: dict[str, tuple[RunContext, int]] = {}


class StepUnavailable(Unavailable):
    """A step could not finish because a service is down. What is done is in the ledger; a retry does the rest."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a step needs besides its batch. Plain data and references, so that it may travel to another process.

    Attributes:
        credentials: Block, name, or None for the environment.
        store: Block, slug, or address; None for a step that stores nothing.
        catalog: Block, slug, or address; None for this user's own.
        settings: How to go about it.
        buys: Whether an API client is needed.
    """

    credentials: Credentials = None
    store: Store = None
    catalog: Catalog = None
    settings: RunSettings = field(default_factory=RunSettings)
    buys: bool = True

    def open(self, run_id: str) -> RunContext:
        """Resolve the references and put the parts together.

        Raises:
            BadInput: A block or address that is not there.
            Unavailable: The catalog does not answer.
        """
        ledger = catalog_block(self.catalog).get_ledger()
        store: ObjectStore | None = None
        if self.store is not None:
            store = image_store_block(self.store).get_store()
        client: AimlApiClient | None = None
        if self.buys or self.credentials is not None:
            client = credentials_block(self.credentials).get_client()
        return RunContext(run_id, ledger=ledger, store=store, client=client, settings=self.settings)


@contextmanager
def shared_context(run_id: str, work: Work) -> Iterator[RunContext]:
    """Share one context between all tasks of a run in this process, as long as any of them is in here.

    Limits, gate and the halt flag only mean something if everybody looks at the same ones.
    """
    with _lock:
        found = _shared.get(run_id)
        context = found[0] if found else work.open(run_id)
        _shared[run_id] = (context, found[1] + 1 if found else 1)
    try:
        yield context
    finally:
        with _lock:
            users = _shared[run_id][1] - 1
            if users:
                _shared[run_id] = (context, users)
            else:
                del _shared[run_id]
        if not users:
            context.close()


@contextmanager
def attached(run_id: str, work: Work) -> Iterator[tuple[RunContext, bool]]:
    """The run's context, and whether this step is on its own (not inside a flow or chunk that shares one)."""
    with _lock:
        alone = run_id not in _shared
    with shared_context(run_id, work) as context:
        yield context, alone


def raise_if_unavailable(halt: StopSignal, *, alone: bool) -> None:
    """Tell Prefect that a step may be retried, if it is on its own and was stopped by a service that is down.

    Raises:
        StepUnavailable: So it is. Inside `imagen_pipeline` the flow decides instead.
    """
    if alone and halt.reason in _SERVICE_REASONS:
        raise StepUnavailable(f"{halt.reason}: {halt.message}")
