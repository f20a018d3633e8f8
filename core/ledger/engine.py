"""Opening the database: SQLite in WAL mode, or PostgreSQL.

SQLite is written with `synchronous=FULL`: a reported commit is on disk even after a power cut, since the ledger
accounts for real money. Group commits (`core.ledger.writer`) make that affordable.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .errors import LedgerNotUsable, LedgerUnavailable
from .outage import Silence

_BUSY_SECONDS = 30
_SHOWN = re.compile(
    "user|host|hostaddr|port|sslmode|sslrootcert|sslnegotiation|gssencmode|channel_binding|connect_timeout"
    "|application_name|client_encoding|target_session_attrs|load_balance_hosts|keepalives|keepalives_idle"
    "|keepalives_interval|keepalives_count|tcp_user_timeout",
    re.IGNORECASE,
)
"""What may stand in a URL's query without being a secret, or leading to one. Everything else is never shown."""

_READ_ONLY = "25006"
"""SQLSTATE of a server that is read and not written: a standby, until it takes over."""

_GOING = "57P"
"""Beginning of the SQLSTATE of a server that is shut down, has crashed, or is not yet up."""

_check: ContextVar[bool] = ContextVar("check", default=False)
"""Whether a connection that is taken now is checked in any case: see `connect`."""

_TOO_SHORT = 2
"""Characters of what is no secret worth the name, and stands in many words."""

_NAME = re.compile(r"[\w.+-]*")
_PLACE = re.compile(r"[\w.,:/\[\]-]*")
"""Names, addresses and paths, of which there may be several. A secret beside them has other characters before it."""

# What drivers take in place of a URL: keywords, a URL without its scheme, SQLite's own. Here it would be the name of a
# file, with the password in it.
_NO_PATH = re.compile(r"[\w ]+=|.*[?;][^/]*=|.*:.*@|file:", re.IGNORECASE | re.DOTALL)


def normalise_url(url: str) -> URL:
    """Read a ledger's address: an SQLAlchemy URL, or the path of an SQLite file.

    Example:
        >>> str(normalise_url("/data/ledger.db"))
        'sqlite:////data/ledger.db'
        >>> normalise_url("postgresql://app@db/imagen").drivername
        'postgresql+psycopg'

    Raises:
        LedgerNotUsable: Neither SQLite nor PostgreSQL, or an SQLite database in memory. The message does not hold what
            cannot be read, since a password may be in it.
    """
    if "://" not in url:
        if _NO_PATH.match(url):
            raise LedgerNotUsable(
                "the catalog's address is neither a URL nor the path of a file; write "
                "postgresql://user:password@host/database, with characters such as @ and / percent-encoded, or "
                "sqlite:////absolute/path"
            )
        return URL.create("sqlite", database=str(Path(url).expanduser().absolute()))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerNotUsable(
            "the catalog's URL cannot be read; use sqlite:////absolute/path or postgresql://…"
        ) from None
    backend = parsed.get_backend_name()
    if "@" in (parsed.host or ""):
        raise LedgerNotUsable("the catalog's URL has two @ before its host: percent-encode those of user and password")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise LedgerNotUsable(f"a {backend} database cannot hold the ledger; use SQLite or PostgreSQL")
    is_plain = parsed == URL.create("sqlite", database=parsed.database) or url.startswith("sqlite+pysqlite:///")
    if not is_plain or parsed.query or not parsed.database or parsed.database.startswith((":", "file:")):
        raise LedgerNotUsable(
            "an SQLite ledger is a file, without a key, options or a driver of its own: "
            "sqlite:////absolute/path/ledger.db"
        )
    return parsed.set(database=str(Path(parsed.database).expanduser().absolute()))


def has_password(url: str) -> bool:
    """Whether an address holds a password, or options that may hold one or lead to one.

    Raises:
        BadInput: The URL cannot be read.
    """
    parsed = normalise_url(url)
    return describe_url(parsed) != parsed.render_as_string(hide_password=False)


def describe_url(url: URL) -> str:
    """A ledger's address without anything that is, or leads to, a secret."""
    hidden = set(_secrets(url))
    parts: dict[str, Any] = {
        name: "***" for name in ("username", "host", "database") if getattr(url, name) and getattr(url, name) in hidden
    }
    query = {name: "***" if hidden.intersection(_values(value)) else value for name, value in url.query.items()}
    return url.set(**parts, query=query).render_as_string(hide_password=True)


