"""What all clients of image APIs share: the key, the sending, the answer as it came.

A client sends a paid request exactly once: no transport repeats it and no redirect is followed. It says of every
failure whether the request left (see `core.providers.errors`); what to do about that is the purchase's business, not
its own. Each protocol has a folder here, with a client that knows how to ask and what else the API tells for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit

import requests
from urllib3.filepost import encode_multipart_formdata

from ..errors import BadInput, ImagenError, Unavailable
from ..http.exchange import Answer, KeyAuth, WatchedBody, exchange, retry_after_seconds
from ..http.memory import MOST_ANSWER
from ..http.transport import NoAuth, PooledAdapter
from ..http.urls import without_sent_addresses
from ..memory import Share
from ..money import CREDITS_PER_USD
from .addresses import api_origin, is_loopback, normalise_base_url
from .catalog import ProviderCatalog
from .chat_reply import ChatReply, read_chat
from .errors import CannotRecover, NotSent, ReplyLost, UnreadableReply, status_error
from .logs import LogPage
from .providers import DEFAULT_PROVIDER, Provider
from .reply import Reply, read_reply
from .request import ImageRequest

SANDBOX_SERVER = "prefect-imagen-sandbox"
_MAX_ERROR_BYTES = 256 * 2**10
MAX_FREE_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class RawReply:
    """A complete HTTP answer to the paid request, as it came: what the spool keeps.

    Attributes:
        headers: The headers that matter, names in lower case.
        cut: Why the body is not complete, or None.
        url: Where the request was sent.
        share: What the body takes of the memory for all answers, until nothing refers to it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    cut: str | None = None
    url: str = ""
    share: Share | None = field(default=None, repr=False, compare=False)

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


@dataclass(eq=False, repr=False)
class NoKey(BadInput):
    """The provider is not asked without a key, and there is none."""

    variable: str
    block: str

    def __str__(self) -> str:
        return f"there is no API key: set {self.variable}, or save an {self.block} block"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as it is sent: the path behind the base URL, and the body.

    Attributes:
        files: Names and data URIs of files, which make a form of the body (RFC 7578).
    """

    path: str
    body: Mapping[str, Any] = field(repr=False)
    files: Sequence[tuple[str, str]] = field(default=(), repr=False)

    def encoded(self) -> tuple[bytes, str]:
        """The body's bytes, the same ones each time, and their media type."""
        if not self.files:
            return json.dumps(self.body, ensure_ascii=False).encode(), "application/json"
        plain = [(name, str(value)) for name, value in self.body.items()]
        files = []
        for number, (name, uri) in enumerate(self.files):
            head, _, data = uri.partition(",")
            kind = head.removeprefix("data:").removesuffix(";base64")
            files.append((name, (f"picture-{number}.{kind.rpartition('/')[2]}", base64.b64decode(data), kind)))
        # Of the content: a request that is sent again has the same bytes.
        boundary = hashlib.sha256(repr((plain, self.files)).encode()).hexdigest()[:32]
        return encode_multipart_formdata([*plain, *files], boundary)


def take_files(body: dict[str, Any], *, several: str) -> list[tuple[str, str]]:
    """Take the pictures of an edit out of its body: the files of a form, with their names there.

    Args:
        several: The name of each file, where there are several pictures.
    """
    pictures, mask = body.pop("images", None) or [], body.pop("mask", None)
    files = [(several if len(pictures) > 1 else "image", picture) for picture in pictures]
    return [*files, ("mask", mask)] if mask else files


Recovery = Mapping[str, str]
"""What the ledger keeps of a call, so that its answer can be asked for once more: plain texts."""


