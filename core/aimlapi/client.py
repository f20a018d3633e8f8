"""The HTTP client of the AI/ML API.

It sends a paid request exactly once: no transport repeats it and no redirect is followed. It says of every failure
whether the request left (see `core.aimlapi.errors`); what to do about that is the purchase's business, not its own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import requests

from ..errors import BadInput, ImagenError, Unavailable
from ..http.sessions import Answer, BearerAuth, SessionPool, WatchedBody, exchange, retry_after_seconds
from ..http.transport import NoAuth, PooledAdapter
from ..money import CREDITS_PER_USD
from .chat_reply import ChatReply, read_chat
from .errors import NotSent, ReplyLost, UnreadableReply, status_error
from .logs import LOG_PAGE, LogPage, read_log
from .reply import Reply, read_reply

DEFAULT_BASE_URL = "https://api.aimlapi.com/v1"
SANDBOX_SERVER = "prefect-imagen-sandbox"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_ERROR_BYTES = 256 * 2**10
MAX_FREE_BYTES = 8 * 2**20
_KEPT_HEADERS = (
    "content-type",
    "location",
    "retry-after",
    "server",
    "x-aimlapi-credits-used",
    "x-aimlapi-usd-spent",
    "x-client-request-id",
    "x-inference-id",
    "x-request-id",
)


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


class AimlApiClient:
    """A thread-safe client; share one between all threads of a process.

    Args:
        api_key: Bearer key. It is sent to `base_url` only, and shows in no repr, log or pickle.
        base_url: Where the API is; `http://127.0.0.1:8700` for a sandbox.
        read_timeout: Seconds without a byte, and for the whole answer; image models take 3 to 30 s, 504 means longer.
        max_reply_bytes: Bytes of a reply that are read; a longer one is cut.

    Example:
        >>> AimlApiClient("secret", base_url="http://127.0.0.1:8700")
        AimlApiClient(base_url='http://127.0.0.1:8700/v1')
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
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
        return f"AimlApiClient(base_url={self.base_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AimlApiClient holds a key and is not pickled; pass the name of a credentials block")

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

    def generate(self, body: Mapping[str, Any], client_request_id: str) -> RawReply:
        """Send one paid request, once.

        `POST /v1/images/generations` (AI/ML API docs). The request id is stored and echoed by the API, it does not
        make the call idempotent; there is no idempotency key.

        Args:
            client_request_id: 1 to 128 characters of `A-Za-z0-9._:-`; the API ignores any other silently.

        Raises:
            NotSent: It never left.
            ReplyLost: It left, and no answer came.
        """
        return self._pay("/images/generations", body, client_request_id)

    def chat(self, body: Mapping[str, Any], client_request_id: str) -> RawReply:
        """Ask a language model, once: `POST /v1/chat/completions`, in the OpenAI form (AI/ML API docs)."""
        return self._pay("/chat/completions", body, client_request_id)

    def _pay(self, path: str, body: Mapping[str, Any], client_request_id: str) -> RawReply:
        if not _REQUEST_ID.fullmatch(client_request_id):
            raise ValueError(f"not a client request id: {client_request_id!r}")
        payload = WatchedBody(json.dumps(body, ensure_ascii=False).encode())
        url = f"{self.base_url}{path}"
        try:
            answer = exchange(
                self._pool,
                "POST",
                url,
                headers={
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "X-Client-Request-Id": client_request_id,
                },
                auth=self._auth,
                timeout=(self._connect_timeout, self._read_timeout),
                deadline=time.monotonic() + self._connect_timeout + self._read_timeout,
                max_bytes=lambda status: self._max_reply_bytes if 200 <= status < 300 else _MAX_ERROR_BYTES,
                body=payload,
            )
        except requests.RequestException as error:
            self._raise_lost(error, sent=payload.begun)
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        shown = {name: self._auth.taken_from(value.encode()).decode() for name, value in headers.items()}
        return RawReply(answer.status, shown, self._auth.taken_from(answer.body), answer.cut, url)

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
                f"{api_origin(self.base_url)}{path}",
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

    def origin(self) -> str:
        """What a ledger is bound to: the API's scheme, host and port, or `sandbox` for a sandbox on this machine.

        A sandbox says so in its `Server` header, and is believed on a loopback address only. It is named alike on
        every port, so that a ledger made with one start of it goes on with the next, and never fits a real API.

        Raises:
            Unavailable: A local API does not answer, so it cannot be told which it is.
        """
        if not _is_loopback(urlsplit(self.base_url).hostname):
            return api_origin(self.base_url)
        server = self._get("/v1/models?type=none").headers.get("server", "")
        return "sandbox" if server.startswith(SANDBOX_SERVER) else api_origin(self.base_url)

    def balance(self) -> int | None:
        """What is left, in credits; None where that cannot be told."""
        try:
            return int(self.check_key() * CREDITS_PER_USD)
        except ImagenError:
            return None

    def check_key(self) -> Decimal:
        """Ask for the balance: a free call that needs a good key (`GET /v2/billing`, AI/ML API docs).

        Raises:
            StatusError: `BadKey` if the key is refused.
            Unavailable: No answer.
        """
        response = self._get("/v2/billing", key=True)
        if not 200 <= response.status < 300:
            raise status_error(response.status, response.body)
        try:
            return Decimal(str(json.loads(response.body)["current_balance"]))
        except (ValueError, KeyError, ArithmeticError, TypeError, RecursionError):
            raise UnreadableReply("the balance could not be read from the API's answer") from None

    def log(self, start: datetime, end: datetime, offset: int = 0) -> LogPage:
        """A page of the provider's log of requests that this key made (`GET /v2/logs`, AI/ML API docs); free.

        Args:
            start: Beginning of the window; at most 92 days before `end`.
            offset: Rows to skip, the newest first.

        Raises:
            StatusError: `RateLimited` above 200 requests in 60 s; a key that may not ask.
            UnreadableReply: Another form than the documented one.
            Unavailable: No answer.
        """
        window = {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
        query = urlencode({**window, "limit": LOG_PAGE, "offset": offset})
        response = self._get(f"/v2/logs?{query}", key=True, timeout=20.0)
        if not 200 <= response.status < 300:
            raise status_error(
                response.status,
                response.body,
                retry_after=retry_after_seconds(response.headers.get("retry-after")),
            )
        try:
            return read_log(json.loads(response.body))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, BadInput):
            raise UnreadableReply("the API's log has a form that is not known") from None
