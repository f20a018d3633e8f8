"""Group commit: many threads' writes, one transaction.

Every paid call needs a commit before it is sent and one after it is answered. One thread does all writes of a
process; writes that arrive while it commits share the next transaction. So all calls in flight share the cost of a
durable commit, and on SQLite no two writers of a process compete for the lock. If many threads want the same step, it
runs once for all of them: few statements with many rows.

The writer also waits for a database that is away. All later writes queue behind the one that found it away, among
them the intent of the next paid call, so nothing is sent until the database answers.
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
from .outage import Outage, Silence

T = TypeVar("T")
V = TypeVar("V")
_MAX_GROUP = 256
_LINGER = 0.005
"""Seconds that a busy writer lets jobs gather before it commits (PostgreSQL's `commit_delay`, for the same reason)."""
_PROBE_PAUSE = 0.5
_LONGEST_COMMIT = 1.0
"""Seconds after which a job is taken to wait for a database that is away."""
_CONFLICT_TRIES = 5
_CONFLICTS = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock; the loser tries again


@dataclass(frozen=True, slots=True)
class _Job(Generic[V, T]):
    """A value for a step. Jobs of one group with the same step are done by one run of it."""

    step: Callable[[Connection, list[V]], list[T]]
    value: V
    after: Callable[[], None] | None = None
    future: Future[T] = field(default_factory=Future)


class Writer:
    """Runs write operations in shared transactions.

    An operation is a function of a connection; a step is a function of a connection and many values. Both may run more
    than once (after a conflict), so they must have no effects outside the database. Return expected failures (a lost
    claim, a reached budget) as values: an exception rolls back the whole group and re-runs every job on its own.

    While there is patience with a database that is away, an operation whose commit broke off is run again, although it
    may have been committed the first time: operations must allow for that.
    """

    def __init__(self, engine: Engine, url: URL, silence: Silence) -> None:
        self._engine = engine.execution_options(writing=True)
        self._url = url
        self._jobs: queue.SimpleQueue[_Job[Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._closing = threading.Event()
        self._outage = Outage(silence)

    def run(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation and return its result once it is committed.

        Raises:
            LedgerUnavailable: The database does not answer. Nothing was committed; only if the connection broke during
                the commit itself is that not known.
        """
        return self._do(_Job(lambda connection, _: [operation(connection)], None))

    def run_together(
        self, step: Callable[[Connection, list[V]], list[T]], value: V, *, after: Callable[[], None] | None = None
    ) -> T:
        """Run a step for a value and for all other values that wait for the same step; errors are those of `run`.

        A step returns one result per value, in order. Steps are told apart by identity: pass a module function.

        Args:
            after: What has to be done before, such as a flush of files: called once for all jobs of a transaction that
                name the same, before it begins; and early, by the thread that waits, while the database is away. It
                does not raise.
        """
        return self._do(_Job(step, value, after))

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
        if job.after is not None:
            with contextlib.suppress(TimeoutError):
                return job.future.result(_LONGEST_COMMIT)
            job.after()
        return job.future.result()

    def close(self) -> None:
        """Finish the queued writes and stop the thread."""
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
            group = [job]
            last = False
            try:
                if busy:
                    time.sleep(_LINGER)
                with contextlib.suppress(queue.Empty):
                    while len(group) < _MAX_GROUP:
                        following = self._jobs.get_nowait()
                        if following is None:
                            last = True
                            break
                        group.append(following)
                for first in {job.after for job in group if job.after is not None}:
                    first()
                self._commit(group)
            except BaseException as error:  # noqa: BLE001 - who waits for an answer would wait for ever
                for waiting in group:
                    if not waiting.future.done():
                        waiting.future.set_exception(error)
            if last:
                return
            busy = len(group) > 1

    def _commit(self, group: list[_Job[Any, Any]]) -> None:
        while True:
            began = time.monotonic()
            if (just_now := self._outage.error_now()) is not None:
                self._fail(group, just_now)
                return
            try:
                with self._engine.begin() as connection:
                    results = _apply(connection, group)
                break
            except Exception as error:  # noqa: BLE001 - the waiting threads raise it
                if is_away(error):
                    if self._outage.failed(error, began) and not self._closing.wait(_PROBE_PAUSE):
                        continue
                    self._fail(group, error)
                    return
                self._outage.ended()
                if len(group) > 1:
                    for job in group:
                        self._commit([job])
                else:
                    self._retry_alone(group[0], error)
                return
        self._outage.ended()
        for job, result in zip(group, results, strict=True):
            job.future.set_result(result)

    def _fail(self, group: list[_Job[Any, Any]], error: BaseException) -> None:
        for job in group:
            job.future.set_exception(unavailable(error, self._url))

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
