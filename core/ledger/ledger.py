"""The ledger: the record of every item, paid call and image, in one database."""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .archives import Archives
from .budgets import Budgets
from .calls import Calls
from .catalog import Catalog
from .checks import Checks
from .costs import Costs
from .database import Database
from .deliveries import Deliveries
from .engine import normalise_url
from .erasure import Erasure
from .errors import LedgerMismatch, LedgerMissing
from .handovers import Handovers
from .images import Images
from .items import Items
from .marks import Marks
from .migrations import SCHEMA_VERSION, check_version, fill_request_times, migrate
from .rebuilding import Rebuilding
from .review import ReviewPages
from .revisions import Revisions
from .rewrites import Rewrites
from .runs import Runs
from .schema import accounts, archived_calls, calls, images, insert_new, meta
from .verdicts import Verdicts
from .workers import release_dead_workers

SANDBOX = "sandbox"
"""The origin of every sandbox."""


@dataclass(frozen=True, slots=True)
class Account:
    """A provider that was bought from.

    Attributes:
        origin: Its API: scheme, host and port, or `sandbox`.
        address: Where it answered the last time.
    """

    provider: str
    origin: str
    address: str | None


class Ledger(Database):
    """An open ledger. Thread-safe: all threads of a process share one.

    Args:
        url: SQLAlchemy URL, or the path of an SQLite file.
        create: Make a ledger where there is none. An older one is migrated to the current schema in any case.

    Raises:
        LedgerNotUsable: The URL is wrong, or there is no ledger and `create` is False.
        LedgerUnavailable: The database does not answer.

    Attributes:
        id: Random id of this ledger.
        runs: Runs and their rows.
        items: What is wanted: claims and states.
        rewrites: Prompts that a language model rewrites.
        calls: Paid calls.
        images: Images of answered calls, and what became of them.
        deliveries: Where images are stored.
        handovers: Where images were copied to, for others to take.
        marks: How far the markers at destinations are.
        catalog: The view of images with their costs and places.
        verdicts: What people say about images.
        review: Images as a reviewer goes through them.
        checks: What was found in images without asking anybody.
        revisions: Items that are to replace images.
        budgets: What a run, a day or a month may cost.
        costs: Where the money went.
        archives: Rows of finished items that were moved to files.
        erasure: Removal of prompts and images on request.
        rebuilding: A lost ledger, made again from its objects.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        super().__init__(url, create=create)
        self.runs = Runs(self)
        self.items = Items(self)
        self.rewrites = Rewrites(self)
        self.calls = Calls(self)
        self.images = Images(self)
        self.deliveries = Deliveries(self)
        self.handovers = Handovers(self)
        self.marks = Marks(self)
        self.catalog = Catalog(self)
        self.verdicts = Verdicts(self)
        self.review = ReviewPages(self)
        self.checks = Checks(self)
        self.revisions = Revisions(self)
        self.budgets = Budgets(self)
        self.costs = Costs(self)
        self.archives = Archives(self)
        self.erasure = Erasure(self)
        self.rebuilding = Rebuilding(self)
        try:
            self.id = self._open(create=create)
        except BaseException:
            self.close()
            raise

    def _open(self, *, create: bool) -> str:
        with self.read() as connection:
            version = check_version(connection)
        if version == 0 and not create:
            raise LedgerMissing(f"there is no ledger in {self.description}")
        if version < SCHEMA_VERSION:
            self.write(migrate)
        elif self._has_untimed_images():
            self.write(fill_request_times)
        return str(self.ask(lambda connection: connection.scalar(_value_of("ledger_id"))))

    def _has_untimed_images(self) -> bool:
        with self.read() as connection:
            query = sa.select(images.c.call_id).where(images.c.requested_at.is_(None))
            return connection.scalar(query.limit(1)) is not None

    def bind(self, origin: str, address: str | None = None, provider: str | None = None) -> None:
        """Bind a provider to one API (scheme, host, port) for good, and the ledger to real ones or to a sandbox.

        So a sandbox's purchases never look like real ones.

        Args:
            origin: Which API it is.
            address: Where it answers now; a sandbox may answer elsewhere after each start. None leaves what is known.
            provider: Whose API it is; None for one of which nothing else is known, which has to be the first one.

        Raises:
            LedgerMismatch: The ledger, or the provider on it, belongs to another API.
        """

        def operation(connection: Connection) -> str:
            # The first of several processes that start at once decides.
            connection.execute(insert_new(connection, meta), [{"key": "api_origin", "value": origin}])
            first = str(connection.scalar(sa.select(meta.c.value).where(meta.c.key == "api_origin")))
            if provider is None or (first == SANDBOX) != (origin == SANDBOX):
                return first
            row = {"provider": provider, "origin": origin, "address": address}
            connection.execute(insert_new(connection, accounts), [row])
            mine = accounts.c.provider == provider
            bound = str(connection.scalar(sa.select(accounts.c.origin).where(mine)))
            if bound == origin and address is not None:
                known = sa.and_(mine, accounts.c.address.is_distinct_from(address))
                connection.execute(sa.update(accounts).where(known).values(address=address))
            return bound

        bound = self.write(operation)
        if bound != origin:
            raise LedgerMismatch(
                f"the ledger at {self.description} is the account of {bound}, this run would buy from {origin}: "
                "use another catalog (--catalog) for it"
            )

    @property
    def origin(self) -> str | None:
        """The API this ledger was bound to first; None before the first run."""
        origin: str | None = self.ask(lambda connection: connection.scalar(_value_of("api_origin")))
        return origin

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The APIs that were bought from, by provider."""
        query = sa.select(accounts).order_by(accounts.c.provider)
        rows = self.ask(lambda connection: connection.execute(query).all())
        return tuple(Account(row.provider, row.origin, row.address) for row in rows)

    def mismatch(self, origin: str, provider: str) -> str | None:
        """The API that the ledger, or a provider on it, is bound to instead of this one; None if it would fit."""
        first = self.origin
        if first is None:
            return None
        if (first == SANDBOX) != (origin == SANDBOX):
            return first
        bound = next((account.origin for account in self.accounts if account.provider == provider), origin)
        return bound if bound != origin else None

    @property
    def has_readable_names(self) -> bool:
        """Whether images in folders are named after their prompts: not in a ledger that is older than such names."""
        return self.ask(lambda connection: connection.scalar(_value_of("folder_names"))) is not None

    def adopt_id(self, ledger_id: str) -> bool:
        """Continue as the ledger of an id, if this one has no calls of its own. Returns whether it has none."""

        def operation(connection: Connection) -> bool:
            bought = (calls.c.id, archived_calls.c.run_id)
            if any(connection.scalar(sa.select(column).limit(1)) is not None for column in bought):
                return False
            connection.execute(sa.update(meta).where(meta.c.key == "ledger_id").values(value=ledger_id))
            return True

        adopted = self.write(operation)
        if adopted:
            self.id = ledger_id
        return adopted

    def release_dead_workers(self) -> int:
        """Release what dead processes held. Returns the number of calls that became unknown."""
        me = self.worker
        return self.write(lambda connection: release_dead_workers(connection, me))


_lock = threading.Lock()
_open: dict[tuple[int, str], Ledger] = {}


def open_ledger(url: str) -> Ledger:
    """Open a ledger, or return the one this process has open already. It is closed when the process ends.

    Its errors are those of `Ledger`.
    """
    key = (os.getpid(), normalise_url(url).render_as_string(hide_password=False))
    with _lock:
        if key not in _open:
            if not _open:
                atexit.register(close_ledgers)
            _open[key] = Ledger(url)
        return _open[key]


def close_ledgers() -> None:
    """Close every ledger this process has open, and release what it holds."""
    with _lock:
        mine = [key for key in _open if key[0] == os.getpid()]
        ledgers = [_open.pop(key) for key in mine]
    for ledger in ledgers:
        ledger.close()


def _value_of(key: str) -> sa.Select[Any]:
    return sa.select(meta.c.value).where(meta.c.key == key)
