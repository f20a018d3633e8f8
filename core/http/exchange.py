"""One request and its whole answer, under a cap and a deadline; and a body that tells whether it was sent.

Whether a lost call was billed depends on whether the request left. `requests` folds every failure into a few exception
classes, so the body itself keeps watch: it is read only once a connection stands and the request is going out.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import IO

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from ..memory import Share
from .encodings import BadEncoding, decode
from .memory import answers_budget, working_budget
from .transport import PooledAdapter, TimedRequest

_CHUNK = 2**16
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "keep-alive"}
_LATE = "the body took longer than the time allowed"
_MOST_INFLATED = 1040
"""Times of its length that a deflated body can come to (zlib's technical details)."""


@cache
def user_agent() -> str:
    """`prefect-imagen/VERSION`; the provider asks clients to name themselves, on downloads too."""
    try:
        return f"prefect-imagen/{version('prefect-imagen')}"
    except PackageNotFoundError:
        return "prefect-imagen"


class WatchedBody(io.BytesIO):
    """A request body that remembers whether sending it has begun."""

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


_LONG_ENOUGH = 8  # a shorter key is a word that an answer may use


class KeyAuth(AuthBase):
    """Sets the header with the key itself: without an auth object, requests lets `~/.netrc` set one.

    Args:
        key: Empty to send none.
        header: The header that the API looks for.
        scheme: What stands before the key, with the blank behind it.
    """

    def __init__(self, key: str, header: str = "Authorization", scheme: str = "Bearer ") -> None:
        self.key = key
        self._header = header
        self._scheme = scheme

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.key:
            request.headers[self._header] = f"{self._scheme}{self.key}"
        return request

    def taken_from(self, answer: bytes) -> bytes:
        """An answer without the key, should it quote it: as it is kept, it goes into files, logs and reports."""
        key = self.key.encode()
        return answer.replace(key, b"***") if len(key) >= _LONG_ENOUGH else answer

    def __repr__(self) -> str:
        return "KeyAuth(********)"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that was read under a cap and a deadline.

    Attributes:
        cut: Why the body is not complete, or None.
        share: What the body takes of the memory for all answers, until nothing refers to it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    cut: str | None = None
    share: Share | None = field(default=None, repr=False, compare=False)


def exchange(
    adapter: PooledAdapter,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    auth: AuthBase,
    timeout: tuple[float, float],
    deadline: float,
    max_bytes: Callable[[int], int],
    body: IO[bytes] | None = None,
) -> Answer:
    """Send one request and read its answer. No redirect is followed, nothing is repeated.

    Args:
        timeout: Seconds for the connection, and without a byte.
        deadline: When the answer has to be complete, headers and all (`time.monotonic`).
        max_bytes: The most bytes of the body, before and after it is decoded, for a status.

    Raises:
        requests.RequestException: No answer, or none until the deadline.
    """
    # What is not asked for need not be undone: encoded answers come all the same, and are.
    asked = {**_HEADERS, "User-Agent": user_agent(), **headers}
    request = TimedRequest(deadline, method, url, asked, body=body, auth=auth)
    try:
        response = adapter.ask(request, timeout)
    except HTTPError as error:  # of urllib3: requests does not translate all of them
        raise requests.ConnectionError(error) from error
    with response:
        most = max_bytes(response.status_code)
        share = answers_budget().share()
        content, cut = read_bounded(response, max_bytes=most, deadline=deadline, share=share)
        encoding = response.headers.get("Content-Encoding")
        if cut is None and encoding is not None:
            content, cut = _decoded(content, encoding, most, deadline, share)
        share.end(len(content))
        return Answer(response.status_code, response.headers, content, cut, share)


def _decoded(content: bytes, encoding: str, most: int, deadline: float, share: Share) -> tuple[bytes, str | None]:
    """Undo the encoding of a body. Room for what it may become is had before, since nothing tells how much it is."""
    room = min(most, _MOST_INFLATED * len(content)) if "," not in encoding else most
    if not _grown(share, room, deadline):
        return content, _LATE
    with working_budget().holding(2 * room):
        try:
            return decode(content, encoding, most), None
        except BadEncoding as error:
            return content, str(error)


def _grown(share: Share, size: int, deadline: float) -> bool:
    """Room for a body; one that is no larger than what is read at once has it always."""
    return size <= _CHUNK or share.grow(size, deadline)


def read_bounded(
    response: requests.Response, *, max_bytes: int, deadline: float, share: Share
) -> tuple[bytes, str | None]:
    """Collect a streamed body, still encoded, up to a size and a moment (`time.monotonic`).

    Args:
        share: Grows with it. While all bodies together are too large, this one is not read any further.

    Returns:
        The bytes so far, and why the rest was not read (None: it is complete). A connection that breaks is a reason,
        too: the caller knows from the status what a partial body is worth.
    """
    content = io.BytesIO()  # it hands its bytes over without a copy
    size = 0
    cut = None
    try:
        # read1 returns what has arrived; iter_content would wait until a chunk is full, however slowly it fills.
        while cut is None and (chunk := response.raw.read1(_CHUNK, decode_content=False)):
            size += len(chunk)
            if size > max_bytes:
                chunk, cut = chunk[: max_bytes - size], f"the body is larger than {max_bytes:,} bytes"
            elif not _grown(share, size, deadline) or time.monotonic() > deadline:
                cut = _LATE
            content.write(chunk)
    except (HTTPError, OSError) as error:
        broken = f"the connection broke within the body ({type(error).__name__})"
        cut = _LATE if time.monotonic() >= deadline else broken
    return content.getvalue(), cut


def retry_after_seconds(value: str | None) -> float | None:
    """Read a `Retry-After` header: seconds, or an HTTP date. None if absent or unreadable.

    Example:
        >>> retry_after_seconds("1.5"), retry_after_seconds("soon")
        (1.5, None)
    """
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