def _secrets(url: URL) -> Iterator[str]:
    """What must not be shown of an address: passwords, and what stands where it does not belong."""
    if url.get_backend_name() == "sqlite":
        return
    if url.password:
        yield str(url.password)
    for part, form in ((url.username, _NAME), (url.host, _PLACE), (url.database, _NAME)):
        if part and not form.fullmatch(part):  # libpq takes a whole connection string for the name of a database
            yield part
    for name, value in url.query.items():
        form = _NAME if name == "user" else _PLACE
        yield from (one for one in _values(value) if not (_SHOWN.fullmatch(name) and form.fullmatch(one)))


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _without_secrets(text: str, url: URL) -> str:
    """A driver's message without what it may quote of the address: whole or in parts, as it is or as a URL has it."""
    parts = {part for secret in _secrets(url) for part in (secret, *re.split(r"[=\s]+", secret))}
    for part in sorted(parts, key=len, reverse=True):
        for form in (part, quote(part, safe=""), quote_plus(part), repr(part)[1:-1]):
            text = text.replace(form, "***") if len(form) > _TOO_SHORT else text
    return text


def create_engine(url: URL, silence: Silence) -> Engine:
    """Make an engine. Nothing is connected yet.

    Args:
        url: As `normalise_url` returns it.
        silence: How long a PostgreSQL may be silent.

    Raises:
        LedgerNotUsable: The PostgreSQL driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    try:
        # Whatever the server's default is: the statements are made for this level, and lose conflicts on another.
        engine = sa.create_engine(
            url, pool_use_lifo=True, pool_size=5, max_overflow=10, isolation_level="READ COMMITTED"
        )
        from .postgres import check_connections, limit_statements, set_up
    except ModuleNotFoundError:
        raise LedgerNotUsable("PostgreSQL needs its driver: pip install 'prefect-imagen[postgres]'") from None
    limit_statements(engine, silence)
    set_up(engine)
    check_connections(engine, _check.get)
    return engine


def connect(engine: Engine, *, check: bool) -> Connection:
    """Connect.

    Args:
        engine: Of `create_engine`.
        check: Be sure that the server is there, for whoever cannot begin anew where a connection turns out to be dead.
    """
    token = _check.set(check)
    try:
        return engine.connect()
    finally:
        _check.reset(token)


def _sqlite_engine(url: URL) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own: see _begin
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Writers take the lock at once: a transaction that starts by reading cannot wait for it later.
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Change to write-ahead logging. Of several processes that create one ledger, all but one find it locked.

    SQLite's own time-out does not apply here: two processes could wait for each other for ever.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def database_now(connection: Connection) -> float:
    """The database's clock, in seconds since 1970: the only clock that all workers share."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return float(connection.execute(sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())


def is_outage(error: BaseException) -> bool:
    """Whether the database failed, not the statement: no connection, a full disk, a damaged file, no permission."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or not isinstance(error, IntegrityError | DataError)
    return isinstance(error, PoolTimeout)


def is_away(error: BaseException) -> bool:
    """Whether it is an outage that may pass: no connection, a locked file, a full disk, a server that is only read.

    The loser of two conflicting transactions is not away: it is run again at once.
    """
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if state == _READ_ONLY:
            return True
        conflict = state.startswith("40")
        # A mistake is in the statement: no such table.
        mistake = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        return error.connection_invalidated or (isinstance(error, OperationalError) and not (conflict or mistake))
    return isinstance(error, PoolTimeout)


def is_cut_off(error: DBAPIError) -> bool:
    """Whether the connection is gone, or its server is going: it says so itself when it is shut down."""
    return error.connection_invalidated or str(getattr(error.orig, "sqlstate", None) or "").startswith(_GOING)


def unavailable(error: BaseException, url: URL) -> LedgerUnavailable:
    """Make a `LedgerUnavailable` of a driver's error, without any secret of the URL and any parameters."""
    cause = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines() or [type(error).__name__]
    return LedgerUnavailable(f"the catalog at {describe_url(url)} does not answer: {_without_secrets(cause[0], url)}")
