"""Feeding chunks to the task runner: enough in flight that the API always has work, none kept when done."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from prefect import get_run_logger
from prefect.futures import PrefectFuture, as_completed

from ..core.errors import Unavailable
from ..core.ledger import LedgerUnavailable, describe_workers
from ..core.limits import StopReason
from ..core.run.services import RunContext
from ..tasks.attached import Catalog, Credentials, Store
from ..tasks.chunk import process_chunk
from ..tasks.manifests import Batch
from .budget import warn_of_budgets

__all__ = ["MAX_CHUNKS", "chunk_size", "run_chunks"]

MAX_CHUNKS = 32
"""Chunks in flight at most: also what the task runner needs as threads."""

_OTHERS_PAUSE = 1.0
_LARGEST = 200
_SECONDS = 60.0
_NO_DELIVERY = frozenset({StopReason.STORE, StopReason.LEDGER, StopReason.STOPPED})


def chunk_size(wanted: int | Literal["auto"], context: RunContext, total: int) -> int:
    """Items for the next chunk.

    `auto`: about a minute of calls at the current rate, so that a reply's images are fetched within a minute of its
    arrival; before a rate is known, one call for each slot. A run that does not fit into one round of calls gets at
    least four chunks, so that their steps overlap.
    """
    if wanted != "auto":
        return wanted
    slots = context.settings.concurrency
    seconds = context.limiter.mean_seconds
    size = float(slots) if seconds is None else slots / max(seconds, 1e-3) * _SECONDS
    per_minute = context.settings.requests_per_minute
    if per_minute is not None:
        size = min(size, per_minute * _SECONDS / 60)
    size = min(size, max(slots, math.ceil(total / 4)), _LARGEST)
    return max(1, int(size))


def _window(size: int, slots: int) -> int:
    return min(MAX_CHUNKS, math.ceil(slots / size) + 2)


def run_chunks(
    context: RunContext,
    wanted_size: int | Literal["auto"],
    total: int,
    credentials: Credentials,
    store: Store,
    catalog: Catalog,
    rows: range | None = None,
) -> list[str]:
    """Send everything there is to do through `process_chunk`. What became of it is in the ledger.

    A chunk that crashes (a worker that died, a bug) does not stop the others; its items stay for the next run. When
    the run is halted, what is paid is still delivered, unless it is the delivery that cannot go on.

    Returns:
        Why chunks failed, each reason once.
    """
    feed = _Feed(context, wanted_size, total, credentials, store, catalog, rows)
    feed.drain(paid_only=False)
    _wait_for_others(context, feed)
    if context.halt.is_set and context.halt.reason not in _NO_DELIVERY:
        feed.drain(paid_only=True)
    return list(dict.fromkeys(feed.failures))


def _wait_for_others(context: RunContext, feed: _Feed) -> None:
    """Wait for items that another run is working on, up to one lease; what it leaves is taken up.

    A run that lives finishes most of its calls within that time, and a dead one is found out: its items are free then.
    """
    deadline = time.monotonic() + context.settings.wait_for_others
    said = False
    while not context.halt.is_set:
        held = context.ledger.items.leased(context.run_id, destination=context.destination)
        if not held or time.monotonic() >= deadline:
            return
        if not said:
            get_run_logger().info("waiting for items that are held: %s", describe_workers(held))
            said = True
        context.halt.sleep(_OTHERS_PAUSE)
        context.ledger.release_dead_workers()
        feed.drain(paid_only=False)


class _Feed:
    def __init__(
        self,
        context: RunContext,
        wanted_size: int | Literal["auto"],
        total: int,
        credentials: Credentials,
        store: Store,
        catalog: Catalog,
        rows: range | None,
    ) -> None:
        self._context = context
        self._rows = rows
        self._wanted_size = wanted_size
        self._total = total
        self._references = (credentials, store, catalog)
        self._in_flight: list[PrefectFuture[Any]] = []
        self._number = 0
        self.failures: list[str] = []

    def drain(self, *, paid_only: bool) -> None:
        context = self._context
        pending: Iterator[str] = context.ledger.items.pending(
            context.run_id,
            destination=context.destination,
            unknown=context.settings.unknown,
            retry_refused=context.settings.retry_refused,
            paid_only=paid_only,
            rows=self._rows,
        )
        while paid_only or not context.halt.is_set:
            size = chunk_size(self._wanted_size, context, self._total)
            item_ids = tuple(islice(pending, size))
            if not item_ids:
                break
            self._submit(item_ids)
            while len(self._in_flight) >= _window(size, context.settings.concurrency):
                self._finish_one()
        while self._in_flight:
            self._finish_one()

    def _submit(self, item_ids: tuple[str, ...]) -> None:
        self._number += 1
        batch = Batch(self._context.run_id, item_ids)
        self._in_flight.append(
            process_chunk.submit(batch, self._number, len(item_ids), *self._references, self._context.settings)
        )

    def _finish_one(self) -> None:
        future = next(iter(as_completed(self._in_flight)))
        self._in_flight.remove(future)
        outcome = future.result(raise_on_failure=False)
        warn_of_budgets(self._context.ledger, self._context.run_id)
        if not isinstance(outcome, BaseException):
            return
        self.failures.append(f"{type(outcome).__name__}: {outcome}")
        if isinstance(outcome, Unavailable):
            reason = StopReason.LEDGER if isinstance(outcome, LedgerUnavailable) else StopReason.STORE
            self._context.halt.set(reason, str(outcome))
