"""The connection under a download: exact request target, checked address, one deadline for everything.

`requests` has no switch for any of the three, so they are put where they take effect:

- urllib3 re-encodes the target in `HTTPConnectionPool.urlopen`; the pools here carry the untouched one past it.
- the address is chosen in `HTTPConnection._new_conn`; the connections here ask the guard and connect to its answer.
  Host header, SNI and certificate check stay on the name.
- a socket time-out starts anew with every byte; the responses here shorten it before every `recv`, so that a server
  dripping one byte a second cannot hold a thread beyond the deadline, in the headers or in the body.

Behind a proxy (`HTTPS_PROXY` and its like) the proxy resolves and connects: then only a host written as an address is
judged. A SOCKS proxy (it needs the optional PySocks) uses its own pools and gets none of the three.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import sys
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..aimlapi.sockets import OpenConnections
from .addresses import AddressGuard
from .urls import Origin, WireUrl


class _Target(str):
    """A request target that travels through requests and urllib3 together with its deadline."""

    __slots__ = ("deadline",)
    deadline: float

    def __new__(cls, text: str, deadline: float) -> _Target:
        target = super().__new__(cls, text)
        target.deadline = deadline
        return target


class WireRequest(requests.PreparedRequest):
    """A GET whose target is sent as it is and whose answer must be complete at `deadline` (`time.monotonic`)."""

    def __init__(self, url: WireUrl, headers: dict[str, str], deadline: float) -> None:
        super().__init__()
        # Prepared here and not by the session, which would add a login from `.netrc`; the explicit no-op keeps it so.
        self.prepare(method="GET", url=f"{url.base}/", headers=headers, auth=_no_auth)
        self.url = url.base + url.target
        self.target = url.target
        self.deadline = deadline


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _DeadlineReader(io.RawIOBase):
    """The receiving side of a socket, every `recv` bounded by the read time-out and by what is left of the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self._read_timeout = sock.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        bound = min(left, self._read_timeout)
        self._sock.settimeout(None if bound == math.inf else bound)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """An HTTP response that reads through a `_DeadlineReader`."""

    def __init__(self, sock: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, **options)
        raw: Any = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock, deadline), io.DEFAULT_BUFFER_SIZE)


class _GuardedConnection(HTTPConnection):
    """A connection that goes to an address the guard has judged. Without a guard (to a proxy) it is a plain one."""

    wire_scheme = "http"

    def __init__(
        self,
        *args: Any,
        guard: AddressGuard | None = None,
        register: OpenConnections | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._guard = guard
        if register is not None:
            register.add(self)
        self.deadline = math.inf

    def response_class(self, sock: Any, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        return _DeadlineResponse(sock, self.deadline, **options)

    def _new_conn(self) -> socket.socket:
        if self._guard is None:
            return super()._new_conn()
        try:
            addresses = self._guard.addresses(Origin.of(self.wire_scheme, self.host, self.port))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, address in addresses:
            try:
                sock = self._connect(family, kind, protocol, address)
            except OSError as error:
                failure = error
                continue
            sys.audit("http.client.connect", self, self.host, self.port)
            return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from failure
        raise NewConnectionError(self, f"Failed to establish a new connection: {failure}") from failure

    def _connect(self, family: int, kind: int, protocol: int, address: Any) -> socket.socket:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            bound = min(left, self.timeout if isinstance(self.timeout, int | float) else math.inf)
            sock.settimeout(None if bound == math.inf else bound)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock


class _GuardedTlsConnection(_GuardedConnection, HTTPSConnection):
    """The same under TLS; the certificate is checked against the name, not the address."""

    wire_scheme = "https"


class _ExactPool(HTTPConnectionPool):
    """A pool that sends a `_Target` character by character, and hands its deadline to the connection."""

    ConnectionCls = _GuardedConnection

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        # Whatever urlopen does to `url`, keywords it does not know reach `_make_request` as they are.
        if isinstance(url, _Target):
            options["wire_target"] = url
        return super().urlopen(method, url, *args, **options)

    def _make_request(
        self, conn: Any, method: str, url: str, *args: Any, wire_target: _Target | None = None, **options: Any
    ) -> Any:
        if wire_target is not None:
            conn.deadline = wire_target.deadline
            url = str(wire_target)
        return super()._make_request(conn, method, url, *args, **options)


class _ExactTlsPool(_ExactPool, HTTPSConnectionPool):
    """The same for https."""

    ConnectionCls = _GuardedTlsConnection


_POOLS: dict[str, Any] = {"http": _ExactPool, "https": _ExactTlsPool}


class _GuardedPoolManager(PoolManager):
    """Makes pools whose connections know the guard."""

    def __init__(self, guard: AddressGuard, register: OpenConnections, **options: Any) -> None:
        super().__init__(**options)
        self._guard = guard
        self._register = register
        self.pool_classes_by_scheme = _POOLS

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        context = self.connection_pool_kw if request_context is None else request_context
        return super()._new_pool(scheme, host, port, {**context, "guard": self._guard, "register": self._register})


class GuardedAdapter(HTTPAdapter):
    """The transport of all sessions of a fetcher: pooled, guarded, exact, without retries.

    Args:
        guard: Judges every address that is connected to.
        pool_size: Connections kept a host, and hosts kept.
    """

    def __init__(self, guard: AddressGuard, pool_size: int) -> None:
        self._guard = guard
        self.connections_made = OpenConnections()
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = _GuardedPoolManager(
            self._guard, self.connections_made, num_pools=connections, maxsize=maxsize, block=block, **options
        )

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if not isinstance(request, WireRequest) or request.url is None:
            return super().request_url(request, proxies)
        proxy = select_proxy(request.url, proxies)
        forwarded = proxy and request.url.startswith("http:") and not proxy.lower().startswith("socks")
        return _Target(request.url if forwarded else request.target, request.deadline)


class WireSession(requests.Session):
    """A thread's session: it remembers no cookies and looks at no redirect.

    With `allow_redirects=False` a plain session still reads the whole body of a redirect into memory, in order to
    prepare the next request; here there is never a next one.
    """

    def __init__(self, adapter: GuardedAdapter) -> None:
        super().__init__()
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None
