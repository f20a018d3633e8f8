"""The connections under every request: calls that can be cut, one deadline for everything, and for downloads a checked
address and an exact request target.

`requests` has no switch for any of these, so they are put where they take effect:

- nothing ends a call in flight but its own time-out; shutting its socket down does: the thread that waits in `recv`
  wakes up and finds the connection broken, which it is prepared for.
- urllib3 re-encodes the target in `HTTPConnectionPool.urlopen`; the pools here carry the untouched one past it.
- the address is chosen in `HTTPConnection._new_conn`; with a guard, the connections ask it and connect to its answer.
  Host header, SNI and certificate check stay on the name.
- a socket time-out starts anew with every byte; the responses here shorten it before every `recv`, so that a server
  dripping one byte a second cannot hold a thread beyond the deadline, in the headers or in the body.

Behind a proxy (`HTTPS_PROXY` and its like) the proxy resolves and connects: then only a host written as an address is
judged. A SOCKS proxy (it needs the optional PySocks) uses its own pools and gets none of this.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import socket
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import IO, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from .addresses import AddressGuard
from .headers import PlainConnection, PlainResponse
from .urls import Origin, WireUrl

_PREPARED = 64
_HOSTS = 64


class OpenConnections:
    """The open connections of an adapter. Thread-safe; keeps none of them alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, connection: Any) -> None:
        with self._lock:
            self._connections.add(connection)

    def cut(self) -> None:
        """Break them all: whatever waits for an answer fails at once."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            sock = getattr(connection, "sock", None)
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class NoAuth(AuthBase):
    """Adds nothing, so that `~/.netrc` adds nothing either."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Target(str):
    """A request target that travels through requests and urllib3 together with its deadline."""

    __slots__ = ("deadline",)
    deadline: float

    def __new__(cls, text: str, deadline: float) -> _Target:
        target = super().__new__(cls, text)
        target.deadline = deadline
        return target


@lru_cache(_PREPARED)
def _prepared(method: str, url: str) -> requests.PreparedRequest:
    """A request without headers and body, its origin and target: to take a URL apart costs more than all else."""
    plain: Any = requests.PreparedRequest()
    plain.prepare(method=method, url=url, auth=NoAuth())
    parts = urlsplit(plain.url or "")
    plain.origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
    plain.target = plain.path_url
    return plain  # type: ignore[no-any-return]


class TimedRequest(requests.PreparedRequest):
    """A request whose answer must be complete at `deadline` (`time.monotonic`).

    It is prepared here and not by the session, which would add a login from `.netrc`.

    Attributes:
        origin: Scheme, host and port, with a slash.
        target: Path and query, as they are sent.
    """

    origin: str
    target: str

    def __init__(
        self,
        deadline: float,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: IO[bytes] | None = None,
        auth: AuthBase | None = None,
    ) -> None:
        super().__init__()
        vars(self).update(vars(_prepared(method, url)))
        self.deadline = deadline
        self.headers = CaseInsensitiveDict(headers)
        self.prepare_body(body, None)
        if auth is not None:
            self.prepare_auth(auth)


class WireRequest(TimedRequest):
    """A GET of which the target is sent as it is."""

    def __init__(self, url: WireUrl, headers: Mapping[str, str], deadline: float) -> None:
        super().__init__(deadline, "GET", f"{url.base}/", headers)
        self.url = url.base + url.target
        self.target = url.target


