"""Connections to PostgreSQL that do not wait without end.

A server that is frozen, or cut off behind a router that drops packets, keeps its connection: its system acknowledges
what is sent, and no time limit of the server's own runs. So this side looks at the clock while it waits for an answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from .outage import Silence

_CONNECT_SECONDS = 10
_LEAST_CONNECT_SECONDS = 2  # psycopg's own least
_FRESH_SECONDS = 0.25


class ServerSilent(psycopg.OperationalError):
    """The server has not answered in time. The connection is closed; what the server does is not known."""


def limit_statements(engine: Engine, silence: Silence) -> None:
    """Have an engine's connections give up a server that does not answer.

    Args:
        engine: With psycopg as its driver; not connected yet.
        silence: Is told of what the server answers and what not, and says how long an answer may take.
    """

    class Limited(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
            try:
                _fail_now(silence)
                answer = super().wait(_limited(gen, silence), *args, **options)
            except ServerSilent:
                self.pgconn.finish()
                raise
            silence.heard()
            return answer

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        _fail_now(silence)
        began = time.monotonic()
        options = {"connect_timeout": _CONNECT_SECONDS, **options}
        if (left := silence.limit(began)) < _CONNECT_SECONDS:
            options["connect_timeout"] = max(_LEAST_CONNECT_SECONDS, int(left))
        try:
            connection = Limited.connect(*arguments, **options)
        except psycopg.errors.ConnectionTimeout as error:
            silence.failed(error, began)
            raise
        silence.heard()
        return connection


_SETTINGS = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # The view joins eight tables. With a run's rows beside them that is more than are planned together by default: all
    # images would be joined first, and those of the run be picked out at the end.
    *(f"SET {name} = 16" for name in ("from_collapse_limit", "join_collapse_limit", "geqo_threshold")),
    # In a large ledger, compiling a query often takes longer than the query.
    "SET jit = off",
)


def set_up(engine: Engine) -> None:
    """Have connections plan and isolate as statements expect it, whatever the server's defaults are.

    Statements outside of transactions, too, work at the level of those inside.
    """

    @sa.event.listens_for(engine, "connect")
    def _set(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        connection.execute("; ".join(_SETTINGS))  # one round trip
        connection.autocommit = False


def check_connections(engine: Engine, always: Callable[[], bool]) -> None:
    """Have an engine ask a server whether it is still there before it uses a connection that was idle.

    SQLAlchemy's own check asks before each use, which costs each transaction one more round trip.

    Args:
        engine: With psycopg as its driver; not connected yet.
        always: Whether who takes a connection now wants it to be checked however short a time it was idle.
    """

    @sa.event.listens_for(engine, "connect")
    def _made(_connection: Any, record: Any) -> None:
        record.info["used"] = math.inf  # it has just answered

    @sa.event.listens_for(engine, "checkin")
    def _used(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info["used"] < (0.0 if always() else _FRESH_SECONDS):
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise sa.exc.InvalidatePoolError from error


def _fail_now(silence: Silence) -> None:
    """Fail where the server was silent a moment ago and there is no patience left.

    Raises:
        ServerSilent: Of those that failed with it.
    """
    if (error := silence.error_now()) is not None:
        raise ServerSilent(str(error))


def _limited(gen: Generator[Any, Any, Any], silence: Silence) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for. It looks in about every 0.1 s, with a false value, while nothing arrives."""
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            # Asked again each time: others may have found out meanwhile that the server is silent.
            if not ready and (waited := time.monotonic() - began) >= silence.limit(began):
                error = ServerSilent(f"the server has not answered for {waited:.0f} s")
                silence.failed(error, began)
                raise error
            wanted = gen.send(ready)
    except StopIteration as ended:
        return ended.value
