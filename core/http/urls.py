"""URLs as they must go over the wire: checked, split, and otherwise untouched.

A signed URL is a signature over its own characters. Libraries that "normalise" one (upper-casing `%2f`, decoding
`%7E`, dropping a bare `?`) break it, so everything behind the authority is kept as it came; only what cannot stand
in a request line at all (spaces, characters beyond ASCII) is percent-encoded.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

from .errors import FetchRefused

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_URL = 16_384
_PLACES = 256
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]+")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_SENT_ADDRESS = re.compile(
    rb"""(inputs(?:/|\\/|%2[Ff])[0-9a-f]{64}(?:-[0-9a-f]{16})?(?:\?|%3[Ff]|\\u003[Ff]))[^"'\s<>]+"""
)


def redact_url(url: str) -> str:
    """`url` fit for a log line: no query, no fragment, no user name, printable, at most 200 characters."""
    head, mark, _ = url.partition("?")
    head = head.partition("#")[0]
    head = re.sub(r"(?<=://)[^/]*@", "", head)
    head = _UNPRINTABLE.sub("?", head)
    if len(head) > 200:
        head = head[:199] + "…"
    return f"{head}?…" if mark else head


def without_sent_addresses(body: bytes) -> bytes:
    """An answer without what signs the addresses of pictures that were sent with the request, if it repeats them.

    Example:
        >>> without_sent_addresses(b"no https://s3/inputs/" + b"0" * 64 + b"?X-Amz-Signature=1 there")[-12:]
        b'00?... there'
    """
    return _SENT_ADDRESS.sub(rb"\1...", body) if b"inputs" in body else body


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a trust decision is about. The host is lower-case, without brackets or final dot."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, scheme: str, host: str, port: int | None) -> Self:
        """The origin of already separated parts; `port` None stands for the scheme's default."""
        scheme = scheme.lower()
        return cls(scheme, host.strip("[]").rstrip(".").lower(), port or _DEFAULT_PORTS[scheme])


@lru_cache(_PLACES)
def _place(scheme: str, authority: str) -> tuple[str, Origin]:
    """Where a URL leads: `scheme://authority`, the host in its ASCII form, and the origin.

    Raises:
        ValueError: Nowhere.
    """
    # Most commands only redact an address: they need not load it.
    import requests

    try:
        base = requests.Request("GET", f"{scheme}://{authority}/").prepare().url or ""
    except requests.RequestException as error:
        raise ValueError(str(error)) from error
    parts = urlsplit(base)
    return base.rstrip("/"), Origin.of(scheme, parts.hostname or "", parts.port)


@dataclass(frozen=True, slots=True)
class WireUrl:
    """An http or https URL, ready to be sent.

    Attributes:
        base: `scheme://authority`, the host in its ASCII (IDNA) form.
        target: Path and query, exactly as they will stand in the request line; starts with `/`.
    """

    origin: Origin
    base: str
    target: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Check and split a URL.

        Raises:
            FetchRefused: It is not http(s), names no host, carries a user name, has control characters or is longer
                than 16,384 characters.
        """
        shown = redact_url(url)
        match = _URL.fullmatch(url)
        if match is None or match["scheme"].lower() not in _DEFAULT_PORTS:
            raise FetchRefused(f"{shown!r} is not an http or https URL")
        if len(url) > _MAX_URL or _CONTROL.search(url):
            raise FetchRefused(f"{shown} is longer than {_MAX_URL} characters or holds control characters")
        scheme, authority = match["scheme"].lower(), match["authority"]
        # An escape or a backslash in the host is read differently by different parsers: none is asked.
        if not authority or re.search(r"[@%\\\s]", authority):
            raise FetchRefused(f"{shown} names no plain host (a user name or an escape in it is not accepted)")
        try:
            base, origin = _place(scheme, authority)
            target = _UNSENDABLE.sub(lambda run: quote(run[0]), match["target"])
        except ValueError as error:
            raise FetchRefused(f"{shown} names no valid host and port") from error
        return cls(origin, base, target if target.startswith("/") else f"/{target}")

    def follow(self, location: str) -> WireUrl:
        """Where a `Location` header of this URL's answer leads; absolute forms are kept character by character."""
        # http.client hands headers over as Latin-1; servers that do not escape mean UTF-8.
        with contextlib.suppress(UnicodeError):
            location = location.encode("latin-1").decode("utf-8")
        if _URL.match(location):
            return type(self).parse(location)
        if location.startswith("//"):
            return type(self).parse(f"{self.origin.scheme}:{location}")
        if location.startswith("/"):
            return type(self).parse(self.base + location)
        return type(self).parse(urljoin(self.base + self.target, location))

    def __str__(self) -> str:
        """The URL for a message: redacted."""
        return redact_url(self.base + self.target)
