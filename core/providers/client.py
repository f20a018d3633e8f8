"""What all clients of image APIs share: the key, the sending, the answer as it came.

A client sends a paid request exactly once: no transport repeats it and no redirect is followed. It says of every
failure whether the request left (see `core.providers.errors`); what to do about that is the purchase's business, not
its own. Each protocol has a folder here, with a client that knows how to ask and what else the API tells for nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit

import requests

from ..errors import BadInput, ImagenError, Unavailable
from ..http.sessions import Answer, BearerAuth, SessionPool, WatchedBody, exchange, retry_after_seconds
from ..http.transport import NoAuth, PooledAdapter
from ..money import CREDITS_PER_USD
from .catalog import ProviderCatalog
from .chat_reply import ChatReply, read_chat
from .errors import NotSent, ReplyLost, UnreadableReply, status_error
from .logs import LogPage
from .reply import Reply, read_reply
from .request import ImageRequest

SANDBOX_SERVER = "prefect-imagen-sandbox"
_MAX_ERROR_BYTES = 256 * 2**10
MAX_FREE_BYTES = 8 * 2**20


def normalise_base_url(url: str) -> str:
    """Check a base URL and give it one form: no trailing slash, `/v1` where no path was given.

    Example:
        >>> normalise_base_url("http://127.0.0.1:8700/")
        'http://127.0.0.1:8700/v1'

    Raises:
        BadInput: Not an http(s) URL, or one with a password in it.
    """
    if "@" in url or "?" in url or "#" in url:  # said first, and without quoting it: it may be a password
        raise BadInput("the base URL must have no user name, password, query or fragment")
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed bracket, a port that is no number
        usable = False
    if not usable:
        raise BadInput(f"base URL {url!r} is not of the form https://host/v1")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def api_origin(base_url: str) -> str:
    """Scheme, host and port of an API: what a ledger is bound to.

    Example:
        >>> api_origin("https://api.aimlapi.com/v1")
        'https://api.aimlapi.com'
    """
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class RawReply:
    """A complete HTTP answer to the paid request, as it came: what the spool keeps.

    Attributes:
        headers: The headers that matter, names in lower case.
        cut: Why the body is not complete, or None.
        url: Where the request was sent.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    cut: str | None = None
    url: str = ""

    def read(self) -> Reply:
        """Normalise the answer.

        Returns:
            The reply, possibly without images.

        Raises:
            StatusError: Any status but a 2xx.
            UnreadableReply: A 2xx that is cut or in no known form, names a task, or tells of an error.
        """
        self._raise_for_status()
        return read_reply(self.body, self.headers, status=self.status, url=self.url)

    def read_chat(self) -> ChatReply:
        """Normalise the answer of a language model; raises what `read` raises."""
        self._raise_for_status()
        return read_chat(self.body, self.headers)

    def _raise_for_status(self) -> None:
        if 200 <= self.status < 300:
            if self.cut is not None:
                raise UnreadableReply(f"the API answered {self.status}, but {self.cut}")
            return
        raise status_error(
            self.status,
            self.body,
            request_id=self.headers.get("x-request-id"),
            retry_after=retry_after_seconds(self.headers.get("retry-after")),
        )


