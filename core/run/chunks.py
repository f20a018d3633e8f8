"""Feeding the items of a run to a dispatcher: enough chunks in flight that the API always has work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import Unavailable
from ..ledger import LedgerUnavailable, describe_workers
from ..limits import StopReason
from .results import Batch

if TYPE_CHECKING:
    from .run import Run

MAX_CHUNKS = 32
"""Chunks in flight at most: also how many threads a dispatcher needs."""

_OTHERS_PAUSE = 1.0
_LOOK = 0.25
_LARGEST = 200
_SECONDS = 60.0
_NO_DELIVERY = frozenset({StopReason.STORE, StopReason.PICTURES, StopReason.LEDGER, StopReason.STOPPED})


class Submitted(Protocol):
    """A chunk in flight, as futures are."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Have a function called with it once it has ended."""


F = TypeVar("F", bound=Submitted)


class Dispatcher(Protocol[F]):
    """Where chunks are processed: threads of this process, or task runs of Prefect."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether chunks are processed by other processes, each of which may have all the calls in flight."""

    def submit(self, batch: Batch, number: int) -> F:
        """Start a chunk, the `number`th of the run."""

    def failure_of(self, ended: F) -> BaseException | None:
        """What a chunk that has ended failed with, if it failed."""


class Threads:
    """Processes chunks in threads of this process.

    Args:
        process: Takes a batch through the steps of the run.
    """

    def __init__(self, process: Callable[[Batch], Any]) -> None:
        self._process = process
        self._pool = ThreadPoolExecutor(MAX_CHUNKS, thread_name_prefix="imagen-chunk")

    def __enter__(self) -> Threads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)

    @property
    def is_elsewhere(self) -> bool:
        """See `Dispatcher`."""
        return False

    def submit(self, batch: Batch, number: int) -> Future[Any]:
        """See `Dispatcher`."""
        del number
        return self._pool.submit(self._process, batch)

    def failure_of(self, ended: Future[Any]) -> BaseException | None:
        """See `Dispatcher`."""
        return ended.exception()


def chunk_size(run: Run, total: int) -> int:
    """Items of the next chunk, where the run has `total`.

    `auto`: about a minute of calls at the current rate, so that a reply's images are fetched within a minute of its
    arrival; before a rate is known, one call for each slot. A run that does not fit into one round of calls gets at
    least four chunks, so that their steps overlap.
    """
    limits = run.request.limits
    if limits.chunk_size != "auto":
        return limits.chunk_size
    slots = limits.concurrency
    seconds = run.services.accounts.mean_seconds
    size = float(slots) if seconds is None else slots / max(seconds, 1e-3) * _SECONDS
    if limits.requests_per_minute is not None:
        size = min(size, limits.requests_per_minute * _SECONDS / 60)
    size = min(size, max(slots, math.ceil(total / 4)), _LARGEST)
    return max(1, int(size))


def process_all(run: Run, dispatcher: Dispatcher[Any], total: int, rows: range | None = None) -> list[str]:
    """Send everything that is left to do through a dispatcher. The ledger has the outcome of each item.

    A chunk that crashes (a worker that died, a bug) does not stop the others; its items stay for the next run. When
    the run is stopped, what is paid is still delivered, unless it is the delivery that cannot go on.

    Args:
        run: On the ledger.
        dispatcher: Where chunks are processed.
        total: Items of the run, or of the rows.
        rows: Only the items of these rows; None for all.

    Returns:
        Why chunks failed, each reason once.
    """
    feed = _Feed(run, dispatcher, total, rows)
    feed.drain(paid_only=False)
    _wait_for_others(run, feed)
    halt = run.services.halt
    # While no picture arrived, pictures were left for later.
    left = halt.is_set or run.services.accounts.picture_pauses
    if left and halt.reason not in _NO_DELIVERY:
        feed.drain(paid_only=True)
    return list(dict.fromkeys(feed.failures))


def _wait_for_others(run: Run, feed: _Feed) -> None:
    """Wait for items that another run is working on, and take up those that it leaves.

    The time is that of one lease: a run that lives finishes most of its calls within it, and one that died is noticed,
    which frees its items.
    """
    services = run.services
    deadline = time.monotonic() + run.request.policy.wait_for_others
    said = False
    while not services.halt.is_set:
        held = services.ledger.items.leased(services.run_id, destination=services.destination)
        if not held or time.monotonic() >= deadline:
            return
        if not said:
            run.logger.info("waiting for items that are held: %s", describe_workers(held))
            said = True
        services.halt.sleep(_OTHERS_PAUSE)
        services.ledger.release_dead_workers()
        feed.drain(paid_only=False)


class _Feed:
    def __init__(self, run: Run, dispatcher: Dispatcher[Any], total: int, rows: range | None) -> None:
        self._run = run
        self._dispatcher = dispatcher
        self._total = total
        self._rows = rows
        self._in_flight: list[Any] = []  # Dask drops what nobody refers to
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._number = 0
        self.failures: list[str] = []

    def drain(self, *, paid_only: bool) -> None:
        services, slots = self._run.services, self._run.request.limits.concurrency
        pending = self._run.pending(rows=self._rows, paid_only=paid_only)
        while paid_only or not services.halt.is_set:
            size = chunk_size(self._run, self._total)
            item_ids = tuple(islice(pending, size))
            if not item_ids:
                break
            self._submit(Batch(services.run_id, item_ids))
            # How many processes there are elsewhere is not known here; what is too much waits in their scheduler.
            elsewhere = self._dispatcher.is_elsewhere
            enough = MAX_CHUNKS if elsewhere else min(MAX_CHUNKS, math.ceil(slots / size) + 2)
            while (in_flight := len(self._in_flight)) >= enough:
                patient = elsewhere or paid_only or in_flight >= MAX_CHUNKS
                if not self._finish_one(None if patient else _LOOK) and services.has_idle_slots(in_flight):
                    break  # each chunk waits for a few slow calls
        while self._in_flight:
            self._finish_one()

    def _submit(self, batch: Batch) -> None:
        self._number += 1
        chunk = self._dispatcher.submit(batch, self._number)
        self._in_flight.append(chunk)
        chunk.add_done_callback(self._ended.put)

    def _finish_one(self, seconds: float | None = None) -> bool:
        """Wait until a chunk has ended. False if time was up before."""
        try:
            ended = self._ended.get(timeout=seconds)
        except Empty:
            return False
        self._in_flight.remove(ended)
        error = self._dispatcher.failure_of(ended)
        self._run.warn_of_budgets()
        if error is None:
            return True
        self.failures.append(f"{type(error).__name__}: {error}")
        if isinstance(error, Unavailable):
            reason = StopReason.LEDGER if isinstance(error, LedgerUnavailable) else StopReason.STORE
            self._run.services.halt.set(reason, str(error))
        return True
