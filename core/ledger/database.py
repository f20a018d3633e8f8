"""An open database: connections for reading, one writer with group commit, and this process as a worker."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ..files import make_private_folder
from .conditions import rows_among
from .engine import connect, create_engine, describe_url, is_away, is_cut_off, is_outage, normalise_url, unavailable
from .errors import LedgerMissing, LedgerNotUsable
from .outage import Outage, Silence
from .workers import Heartbeat, Worker, release_dead_workers
from .writer import Writer

T = TypeVar("T")
V = TypeVar("V")
_PROBE_PAUSE = 0.5


class Database:
    """Reads and writes one database. Thread-safe. For its arguments and errors see `core.ledger.ledger.Ledger`."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = normalise_url(url)
        self._prepare_file(create=create)
        self._silence = Silence()
        self.engine = create_engine(self.url, self._silence)
        # Each statement of a question sees what is committed when it begins, as in a transaction of PostgreSQL's usual
        # level; but no round trips begin and end one. SQLite has one moment for all of them, and no round trips.
        is_postgres = self.url.get_backend_name() == "postgresql"
        self._asking = self.engine.execution_options(isolation_level="AUTOCOMMIT") if is_postgres else self.engine
        self._writer = Writer(self.engine, self.url, self._silence)
        self._reading = Outage(self._silence)
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._heartbeat: Heartbeat | None = None

    def _prepare_file(self, *, create: bool) -> None:
        if self.url.get_backend_name() != "sqlite":
            return
        path = Path(str(self.url.database))
        if not create and not path.exists():
            raise LedgerMissing(f"there is no ledger at {path}")
        try:
            make_private_folder(path.parent)
        except OSError as error:
            raise LedgerNotUsable(f"the catalog's folder {path.parent} cannot be made: {error.strerror}") from None
        # SQLite gives its other files (-wal, -shm) the rights of this one. What cannot be made, it tells of itself.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Ledger holds connections and is not pickled; pass the name of an ImageCatalog block")

    @property
    def description(self) -> str:
        """The database's address, without its password."""
        return describe_url(self.url)

    def close(self) -> None:
        """Stop the heartbeat, release everything this process holds, and disconnect."""
        self._silence.patience = 0.0  # nothing of value is left to write
        with self._lock:
            heartbeat, worker = self._heartbeat, self._worker
            self._heartbeat = self._worker = None
        if heartbeat is not None:
            heartbeat.stop()
        if worker is not None:
            with contextlib.suppress(Exception):  # if the database is away, the lease ends the worker
                self._writer.run(lambda connection: release_dead_workers(connection, None, force=(worker.id,)))
        self._writer.close()
        self.engine.dispose()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        try:
            with self._connected(self.engine, check=True) as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            if not is_outage(error):
                raise
            raise unavailable(error, self.url) from None

    def ask(self, question: Callable[[Connection], T]) -> T:
        """What a question finds; it is asked once more where its connection breaks, as when a server starts anew.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        began = time.monotonic()
        while True:
            try:
                with self._connected(self._asking) as connection:
                    return question(connection)
            except sa.exc.DBAPIError as error:
                if not is_outage(error):
                    raise
                patience = self._silence.patience or 0.0
                spent = time.monotonic() - began >= patience or self._silence.is_over
                if spent or not is_cut_off(error):
                    raise unavailable(error, self.url) from None
            except sa.exc.TimeoutError as error:
                raise unavailable(error, self.url) from None
            time.sleep(_PROBE_PAUSE)

    def _connected(self, engine: Engine, *, check: bool = False) -> Connection:
        """Connect, as patiently as the writer."""
        while True:
            began = time.monotonic()
            try:
                connection = connect(engine, check=check)
            except sa.exc.SQLAlchemyError as error:
                if not (is_away(error) and self._reading.failed(error, began)):
                    raise
            else:
                self._reading.ended()
                return connection
            time.sleep(_PROBE_PAUSE)

    def be_patient(self, seconds: float) -> None:
        """From now on, wait so long for a database that is away before `LedgerUnavailable` is raised.

        While one write waits, all later writes wait too, among them the intent of the next paid call.
        """
        self._silence.patience = seconds

    def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation in the next group commit; see `core.ledger.writer.Writer.run`."""
        return self._writer.run(operation)

    def write_together(
        self, step: Callable[[Connection, list[V]], list[T]], value: V, *, after: Callable[[], None] | None = None
    ) -> T:
        """Run a step in the next group commit, once for all values that wait for it; see `Writer.run_together`."""
        return self._writer.run_together(step, value, after=after)

    def write_apart(self, operation: Callable[[Connection], T]) -> T:
        """Run a short operation on contended rows in a transaction of its own, so that no group of writes locks them.

        On SQLite, which has one writer anyway, it is a write like others.
        """
        if self.url.get_backend_name() != "sqlite":
            with contextlib.suppress(sa.exc.DBAPIError), self.engine.begin() as connection:
                return operation(connection)
        return self.write(operation)  # which waits for a database that is away, and tries again after a conflict

    @property
    def worker(self) -> Worker:
        """This process, registered on first use and kept alive from then on."""
        with self._lock:
            if self._worker is None:
                worker = Worker.of_this_process()
                self._writer.run(worker.register)
                self._heartbeat = Heartbeat(worker, self._writer)
                self._heartbeat.start()
                self._worker = worker
            return self._worker

    @property
    def registered_worker(self) -> Worker | None:
        """This process, if it is registered already."""
        return self._worker


class Part:
    """A part of an open ledger: its queries and writes on one subject."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _rows(self, query: sa.Executable) -> Sequence[Any]:
        return self._database.ask(lambda connection: connection.execute(query).all())

    def _rows_among(self, query: sa.Select[Any], column: sa.ColumnElement[str], values: Iterable[str]) -> list[Any]:
        wanted = list(values)
        return self._database.ask(lambda connection: list(rows_among(connection, query, column, wanted)))

    def _scalars(self, query: sa.Executable) -> list[Any]:
        return self._database.ask(lambda connection: list(connection.scalars(query)))

    def _scalar(self, query: sa.Executable) -> Any:
        return self._database.ask(lambda connection: connection.scalar(query))

    def _execute(self, statement: sa.Executable) -> None:
        self._database.write(lambda connection: connection.execute(statement))
