"""Connections to PostgreSQL that do not wait without end.

A server that is frozen, or cut off behind a router that drops packets, keeps its connection: its system acknowledges
what is sent, and no time limit of the server's own runs. So this side looks at the clock while it waits for an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Engine


class ServerSilent(psycopg.OperationalError):
    """The server has not answered a statement in time. Its connection is closed; what it does is not known."""


def limit_statements(engine: Engine, limit: Callable[[], float]) -> None:
    """Have an engine's connections give up a statement.

    Args:
        engine: With psycopg as its driver; not connected yet.
        limit: Seconds that an answer may take. Asked again while waiting, so that it may become less meanwhile.
    """

    class Limited(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
            try:
                return super().wait(_limited(gen, limit), *args, **options)
            except ServerSilent:
                self.pgconn.finish()
                raise

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        return Limited.connect(*arguments, **options)


def _limited(gen: Generator[Any, Any, Any], limit: Callable[[], float]) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for. It looks in about every 0.1 s, with a false value, while nothing arrives."""
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and (waited := time.monotonic() - began) >= limit():
                raise ServerSilent(f"the server has not answered for {waited:.0f} s")
            wanted = gen.send(ready)
    except StopIteration as ended:
        return ended.value