class ImageClient(ABC):
    """A thread-safe client of an image API; share one between all threads of a process.

    Args:
        api_key: It is sent to the provider only, and shows in no repr, log or pickle. Empty for a server without keys.
        provider: Whose API it is.
        base_url: Where the API is, if not at the provider's own address; `http://127.0.0.1:8700` for a sandbox.
        read_timeout: Seconds without a byte, and for the whole answer; image models take 3 to 30 s, 504 means longer.
        max_reply_bytes: Bytes of a reply that are read; a longer one is cut.

    Raises:
        BadInput: The key or the base URL cannot be used.
    """

    default_path: ClassVar[str] = "/v1"
    """Path of a base URL that names none."""
    kept_headers: ClassVar[tuple[str, ...]] = ("content-type", "location", "retry-after", "server", "x-request-id")
    """Headers of a paid answer that are kept with it."""
    has_log: ClassVar[bool] = False
    """Whether the provider's log can be asked what became of a call."""

    def __init__(
        self,
        api_key: str,
        *,
        provider: Provider,
        base_url: str | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 180.0,
        pool_size: int = 512,
        max_reply_bytes: int = MOST_ANSWER,
    ) -> None:
        self.provider = provider
        self.base_url = normalise_base_url(base_url or provider.base_url or "", self.default_path)
        api_key = api_key.strip()
        if not api_key and provider.wants_key(self.base_url):
            own = provider.name == DEFAULT_PROVIDER
            raise NoKey(provider.key_variable, "AimlApiCredentials" if own else "ImageApiCredentials")
        if not api_key.isascii() or not (api_key.isprintable() or not api_key):
            raise BadInput("the API key has characters that no HTTP header can carry")
        self._auth: KeyAuth = self.authentication(api_key)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_reply_bytes = max_reply_bytes
        self._adapter = PooledAdapter(pool_size)
        self._cuts = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        article = "an" if name[0] in "AEIOU" else "a"
        raise TypeError(f"{article} {name} holds a key and is not pickled; pass the name of a credentials block")

    # --- what a protocol says -------------------------------------------------------------------------------------

    @abstractmethod
    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        """The request in the protocol's own form; the same bytes each time."""

    @abstractmethod
    def check_key(self) -> Decimal | None:
        """Ask something free that needs a good key. Returns the balance in USD; None where it cannot be told.

        Raises:
            StatusError: `BadKey` if the key is refused.
            Unavailable: No answer.
        """

    def authentication(self, key: str) -> KeyAuth:
        """How the key is sent."""
        return KeyAuth(key)

    def headers(self, call_id: str) -> dict[str, str]:
        """Headers of a paid call that name it."""
        return {"Idempotency-Key": call_id} if self.provider.contract.recover == "key" else {}

    def chat(self, body: Mapping[str, Any], call_id: str) -> RawReply:
        """Ask a language model, once; raises what `ask` raises.

        Raises:
            BadInput: No language models are known here.
        """
        raise BadInput(f"{self.provider.label} is asked for images alone: prompts are not rewritten there")

    def log(self, start: datetime, end: datetime, offset: int = 0) -> LogPage:
        """A page of the provider's log of requests that this key made; free. Only where `has_log`.

        Args:
            start: Beginning of the window; at most 92 days before `end`.
            offset: Rows to skip, the newest first.

        Raises:
            StatusError: `RateLimited` where it is asked too often; a key that may not ask.
            UnreadableReply: Another form than the documented one.
            Unavailable: No answer.
        """
        raise NotImplementedError

    @staticmethod
    def catalog(
        base_url: str, folder: Path, *, offline: bool = False, fresh: bool = False, seconds: float = 2.0
    ) -> ProviderCatalog:
        """Ask the API's catalogue, or remember what it said; needs no key. Here: there is none.

        Args:
            folder: Where answers are remembered.
            offline: Ask nothing and remember nothing.
            fresh: Ask even if the last answer may still be used.
            seconds: When to give up, for each request.

        Returns:
            What was heard; never raises for a service that is away.
        """
        return ProviderCatalog(api_origin(base_url))

    # --- paid calls -----------------------------------------------------------------------------------------------

    def promise(self, request: ImageRequest, call_id: str, *, seed: int | None = None) -> Recovery | None:
        """What has to be on the ledger before the request is sent, so that its answer can be asked for again."""
        if self.provider.contract.recover != "key":
            return None
        return {"key": call_id, "body": hashlib.sha256(self.wire(request, seed=seed).encoded()[0]).hexdigest()}

    def ask(
        self,
        request: ImageRequest,
        call_id: str,
        *,
        seed: int | None = None,
        on_job: Callable[[Recovery], object] | None = None,
    ) -> RawReply:
        """Send one paid request for images, once.

        Args:
            call_id: Of the call on the ledger.
            on_job: Told of the provider's id for the call before anything is asked about it. What it raises goes on.

        Raises:
            NotSent: It never left.
            ReplyLost: It left, and no answer came.
        """
        return self._pay(self.wire(request, seed=seed), self.headers(call_id))

    def recover(
        self, recovery: Recovery, call_id: str, request: ImageRequest | None, *, seed: int | None = None
    ) -> RawReply:
        """Ask once more for the answer of a call that was sent; it is billed once.

        Args:
            recovery: What the ledger kept of it.
            request: The same request as then, where it can be made again.

        Raises:
            CannotRecover: The request is another one than it was.
            NotSent, ReplyLost: No answer came this time either.
        """
        if request is None or recovery != self.promise(request, call_id, seed=seed):
            raise CannotRecover("the request cannot be made again as it was sent")
        return self.ask(request, call_id, seed=seed)

    # --- what all have in common ----------------------------------------------------------------------------------

    def close(self) -> None:
        self._adapter.close()

    def fingerprint(self, salt: str) -> str:
        """Salted fingerprint that identifies this key in the shared quota table. It cannot be reversed to the key.

        Args:
            salt: The ledger's id, so that two ledgers that are laid side by side do not show the same key.
        """
        return hmac.digest(salt.encode(), self._auth.key.encode(), "sha256").hex()[:32]

    def cut_off(self) -> None:
        """End the calls in flight: each raises `ReplyLost` at once, for its answer is not waited for any longer."""
        self._cuts += 1
        self._adapter.cut()

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
        if not is_loopback(urlsplit(self.base_url).hostname):
            return self.address
        server = self._get("/v1/models?type=none").headers.get("server", "")
        return "sandbox" if server.startswith(SANDBOX_SERVER) else self.address

    def balance(self) -> int | None:
        """What is left, in credits; None where that cannot be told."""
        try:
            left = self.check_key()
        except ImagenError:
            return None
        return int(left * CREDITS_PER_USD) if left is not None else None

    def _pay(self, wire: WireRequest, headers: Mapping[str, str]) -> RawReply:
        payload, kind = wire.encoded()
        headers = {"Content-Type": kind, **headers}
        return self._exchange("POST", f"{self.base_url}{wire.path}", headers, WatchedBody(payload))

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: WatchedBody | None = None, *, key: bool = True
    ) -> RawReply:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = exchange(
                self._adapter,
                method,
                url,
                headers={**kind, "Accept": "application/json", **headers},
                auth=self._auth if key else NoAuth(),
                timeout=(self._connect_timeout, self._read_timeout),
                deadline=time.monotonic() + self._connect_timeout + self._read_timeout,
                max_bytes=lambda status: self._max_reply_bytes if 200 <= status < 300 else _MAX_ERROR_BYTES,
                body=body,
            )
        except requests.RequestException as error:
            self._raise_lost(error, sent=body is None or body.begun)
        found = {name: answer.headers.get(name) for name in self.kept_headers}
        kept = {
            name: self._auth.taken_from(value.encode()).decode() for name, value in found.items() if value is not None
        }
        told = without_sent_addresses(self._auth.taken_from(answer.body))
        return RawReply(answer.status, kept, told, answer.cut, url, answer.share)

    def _raise_lost(self, error: requests.RequestException, *, sent: bool) -> NoReturn:
        host = urlsplit(self.base_url).netloc
        cause = type(error).__name__
        if not sent:
            raise NotSent(f"cannot reach the API at {host}: {cause}") from None
        raise ReplyLost(f"the request was sent to {host}, but no answer came: {cause}") from None

    def _get(self, path: str, *, key: bool = False, timeout: float = 10.0) -> Answer:
        """A free GET; few of them need the key.

        Args:
            path: Behind the origin.
            timeout: Seconds for the whole answer.
        """
        host = urlsplit(self.base_url).netloc
        try:
            answer = exchange(
                self._adapter,
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
