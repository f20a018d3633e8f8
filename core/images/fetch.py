"""Getting the bytes of an image: from its URL, under every cap, or from a reply that carried them.

The URL life that callers must reckon with: unsigned CDN URLs have no documented end; signed ones of other hosts live
from one hour to seven days (`Expires`, `X-Amz-Expires`, SAS `se` in the URLs of the AI/ML API's documented examples,
2025-2026). Hence: fetch within a minute of the reply, and read every 4xx but "later" as "gone".
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import ProxyError as PoolProxyError
from urllib3.util import Timeout

from ..files import Fetched, HashedFile
from ..http.addresses import AddressGuard
from ..http.encodings import BadEncoding, TooLarge, decode
from ..http.errors import FetchGone, FetchRefused, FetchTransient
from ..http.exchange import retry_after_seconds
from ..http.transport import PooledAdapter, WireRequest
from ..http.urls import Origin, WireUrl

MAX_REDIRECTS = 5
_CHUNK = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WHOLE = frozenset({200, 203})
_AGAIN = frozenset({202, 408, 425, 429})
_PICKY = frozenset({401, 403, 406})
"""What a CDN answers that takes no client but a browser."""

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


class Fetcher:
    """Downloads images; one for a process, used from any number of threads.

    It knows no key, sends no cookie, no `.netrc` login and no Authorization header, follows at most five redirects
    and judges the address of each (see `addresses`). Query strings reach the server byte for byte.

    With a proxy in the environment, the proxy resolves names: then only hosts written as addresses can be judged.
    Trusted origins on this machine never go through a proxy. The lookup of a name is the one step that `deadline`
    cannot cut short; the system's resolver has its own time-out.

    Plain bytes are asked for. A body that comes encoded all the same is decoded, under the same cap. A CDN that refuses
    this client is asked once more with the `User-Agent` of a browser; where that helps, its origin is then asked so.

    Args:
        trusted_origins: URLs of the configured API and CDN; their scheme, host and port may lie in private networks.
        connect_timeout: Seconds for a TCP connection, and again for the TLS handshake.
        read_timeout: Seconds without a byte.
        deadline: Seconds for one download as a whole, redirects included.

    Example:
        >>> Fetcher().fetch("http://169.254.169.254/latest/meta-data", Path("not-written"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        prefect_imagen.core.http.errors.FetchRefused: 169.254.169.254 leads to 169.254.169.254, a link-local...
    """

    def __init__(
        self,
        trusted_origins: Iterable[str] = (),
        user_agent: str = "prefect-imagen",
        connect_timeout: float = 10,
        read_timeout: float = 60,
        deadline: float = 180,
        max_bytes: int = 64 * 2**20,
        pool_size: int = 64,
    ) -> None:
        self._guard = AddressGuard(trusted_origins)
        self._adapter = PooledAdapter(pool_size, hosts=pool_size, guard=self._guard)
        self._wants_browser: set[Origin] = set()
        self._headers = {"User-Agent": user_agent, "Accept": "image/*, */*;q=0.1", "Accept-Encoding": "identity"}
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._deadline = deadline
        self._max_bytes = max_bytes

    def fetch(self, url: str, dest: Path, *, in_memory: int = 0, cut_too: bool = False) -> Fetched:
        """Download `url` to `dest`, which appears whole or not at all.

        Args:
            in_memory: A body of at most so many bytes is returned as it is, and not written to `dest`.
            cut_too: Return a body that ends too early as well, and say so (`Fetched.cut`). Some servers announce more
                than they have.

        Raises:
            FetchGone: 4xx, or another status that brings no image.
            FetchRefused: A guard said no.
            FetchTransient: Time-out, cut connection, short or damaged body, 202, 408, 425, 429, 5xx.
            SpoolUnavailable: `dest` cannot be written.
        """
        give_up = time.monotonic() + self._deadline
        hop = WireUrl.parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            with closing(self._answer(hop, give_up)) as response:
                if response.status_code not in _REDIRECTS:
                    return self._save(response, hop, dest, in_memory, cut_too=cut_too)
                location = response.headers.get("Location")
            if not location:
                raise FetchGone(f"{hop} answered {response.status_code} without saying where to go")
            hop = hop.follow(location)
        raise FetchRefused(f"more than {MAX_REDIRECTS} redirects, the last to {hop}")

    def cut_off(self) -> None:
        """End the downloads in flight: each fails at once, and can be made again later."""
        self._adapter.cut()

    def close(self) -> None:
        """Close the pooled connections; a later fetch opens new ones."""
        self._adapter.close()

    def _answer(self, hop: WireUrl, give_up: float) -> requests.Response:
        """The answer to one request, or to a second one that names a browser."""
        as_browser = hop.origin in self._wants_browser
        response = self._get(hop, give_up, as_browser=as_browser)
        if as_browser or response.status_code not in _PICKY:
            return response
        response.close()
        response = self._get(hop, give_up, as_browser=True)
        if response.status_code < 400:
            self._wants_browser.add(hop.origin)
        return response

    def _get(self, hop: WireUrl, give_up: float, *, as_browser: bool) -> requests.Response:
        """Send one request and return its answer with the body unread."""
        self._guard.check_literal(hop.origin)
        left = give_up - time.monotonic()
        if left <= 0:
            raise FetchTransient(f"{hop}: not finished within {self._deadline:g} s")
        headers = {**self._headers, "User-Agent": _BROWSER} if as_browser else self._headers
        timeout: Any = Timeout(connect=min(self._connect_timeout, left), read=min(self._read_timeout, left))
        try:
            local = self._guard.is_local(hop.origin)
            return self._adapter.ask(WireRequest(hop, headers, give_up), timeout, directly=local)
        except (requests.RequestException, HTTPError) as error:
            self._raise_transient(error, hop, give_up)

    def _save(self, response: requests.Response, hop: WireUrl, dest: Path, in_memory: int, *, cut_too: bool) -> Fetched:
        """Judge status and headers, then stream the body."""
        self._check_status(response, hop)
        declared: int | None = response.raw.length_remaining
        if declared is not None and declared > self._max_bytes:
            raise FetchRefused(f"{hop}: {declared:,} bytes declared, more than the {self._max_bytes:,} allowed")
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower() or None
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        encoded = encoding not in ("", "identity")
        size = 0
        with HashedFile(dest) if (declared is None or declared > in_memory) and not encoded else io.BytesIO() as out:
            cut = None
            try:
                for chunk in self._chunks(response, hop):
                    out.write(chunk)
                    size += len(chunk)
            except FetchTransient as error:
                if not cut_too:
                    raise
                came = f"{size:,} bytes of {declared:,}" if declared is not None else f"{size:,} bytes, and no end,"
                cut = f"{came} came: {error.reason.removeprefix(f'{hop}: ')}"
            if isinstance(out, HashedFile):
                return replace(out.fetched(content_type), cut=cut)
            data = out.getvalue()
        data = self._decoded(data, encoding, hop) if encoded else data
        return replace(save_bytes(data, dest, content_type, in_memory=in_memory), cut=cut)

    def _decoded(self, data: bytes, encoding: str, hop: WireUrl) -> bytes:
        try:
            return decode(data, encoding, self._max_bytes)
        except TooLarge as error:
            raise FetchRefused(f"{hop}: {error}") from None
        except BadEncoding as error:
            raise FetchTransient(f"{hop}: {error}") from None

    def _chunks(self, response: requests.Response, hop: WireUrl) -> Iterator[bytes]:
        """The body, under the cap."""
        size = 0
        try:
            # read1 returns what has arrived: what came before a failure is not lost with it.
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                size += len(chunk)
                if size > self._max_bytes:
                    raise FetchRefused(f"{hop}: the body is larger than the {self._max_bytes:,} bytes allowed")
                yield chunk
        except HTTPError as error:
            self._raise_transient(error, hop, response.request.deadline)  # type: ignore[attr-defined]

    @staticmethod
    def _check_status(response: requests.Response, hop: WireUrl) -> None:
        status = response.status_code
        if status in _WHOLE or (status == 206 and _is_whole(response.headers.get("Content-Range", ""))):
            return
        if status in _AGAIN or status >= 500:
            wait = retry_after_seconds(response.headers.get("Retry-After"))
            raise FetchTransient(f"{hop} answered {status}", wait if wait is not None and math.isfinite(wait) else None)
        raise FetchGone(f"{hop} answered {status}: it has expired, is not served yet, or not to us")

    def _raise_transient(self, error: Exception, hop: WireUrl, give_up: float) -> NoReturn:
        """Turn a transport's error into ours. Its own text is not used: it may quote the URL with its signature."""
        if time.monotonic() >= give_up:
            raise FetchTransient(f"{hop}: not finished within {self._deadline:g} s") from None
        raise FetchTransient(f"{hop}: {self._explain(error)}") from None

    def _explain(self, error: BaseException) -> str:
        cause = _root(error)
        match cause:
            case NameResolutionError():
                return "the host name cannot be resolved"
            case NewConnectionError():
                system = cause.__cause__
                return f"no connection ({getattr(system, 'strerror', None) or 'refused'})"
            case ConnectTimeoutError():
                return f"no connection within {self._connect_timeout:g} s"
            case ReadTimeoutError():
                return f"silent for {self._read_timeout:g} s"
            case SSLError():
                return f"TLS failed ({cause})"
            case PoolProxyError():
                return "the proxy does not answer"
            case IncompleteRead():
                return f"the body was cut after {cause.partial:,} bytes"
            case ProtocolError():
                return "the connection was cut"
        return f"the transport failed ({type(cause).__name__})"


def _is_whole(content_range: str) -> bool:
    """Whether the range of a 206 is everything: `bytes 0-99/100` (RFC 9110, section 14.4)."""
    match = re.fullmatch(r"\s*bytes\s+0-(\d{1,18})/(\d{1,18})\s*", content_range, re.IGNORECASE)
    return match is not None and int(match[1]) + 1 == int(match[2])


def _root(error: BaseException) -> BaseException:
    """The urllib3 error inside the wrappings of requests and of urllib3's own retry bookkeeping."""
    while True:
        inner: object = error.reason if isinstance(error, MaxRetryError) else None
        if inner is None and isinstance(error, requests.RequestException | ProtocolError):
            inner = next((arg for arg in error.args if isinstance(arg, HTTPError)), None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def save_bytes(
    data: bytes | memoryview, dest: Path, content_type: str | None = None, *, in_memory: int = -1
) -> Fetched:
    """Write the bytes of a picture, or only keep them.

    Args:
        content_type: Passed on into the result.
        in_memory: Most bytes that are not written.

    Raises:
        SpoolUnavailable: `dest` cannot be written.
    """
    if len(data) <= in_memory:
        return Fetched(dest, len(data), hashlib.sha256(data).hexdigest(), content_type, bytes(data))
    with HashedFile(dest) as out:
        out.write(data)
        return out.fetched(content_type)
