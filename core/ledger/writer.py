"""Group commit: many threads' writes, one transaction.

Every paid call needs a commit before it is sent and one after it is answered. One thread does all the writing of a
process; what arrives while it commits goes into the next transaction together. So the price of a durable commit is
shared by all calls in flight, and SQLite never sees two writers of one process fight for its lock.

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
from typing import Any, TypeVar

from sqlalchemy.engine import URL, Connection, Engine

from .database import is_away, is_outage, unavailable
from .errors import LedgerUnavailable

__all__ = ["Writer"]

T = TypeVar("T")
_MAX_GROUP = 256
_PROBE_PAUSE = 0.5
_CONFLICT_TRIES = 5
_CONFLICTS = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock; the loser tries again

_Job = tuple[Callable[[Connection], Any], "Future[Any]"]


class Writer:
    """Runs write operations, in the order they came, in shared transactions.

    An operation is a function of a connection. It may run more than once (after a conflict), so it must not have
    effects outside the database; and it reports what is expected (a lost claim, a spent budget) by its result, since
    an exception rolls back the whole group and has each of its operations run alone.

    Attributes:
        patience: Seconds that a database which is away is waited for. An operation whose commit broke off is run
            again then, and may have been committed the first time: it must bear that.
    """

    def __init__(self, engine: Engine, url: URL) -> None:
        self.patience = 0.0
        self._engine = engine.execution_options(writing=True)
        self._url = url
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
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
        if threading.current_thread() is self._thread:
            raise RuntimeError("an operation of the writer cannot wait for another one")
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger was closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="imagen-ledger", daemon=True)
                self._thread.start()
            self._jobs.put((operation, future))
        return future.result()

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
        while True:
            job = self._jobs.get()
            if job is None:
                return
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

    def _commit(self, group: list[_Job]) -> None:
        away_since: float | None = None
        while True:
            try:
                with self._engine.begin() as connection:
                    results = [operation(connection) for operation, _ in group]
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the threads that wait
                if is_away(error):
                    now = time.monotonic()
                    away_since = away_since or now
                    if now - away_since < self.patience and not self._closing.wait(_PROBE_PAUSE):
                        continue
                    for _, future in group:
                        future.set_exception(unavailable(error, self._url))
                elif len(group) > 1:
                    for job in group:
                        self._commit([job])
                else:
                    self._retry_alone(group[0], error)
                return
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)

    def _retry_alone(self, job: _Job, error: Exception) -> None:
        operation, future = job
        for attempt in range(_CONFLICT_TRIES):
            if getattr(getattr(error, "orig", None), "sqlstate", None) not in _CONFLICTS:
                break
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, not a secret
            try:
                with self._engine.begin() as connection:
                    result = operation(connection)
            except Exception as again:  # noqa: BLE001
                error = again
            else:
                future.set_result(result)
                return
        if is_outage(error):
            error = unavailable(error, self._url)
        future.set_exception(error)
