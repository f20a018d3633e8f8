"""Group commit: many threads' writes, one transaction.

Every paid call needs a commit before it is sent and one after it is answered. One thread does all the writing of a
process; what arrives while it commits goes into the next transaction together. So the price of a durable commit is
shared by all calls in flight, and SQLite never sees two writers of one process fight for its lock. Where many want the
same step of the ledger, the step is run once for all of them: few statements with many rows.

It is also where an outage is waited for. Everything that is to be written stands in one line behind the operation that
found the database away, the intent of the next paid call included: so nothing is sent until the database answers.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy.engine import URL, Connection, Engine

from .engine import is_away, is_outage, unavailable
from .errors import LedgerUnavailable

T = TypeVar("T")
V = TypeVar("V")
_MAX_GROUP = 256
_LINGER = 0.005
"""Seconds that a busy writer lets jobs gather before it commits (PostgreSQL's `commit_delay`, for the same reason)."""
_PROBE_PAUSE = 0.5
_CONFLICT_TRIES = 5
_CONFLICTS = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock; the loser tries again


@dataclass(frozen=True, slots=True)
class _Job(Generic[V, T]):
    """A value for a step; jobs of one group that name the same step are done by one run of it."""

    step: Callable[[Connection, list[V]], list[T]]
    value: V
    future: Future[T] = field(default_factory=Future)


class Writer:
    """Runs write operations in shared transactions.

    An operation is a function of a connection; a step is one of a connection and many values. Either may run more than
    once (after a conflict), so it must not have effects outside the database; and it reports what is expected (a lost
    claim, a spent budget) by its result, since an exception rolls back the whole group and has each job run alone.

    Attributes:
        patience: Seconds that a database which is away is waited for. An operation whose commit broke off is run
            again then, and may have been committed the first time: it must bear that.
    """

    def __init__(self, engine: Engine, url: URL) -> None:
        self.patience = 0.0
        self._engine = engine.execution_options(writing=True)
        self._url = url
        self._jobs: queue.SimpleQueue[_Job[Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._closing = threading.Event()

    def run(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation and return its result once it is committed.

        Raises:
            LedgerUnavailable: The database does not answer; nothing of the operation was committed, or, where the
                connection broke within the commit itself, it cannot be told.
        """
        return self._do(_Job(lambda connection, _: [operation(connection)], None))

    def run_together(self, step: Callable[[Connection, list[V]], list[T]], value: V) -> T:
        """Run a step for a value, and for all other values that are waiting for the same step.

        Args:
            step: Gives one result a value, in order. Told from others by identity.
            value: For the step.

        Raises:
            LedgerUnavailable: As `run`.
        """
        return self._do(_Job(step, value))

    def _do(self, job: _Job[V, T]) -> T:
        if threading.current_thread() is self._thread:
            raise RuntimeError("an operation of the writer cannot wait for another one")
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger was closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="imagen-ledger", daemon=True)
                self._thread.start()
            self._jobs.put(job)
        return job.future.result()

    def close(self) -> None:
        """Finish what is queued and stop the thread."""
        with self._lock:
            self._closed = True
            self._closing.set()
            thread = self._thread
            self._jobs.put(None)
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        busy = False
        while True:
            job = self._jobs.get()
            if job is None:
                return
            if busy:
                time.sleep(_LINGER)
            group = [job]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(group) < _MAX_GROUP:
                    following = self._jobs.get_nowait()
                    if following is None:
                        last = True
                        break
                    group.append(following)
            self._commit(group)
            if last:
                return
            busy = len(group) > 1

    def _commit(self, group: list[_Job[Any, Any]]) -> None:
        away_since: float | None = None
        while True:
            try:
                with self._engine.begin() as connection:
                    results = _apply(connection, group)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the threads that wait
                if is_away(error):
                    now = time.monotonic()
                    away_since = away_since or now
                    if now - away_since < self.patience and not self._closing.wait(_PROBE_PAUSE):
                        continue
                    for job in group:
                        job.future.set_exception(unavailable(error, self._url))
                elif len(group) > 1:
                    for job in group:
                        self._commit([job])
                else:
                    self._retry_alone(group[0], error)
                return
        for job, result in zip(group, results, strict=True):
            job.future.set_result(result)

    def _retry_alone(self, job: _Job[Any, Any], error: Exception) -> None:
        for attempt in range(_CONFLICT_TRIES):
            if getattr(getattr(error, "orig", None), "sqlstate", None) not in _CONFLICTS:
                break
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, not a secret
            try:
                with self._engine.begin() as connection:
                    [result] = _apply(connection, [job])
            except Exception as again:  # noqa: BLE001
                error = again
            else:
                job.future.set_result(result)
                return
        if is_outage(error):
            error = unavailable(error, self._url)
        job.future.set_exception(error)


def _apply(connection: Connection, group: list[_Job[Any, Any]]) -> list[Any]:
    """Run each step of a group once; results in the order of the jobs."""
    places: dict[Callable[..., Any], list[int]] = {}
    for place, job in enumerate(group):
        places.setdefault(job.step, []).append(place)
    results: list[Any] = [None] * len(group)
    for step, mine in places.items():
        for place, result in zip(mine, step(connection, [group[place].value for place in mine]), strict=True):
            results[place] = result
    return results
