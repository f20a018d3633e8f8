"""Connections that can be cut from another thread: a call that waits for its answer has no other end before its time.

`requests` and urllib3 offer nothing to end a call that is in flight. Shutting its socket down does: the thread that
waits in `recv` wakes up and finds the connection broken, which is what it is prepared for.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class OpenConnections:
    """The connections that are there. Thread-safe; keeps none of them alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, connection: Any) -> None:
        """Remember a connection."""
        with self._lock:
            self._connections.add(connection)

    def cut(self) -> None:
        """Break them all. Whoever waits for an answer learns at once that none will come."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            sock = getattr(connection, "sock", None)
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def _pools(connections: OpenConnections) -> dict[str, Any]:
    class Connection(HTTPConnection):
        def connect(self) -> None:
            connections.add(self)
            super().connect()

    class TlsConnection(HTTPSConnection):
        def connect(self) -> None:
            connections.add(self)
            super().connect()

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


class CuttableAdapter(HTTPAdapter):
    """An adapter whose calls in flight can be ended with `connections.cut()`; through a proxy as well."""

    def __init__(self, **options: Any) -> None:
        self.connections = OpenConnections()
        self._pools = _pools(self.connections)
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # its pools are of a kind of their own
            manager.pool_classes_by_scheme = self._pools
        return manager