class _DeadlineReader(io.RawIOBase):
    """The receiving side of a socket, every `recv` bounded by the read time-out and by what is left of the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self._read_timeout = self._bound = sock.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        bound = min(left, self._read_timeout)
        if bound != self._bound:
            self._sock.settimeout(None if bound == math.inf else bound)
            self._bound = bound
        return self._raw.readinto(buffer)

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _DeadlineResponse(PlainResponse):
    """An HTTP response that reads through a `_DeadlineReader`."""

    def __init__(self, sock: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, **options)
        raw: Any = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(raw, sock, deadline), io.DEFAULT_BUFFER_SIZE)


class _Connection(PlainConnection):
    """A connection that can be cut and, with a guard, goes only to an address that the guard has judged."""

    wire_scheme = "http"
    open_connections: OpenConnections
    guard: AddressGuard | None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.open_connections.add(self)
        self.deadline = math.inf

    def response_class(self, sock: Any, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        return _DeadlineResponse(sock, self.deadline, **options)

    def _new_conn(self) -> socket.socket:
        if self.guard is None:
            return super()._new_conn()
        try:
            addresses = self.guard.addresses(Origin.of(self.wire_scheme, self.host, self.port))
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


class _TlsConnection(_Connection, HTTPSConnection):
    """The same under TLS; the certificate is checked against the name, not the address."""

    wire_scheme = "https"


class _Pool(HTTPConnectionPool):
    """A pool that sends a `_Target` character by character, and hands its deadline to the connection."""

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        # Whatever urlopen does to `url`, keywords it does not know reach `_make_request` as they are.
        if isinstance(url, _Target):
            options["wire_target"] = url
            if url.startswith("/"):
                url = "/"  # it need not be taken apart
        return super().urlopen(method, url, *args, **options)

    def _make_request(
        self, conn: Any, method: str, url: str, *args: Any, wire_target: _Target | None = None, **options: Any
    ) -> Any:
        if wire_target is not None:
            conn.deadline = wire_target.deadline
            url = str(wire_target)
        return super()._make_request(conn, method, url, *args, **options)


class _TlsPool(_Pool, HTTPSConnectionPool):
    """The same for https."""


def _settings(origin: str) -> dict[str, Any]:
    """What the environment says of requests to a host: proxies and certificates."""
    with requests.Session() as session:
        return dict(session.merge_environment_settings(origin, {}, True, None, None))


def _pools(connections: OpenConnections, guard: AddressGuard | None) -> dict[str, Any]:
    """Pool classes by scheme whose connections are registered and guarded."""

    def pool(base: type[_Pool], connection: type[_Connection]) -> Any:
        made = type(connection.__name__, (connection,), {"open_connections": connections, "guard": guard})
        return type(base.__name__, (base,), {"ConnectionCls": made})

    return {"http": pool(_Pool, _Connection), "https": pool(_TlsPool, _TlsConnection)}


class PooledAdapter(HTTPAdapter):
    """A pooled transport without retries. Thread-safe.

    Args:
        guard: Judges every address that is connected to; None: every address is allowed.
    """

    def __init__(self, pool_size: int, hosts: int = 8, guard: AddressGuard | None = None) -> None:
        self.connections = OpenConnections()
        self._settings = lru_cache(_HOSTS)(_settings)
        self._pool = lru_cache(hosts)(self._pool_of)
        self._pools = _pools(self.connections, guard)
        self._proxied_pools = _pools(self.connections, None)
        super().__init__(pool_connections=hosts, pool_maxsize=pool_size, max_retries=0)

    def ask(self, request: TimedRequest, timeout: Any, *, directly: bool = False) -> requests.Response:
        """Send a request, and return its answer with the body unread.

        There is no session: no cookie is kept, no redirect looked at, nothing repeated. Proxies and certificates of the
        environment are looked up once for a host.

        Args:
            timeout: As requests takes it.
            directly: Through no proxy.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError: No answer.
        """
        settings = self._settings(request.origin)
        return self.send(request, timeout=timeout, **(settings | {"proxies": {}} if directly else settings))

    def cut(self) -> None:
        """End the calls in flight, through a proxy as well."""
        self.connections.cut()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # its pools are of another kind
            manager.pool_classes_by_scheme = self._proxied_pools
        return manager

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies or not isinstance(request, TimedRequest):
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool = self._pool(request.origin, verify, cert)
        if pool.pool is None:  # closed meanwhile
            self._pool.cache_clear()
            pool = self._pool(request.origin, verify, cert)
        return pool

    def _pool_of(self, origin: str, verify: Any, cert: Any) -> Any:
        """The pool for requests that go directly; requests itself finds it out for each."""
        host, options = self.build_connection_pool_key_attributes(_prepared("GET", origin), verify, cert)
        return self.poolmanager.connection_from_host(**host, pool_kwargs=options)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """The answer, with its body unread: no cookie is kept, and no text guessed at."""
        response = requests.Response()
        response.status_code, response.reason, response.headers = resp.status, resp.reason, resp.headers
        response.raw, response.request, response.url = resp, req, req.url or ""
        return response

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        if not proxies and isinstance(request, TimedRequest):
            return _Target(request.target, request.deadline)
        if not isinstance(request, WireRequest) or request.url is None:
            url = super().request_url(request, proxies)
            return _Target(url, request.deadline) if isinstance(request, TimedRequest) else url
        proxy = select_proxy(request.url, proxies)
        forwarded = proxy and request.url.startswith("http:") and not proxy.lower().startswith("socks")
        return _Target(request.url if forwarded else request.target, request.deadline)
