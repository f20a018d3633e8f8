"""The ledger: the truth about every paid call, in one database."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from . import account as accounts
from . import budget as budget_steps
from . import calls as call_steps
from . import claims, erasure, runs
from . import held as held_items
from . import images as image_steps
from .database import (
    create_engine,
    database_now,
    describe_url,
    is_away,
    is_outage,
    normalise_url,
    scrub,
    unavailable,
)
from .errors import LedgerMismatch, LedgerMissing, LedgerNotUsable
from .holders import LEASE_SECONDS, Heartbeat, Holder, reap
from .items import ItemKind
from .migrations import SCHEMA_VERSION, check_version, migrate
from .schema import deliveries, images, insert_new, meta, run_items
from .schema import items as items_table
from .schema import runs as runs_table
from .selection import Selection
from .states import ItemState
from .writer import Writer

__all__ = ["Ledger"]

T = TypeVar("T")
_PROBE_PAUSE = 0.5


class Ledger:
    """An open ledger. Thread-safe; one for all threads of a process, share it.

    Args:
        url: SQLAlchemy URL, or the path of an SQLite file.
        create: Make one where there is none. An older one is brought to this package's schema in any case.

    Raises:
        LedgerNotUsable: The URL is wrong, or there is no ledger and `create` is False.
        LedgerUnavailable: The database does not answer.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = normalise_url(url)
        self._prepare_file(create=create)
        self._engine = create_engine(self.url)
        self._writer = Writer(self._engine, self.url)
        self._lock = threading.Lock()
        self._holder: Holder | None = None
        self._heartbeat: Heartbeat | None = None
        try:
            self.id = self._open(create=create)
        except BaseException:
            self._writer.close()
            self._engine.dispose()
            raise

    def _prepare_file(self, *, create: bool) -> None:
        if self.url.get_backend_name() != "sqlite":
            return
        path = Path(str(self.url.database))
        if not create and not path.exists():
            raise LedgerMissing(f"there is no ledger at {path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerNotUsable(f"the catalog's folder {path.parent} cannot be made: {error.strerror}") from None

    def _open(self, *, create: bool) -> str:
        with self.read() as connection:
            version = check_version(connection)
        if version == 0 and not create:
            raise LedgerMissing(f"there is no ledger in {self.description}")
        if version < SCHEMA_VERSION:
            self._writer.run(migrate)
        with self.read() as connection:
            return str(connection.scalar(sa.select(meta.c.value).where(meta.c.key == "ledger_id")))

    def __repr__(self) -> str:
        return f"Ledger({self.description!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Ledger holds connections and is not pickled; pass the name of an ImageCatalog block")

    @property
    def description(self) -> str:
        """The database's address, without its password."""
        return describe_url(self.url)

    def close(self) -> None:
        """Stop the heartbeat, let go of everything this process holds, and disconnect."""
        with self._lock:
            heartbeat, holder = self._heartbeat, self._holder
            self._heartbeat = self._holder = None
        if heartbeat is not None:
            heartbeat.stop()
        if holder is not None:
            self._writer.patience = 0.0  # nothing of value is left to write
            with contextlib.suppress(Exception):  # a dead database frees the holder by its lease
                self._writer.run(lambda connection: reap(connection, None, force=(holder.id,)))
        self._writer.close()
        self._engine.dispose()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        try:
            with self._connected() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            if not is_outage(error):
                raise
            raise unavailable(error, self.url) from None

    def _connected(self) -> Connection:
        """Connect, as patiently as the writer."""
        started = time.monotonic()
        while True:
            try:
                return self._engine.connect()
            except sa.exc.SQLAlchemyError as error:
                if not is_away(error) or time.monotonic() - started >= self._writer.patience:
                    raise
            time.sleep(_PROBE_PAUSE)

    def be_patient(self, seconds: float) -> None:
        """From now on wait up to so long for a database that is away, before anything raises `LedgerUnavailable`.

        While a write waits, so do all that come after it, the intent of the next paid call among them.
        """
        self._writer.patience = seconds

    def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation in the next group commit; see `core.ledger.writer.Writer.run`."""
        return self._writer.run(operation)

    def write_apart(self, operation: Callable[[Connection], T]) -> T:
        """Run a short operation on rows that processes contend for, so that no group of writes holds them meanwhile.

        On SQLite, which has one writer anyway, it is a write like others.
        """
        if self.url.get_backend_name() != "sqlite":
            with contextlib.suppress(sa.exc.DBAPIError), self._engine.begin() as connection:
                return operation(connection)
        return self.write(operation)  # which waits for a database that is away, and tries again after a conflict

    @property
    def holder(self) -> Holder:
        """This process, registered on first use and kept alive from then on."""
        with self._lock:
            if self._holder is None:
                holder = Holder.of_this_process()
                self._writer.run(holder.register)
                self._heartbeat = Heartbeat(holder, self._writer)
                self._heartbeat.start()
                self._holder = holder
            return self._holder

    def bind(self, origin: str) -> None:
        """Bind the ledger to one API, for good: purchases from a sandbox never look like real ones.

        Raises:
            LedgerMismatch: It belongs to another API.
        """

        def operation(connection: Connection) -> str:
            # The first of several processes that start at once decides.
            connection.execute(insert_new(connection, meta), [{"key": "api_origin", "value": origin}])
            return str(connection.scalar(sa.select(meta.c.value).where(meta.c.key == "api_origin")))

        bound = self.write(operation)
        if bound != origin:
            raise LedgerMismatch(
                f"the ledger at {self.description} is the account of {bound}, this run would buy from {origin}: "
                "use another catalog (--catalog) for it"
            )

    @property
    def origin(self) -> str | None:
        """The API this ledger is bound to; None before the first run."""
        with self.read() as connection:
            return connection.scalar(sa.select(meta.c.value).where(meta.c.key == "api_origin"))

    def reap(self) -> int:
        """Free what dead processes held. Returns the calls that are unknown because of it."""
        me = self.holder
        return self.write(lambda connection: reap(connection, me))

    # --- runs -------------------------------------------------------------------------------------------------------

    def start_run(self, spec: runs.RunSpec) -> None:
        """Begin a run, or take it up again."""
        holder = self.holder.id
        self.write(lambda connection: runs.start_run(connection, spec, holder))

    def add_run_items(self, run_id: str, rows: Iterable[runs.RunItem]) -> None:
        """Add source rows to a run, a transaction for each thousand."""
        for batch in claims.in_batches(rows, 1000):
            self.write(lambda connection, batch=batch: runs.add_run_items(connection, run_id, batch))  # type: ignore[misc]

    def switch_run_items(self, run_id: str, rows: Iterable[runs.RunItem]) -> int:
        """Let rows that were not bought be the items of a model that stands in; returns how many are."""
        return sum(
            self.write(lambda connection, batch=batch: runs.switch_run_items(connection, run_id, batch))  # type: ignore[misc]
            for batch in claims.in_batches(rows, 500)
        )

    def set_run_models(self, run_id: str, models: Sequence[Mapping[str, Any]]) -> None:
        """Note what a run may buy from now on."""
        values = [dict(model) for model in models]
        self.write(
            lambda connection: connection.execute(
                sa.update(runs_table).where(runs_table.c.id == run_id).values(models=values)
            )
        )

    def used_models(self) -> list[str]:
        """Ids of the models that images were asked of, in runs or calls, the latest first."""
        query = (
            sa.select(items_table.c.model, sa.func.max(items_table.c.updated_at).label("last"))
            .where(items_table.c.kind == ItemKind.IMAGE)
            .group_by(items_table.c.model)
            .order_by(sa.desc("last"))
        )
        with self.read() as connection:
            return [row.model for row in connection.execute(query)]

    def finish_run(self, run_id: str, outcome: str) -> None:
        """Note how a run ended."""
        self.write(lambda connection: runs.finish_run(connection, run_id, outcome))

    def progress(self, run_id: str) -> runs.RunProgress:
        """How far a run is."""
        with self.read() as connection:
            return runs.progress(connection, run_id)

    def row_progress(self, run_id: str, rows: range) -> runs.RowProgress:
        """How far the items are that some rows of a run ask for."""
        with self.read() as connection:
            return runs.row_progress(connection, run_id, rows)

    def run(self, run_id: str) -> Mapping[str, Any]:
        """A run's row.

        Raises:
            KeyError: No such run.
        """
        with self.read() as connection:
            row = connection.execute(sa.select(runs_table).where(runs_table.c.id == run_id)).mappings().one_or_none()
        if row is None:
            raise KeyError(run_id)
        return dict(row)

    def latest_run(self, *, of_this_process: bool = False) -> str | None:
        """Id of the run that was started last."""
        query = sa.select(runs_table.c.id).order_by(runs_table.c.started_at.desc()).limit(1)
        if of_this_process:
            if self._holder is None:
                return None
            query = query.where(runs_table.c.holder_id == self._holder.id)
        with self.read() as connection:
            return connection.scalar(query)

    # --- items ------------------------------------------------------------------------------------------------------

    def pending(
        self,
        run_id: str,
        *,
        destination: str | None,
        unknown: UnknownPolicy = UnknownPolicy.HOLD,
        retry_refused: bool = False,
        paid_only: bool = False,
        rows: range | None = None,
        page: int = 1000,
    ) -> Iterator[str]:
        """Ids of a run's items that there is something to do for, a page at a time, each once.

        Args:
            run_id: The run.
            destination: Where the run wants its images.
            unknown: Whether unknown items are bought again.
            retry_refused: Whether refused items are asked for again.
            paid_only: Nothing that is to be bought.
            rows: Only items that first occur in these rows of the run; None for all.
            page: Items read at once.
        """
        after = -1 if rows is None else rows.start - 1
        holder = self.holder.id
        while True:
            with self.read() as connection:
                found = claims.pending(
                    connection,
                    run_id,
                    holder,
                    destination=destination,
                    unknown=unknown,
                    retry_refused=retry_refused,
                    paid_only=paid_only,
                    after=after,
                    before=None if rows is None else rows.stop,
                    limit=page,
                )
            yield from (item_id for _, item_id in found)
            if len(found) < page:
                return
            after = found[-1][0]

    def claim(
        self,
        item_ids: Sequence[str],
        *,
        unknown: UnknownPolicy = UnknownPolicy.HOLD,
        retry_refused: bool = False,
    ) -> list[claims.ClaimedItem]:
        """Take items up, as far as nobody else holds them."""
        holder = self.holder.id
        return self.write(
            lambda connection: claims.claim(connection, item_ids, holder, unknown=unknown, retry_refused=retry_refused)
        )

    def release(self, item_ids: Sequence[str], *, keep_paid: bool = False) -> None:
        """Let go of items; with `keep_paid`, of those only that have nothing to deliver."""
        holder = self.holder.id
        self.write(lambda connection: claims.release(connection, item_ids, holder, keep_paid=keep_paid))

    def give_up_unknown(self, run_id: str | None, item_ids: Sequence[str] | None = None) -> int:
        """Count unknown items (of a run, or of those given) as failed, so that the next run buys them again."""
        return self.write(lambda connection: claims.give_up_unknown(connection, run_id, item_ids))

    def rewrites_wanted(
        self,
        item_ids: Sequence[str],
        *,
        unknown: UnknownPolicy = UnknownPolicy.HOLD,
        retry_refused: bool = False,
    ) -> list[str]:
        """Rewrites without a text that the given items wait for, each once."""
        with self.read() as connection:
            return claims.rewrites_wanted(connection, item_ids, unknown=unknown, retry_refused=retry_refused)

    def rewritten(self, rewrite_ids: Sequence[str]) -> dict[str, claims.WantedText]:
        """How rewrites stand, by id."""
        with self.read() as connection:
            return claims.rewritten(connection, rewrite_ids)

    def text_states(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """States of the texts that images are made from, by the text's id."""
        with self.read() as connection:
            return claims.text_states(connection, item_ids)

    def give_up(self, item_id: str, reason: str) -> None:
        """Let a claimed item fail that cannot be asked for."""
        holder = self.holder.id
        self.write(lambda connection: claims.give_up(connection, item_id, holder, reason))

    def held(self, run_id: str, *, destination: str | None, but_holder: str | None = None) -> list[held_items.HeldItem]:
        """Items of a run that somebody works on, and that are not yet where the run wants them."""
        with self.read() as connection:
            return held_items.held(connection, run_id, destination=destination, but_holder=but_holder)

    def states(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """The states of items, by id."""
        with self.read() as connection:
            return claims.states(connection, item_ids)

    # --- calls and images -------------------------------------------------------------------------------------------

    def begin(self, intent: call_steps.CallIntent) -> call_steps.Begun:
        """Commit the intent of a call."""
        return self._writer.run_together(call_steps.begin, intent)

    def settle(self, call_id: str, outcome: call_steps.Outcome) -> bool:
        """Commit what became of a call."""
        return self._writer.run_together(call_steps.settle, (call_id, outcome))

    def reopen(self, call_ids: Sequence[str]) -> None:
        """Take back refusals that were no word about their items."""
        self.write(lambda connection: call_steps.reopen(connection, call_ids))

    def images_to_deliver(self, item_ids: Sequence[str], *, destination: str | None) -> list[image_steps.ImageTask]:
        """Images that are paid for and not where they are wanted."""
        with self.read() as connection:
            return image_steps.images_to_deliver(connection, item_ids, destination=destination)

    def waiting_calls(self, call_ids: Sequence[str]) -> set[str]:
        """Those of the calls whose images are not all dealt with."""
        with self.read() as connection:
            return image_steps.waiting_calls(connection, call_ids)

    def finish_images(self, results: Sequence[image_steps.ImageResult]) -> None:
        """Commit what became of images."""
        self._writer.run_together(image_steps.finish_images, results)

    def delivered_to(self, destination: str) -> int:
        """How many images lie at a destination."""
        query = sa.select(sa.func.count()).where(deliveries.c.destination == destination)
        with self.read() as connection:
            return connection.scalar(query) or 0

    def delivered_in(self, run_id: str) -> int:
        """Images that a run has stored at its destination: what it bought, and what it copied there."""
        query = (
            sa.select(sa.func.count())
            .select_from(deliveries)
            .join(runs_table, runs_table.c.destination == deliveries.c.destination)
            .join(images, sa.and_(images.c.call_id == deliveries.c.call_id, images.c.idx == deliveries.c.idx))
            .where(
                runs_table.c.id == run_id,
                deliveries.c.stored_at >= runs_table.c.started_at,
                images.c.item_id.in_(sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)),
            )
        )
        with self.read() as connection:
            return connection.scalar(query) or 0

    # --- budgets ----------------------------------------------------------------------------------------------------

    def set_budget(self, period: budget_steps.Period, limit: int, timezone: str = "UTC") -> None:
        """Set what a day or a month may cost, in credits, over all runs.

        Raises:
            BadInput: No such time zone.
        """
        self.write(lambda connection: budget_steps.set_budget(connection, period, limit, timezone))

    def clear_budget(self, period: budget_steps.Period) -> None:
        """Remove the budget of the day or the month."""
        self.write(lambda connection: budget_steps.clear_budget(connection, period))

    def budgets(self, run_id: str | None = None) -> list[budget_steps.BudgetState]:
        """The budgets that are set, and what is used of each: of the run, of the day, of the month."""
        with self.read() as connection:
            run = budget_steps.run_budget(connection, run_id) if run_id is not None else None
            return [*([run] if run is not None else []), *budget_steps.budget_states(connection, datetime.now(UTC))]

    def may_free(self, run_id: str, period: budget_steps.Period) -> bool:
        """Whether calls are in flight that may leave something of a reached budget."""
        with self.read() as connection:
            alive_since = database_now(connection) - LEASE_SECONDS
            return budget_steps.in_flight(connection, period, run_id, alive_since=alive_since)

    def take_budget_warnings(self, run_id: str) -> list[budget_steps.BudgetWarning]:
        """Budgets of which four fifths are used now; each is given once, to whoever asks first."""
        return self.write(lambda connection: budget_steps.take_warnings(connection, run_id, datetime.now(UTC)))

    # --- erasing ----------------------------------------------------------------------------------------------------

    def survey_erasure(self, selection: Selection, *, shared: bool) -> erasure.Survey:
        """Count what erasing would do."""
        with self.read() as connection:
            return erasure.survey(connection, selection, shared=shared)

    def erasable(self, selection: Selection, *, shared: bool) -> list[str]:
        """Items that can be erased now."""
        with self.read() as connection:
            return list(connection.scalars(erasure.erasable(connection, selection, shared=shared)))

    def take_for_erasure(self, item_ids: Sequence[str]) -> list[str]:
        """Hold items that are to be erased, as far as nobody works on them."""
        holder = self.holder.id
        return self.write(lambda connection: erasure.take(connection, item_ids, holder))

    def objects_of(self, item_ids: Sequence[str]) -> list[erasure.ErasableObject]:
        """Where the images of items lie."""
        with self.read() as connection:
            return erasure.objects(connection, item_ids)

    def flow_runs_of(self, item_ids: Sequence[str]) -> set[str]:
        """Prefect's ids of the flow runs that asked for items."""
        with self.read() as connection:
            return erasure.flow_runs(connection, item_ids)

    def blank(self, item_ids: Sequence[str]) -> list[str]:
        """Blank items that this process holds; returns their calls."""
        holder = self.holder.id
        return self.write(lambda connection: erasure.blank(connection, item_ids, holder))

    def scrub(self) -> bool | None:
        """Rewrite an SQLite file, so that nothing of what was blanked is left in its free space.

        Returns:
            False where others use the file, True if it is done; None for a database server, which does so by itself.
        """
        return scrub(self._engine)

    # --- reading ----------------------------------------------------------------------------------------------------

    def account(self, run_id: str | None = None) -> accounts.Account:
        """Where the money went, in a run or altogether."""
        with self.read() as connection:
            return accounts.account(connection, run_id)

    def catalog(self, *, run_id: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of the `catalog` view: of all items of a run in its order (owned ones too), or of everything."""
        query = "SELECT c.* FROM catalog c"
        order = "c.requested_at, c.item_id, c.image_index"
        parameters: dict[str, Any] = {}
        if run_id is not None:
            query += (
                " JOIN (SELECT item_id, min(position) AS position FROM imagen_run_items WHERE run_id = :run_id"
                " GROUP BY item_id) mine ON mine.item_id = c.item_id"
            )
            order = f"mine.position, {order}"
            parameters["run_id"] = run_id
        query += f" ORDER BY {order}"
        if limit is not None:
            query += " LIMIT :limit"
            parameters["limit"] = limit
        with self.read() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), parameters).mappings()]