class ImageClient(ABC):
    """A thread-safe client of an image API; share one between all threads of a process.

    Args:
        api_key: It is sent to `base_url` only, and shows in no repr, log or pickle.
        base_url: Where the API is; `http://127.0.0.1:8700` for a sandbox.
        read_timeout: Seconds without a byte, and for the whole answer; image models take 3 to 30 s, 504 means longer.
        max_reply_bytes: Bytes of a reply that are read; a longer one is cut.
    """

    kept_headers: ClassVar[tuple[str, ...]]
    """Headers of a paid answer that are kept with it."""

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str,
        connect_timeout: float = 10.0,
        read_timeout: float = 180.0,
        pool_size: int = 512,
        max_reply_bytes: int = 128 * 2**20,
    ) -> None:
        api_key = api_key.strip()
        if not api_key:
            raise BadInput("there is no API key: set AIMLAPI_API_KEY, or save an AimlApiCredentials block")
        if not api_key.isascii() or not api_key.isprintable():
            raise BadInput("the API key has characters that no HTTP header can carry")
        self.base_url = normalise_base_url(base_url)
        self._auth = BearerAuth(api_key)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_reply_bytes = max_reply_bytes
        self._pool = SessionPool(PooledAdapter(pool_size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        article = "an" if name[0] in "AEIOU" else "a"
        raise TypeError(f"{article} {name} holds a key and is not pickled; pass the name of a credentials block")

    # --- what a protocol says -------------------------------------------------------------------------------------

    @abstractmethod
    def ask(self, request: ImageRequest, call_id: str, *, seed: int | None = None) -> RawReply:
        """Send one paid request for images, once.

        Args:
            call_id: Of the call on the ledger.

        Raises:
            NotSent: It never left.
            ReplyLost: It left, and no answer came.
        """

    @abstractmethod
    def chat(self, body: Mapping[str, Any], call_id: str) -> RawReply:
        """Ask a language model, once; raises what `ask` raises."""

    @abstractmethod
    def check_key(self) -> Decimal:
        """Ask for the balance, in USD: a free call that needs a good key.

        Raises:
            StatusError: `BadKey` if the key is refused.
            Unavailable: No answer.
        """

    @abstractmethod
    def log(self, start: datetime, end: datetime, offset: int = 0) -> LogPage:
        """A page of the provider's log of requests that this key made; free.

        Args:
            start: Beginning of the window; at most 92 days before `end`.
            offset: Rows to skip, the newest first.

        Raises:
            StatusError: `RateLimited` where it is asked too often; a key that may not ask.
            UnreadableReply: Another form than the documented one.
            Unavailable: No answer.
        """

    @staticmethod
    @abstractmethod
    def catalog(
        base_url: str, folder: Path, *, offline: bool = False, fresh: bool = False, seconds: float = 2.0
    ) -> ProviderCatalog:
        """Ask the API's catalogue, or remember what it said; needs no key.

        Args:
            folder: Where answers are remembered.
            offline: Ask nothing and remember nothing.
            fresh: Ask even if the last answer may still be used.
            seconds: When to give up, for each request.

        Returns:
            What was heard; never raises for a service that is away.
        """

    # --- what all have in common ----------------------------------------------------------------------------------

    def close(self) -> None:
        self._pool.close()

    def fingerprint(self, salt: str) -> str:
        """Salted fingerprint that identifies this key in the shared quota table. It cannot be reversed to the key.

        Args:
            salt: The ledger's id, so that two ledgers that are laid side by side do not show the same key.
        """
        return hmac.digest(salt.encode(), self._auth.key.encode(), "sha256").hex()[:32]

    def cut_off(self) -> None:
        """End the calls in flight: each raises `ReplyLost` at once, for its answer is not waited for any longer."""
        self._pool.cut()

    @property
    def address(self) -> str:
        """Scheme, host and port at which this API is asked."""
        return api_origin(self.base_url)

    def origin(self) -> str:
        """What a ledger is bound to: the API's scheme, host and port, or `sandbox` for a sandbox on this machine.

        A sandbox says so in its `Server` header, and is believed on a loopback address only. It is named alike on
        every port, so that a ledger made with one start of it goes on with the next, and never fits a real API.

        Raises:
            Unavailable: A local API does not answer, so it cannot be told which it is.
        """
        if not _is_loopback(urlsplit(self.base_url).hostname):
            return self.address
        server = self._get("/v1/models?type=none").headers.get("server", "")
        return "sandbox" if server.startswith(SANDBOX_SERVER) else self.address

    def balance(self) -> int | None:
        """What is left, in credits; None where that cannot be told."""
        try:
            return int(self.check_key() * CREDITS_PER_USD)
        except ImagenError:
            return None

    def _pay(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> RawReply:
        payload = WatchedBody(json.dumps(body, ensure_ascii=False).encode())
        url = f"{self.base_url}{path}"
        try:
            answer = exchange(
                self._pool,
                "POST",
                url,
                headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
                auth=self._auth,
                timeout=(self._connect_timeout, self._read_timeout),
                deadline=time.monotonic() + self._connect_timeout + self._read_timeout,
                max_bytes=lambda status: self._max_reply_bytes if 200 <= status < 300 else _MAX_ERROR_BYTES,
                body=payload,
            )
        except requests.RequestException as error:
            self._raise_lost(error, sent=payload.begun)
        kept = {
            name: self._auth.taken_from(answer.headers[name].encode()).decode()
            for name in self.kept_headers
            if name in answer.headers
        }
        return RawReply(answer.status, kept, self._auth.taken_from(answer.body), answer.cut, url)

    def _raise_lost(self, error: requests.RequestException, *, sent: bool) -> NoReturn:
        host = urlsplit(self.base_url).netloc
        cause = type(error).__name__
        if not sent:
            raise NotSent(f"cannot reach the API at {host}: {cause}") from None
        raise ReplyLost(f"the request was sent to {host}, but no answer came: {cause}") from None

    def _get(self, path: str, *, key: bool = False, timeout: float = 10.0) -> Answer:
        """A free GET. Only the balance and the log need the key.

        Args:
            timeout: Seconds for the whole answer.
        """
        host = urlsplit(self.base_url).netloc
        try:
            answer = exchange(
                self._pool,
                "GET",
                f"{self.address}{path}",
                headers={"Accept": "application/json"},
                auth=self._auth if key else NoAuth(),
                timeout=(min(self._connect_timeout, timeout), timeout),
                deadline=time.monotonic() + timeout,
                max_bytes=lambda _: MAX_FREE_BYTES,
            )
        except requests.RequestException as error:
            raise Unavailable(f"cannot reach the API at {host}: {type(error).__name__}") from None
        if answer.cut is not None:
            raise Unavailable(f"the API at {host} answered {answer.status}, but {answer.cut}")
        return replace(answer, body=self._auth.taken_from(answer.body))
