"""Content encodings, undone under a cap.

What a server names is not always what it sent: proxies and stores leave `none`, `utf-8` or `aws-chunked` behind, or
name `gzip` for plain bytes. So the bytes decide: they are inflated where they are what the header says, and else left
alone.
Neither urllib3 nor requests has a cap on what a small body inflates to.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

_MOST_LAYERS = 3
_MOST_MEMBERS = 64


class BadEncoding(ValueError):
    """The bytes cannot be decoded; the message says why."""


class TooLarge(BadEncoding):
    """What they decode to is larger than allowed."""


def decode(body: bytes, content_encoding: str | None, max_bytes: int) -> bytes:
    """Undo a `Content-Encoding` as far as it is known: gzip, deflate, base64.

    Args:
        content_encoding: The header, or None.
        max_bytes: The most bytes of the result, and of each step before it.

    Example:
        >>> decode(b"plain", "gzip, none", 100), decode(zlib.compress(b"packed"), "deflate", 100)
        (b'plain', b'packed')

    Raises:
        BadEncoding: A body that begins as it should is damaged or cut.
        TooLarge: It inflates to more than `max_bytes`.
    """
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    for name in reversed(names[:_MOST_LAYERS]):
        if name in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
            body = _gunzip(body, max_bytes)
        elif name == "deflate":
            body = _undeflate(body, max_bytes)
        elif name == "base64":
            body = _unbase64(body)
    return body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """One or more members (RFC 1952); what follows the last one is padding."""
    found = bytearray()
    for _ in range(_MOST_MEMBERS):
        part = zlib.decompressobj(zlib.MAX_WBITS | 16)
        found += _inflate(part, body, max_bytes, len(found))
        body = part.unused_data
        if not body.startswith(b"\x1f\x8b"):
            return bytes(found)
    raise TooLarge(f"the body has more than {_MOST_MEMBERS} parts")


def _undeflate(body: bytes, max_bytes: int) -> bytes:
    """Deflate in a zlib wrapper, as RFC 9110 wants it, or bare, as many send it; else the bytes as they are."""
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        try:
            return _inflate(zlib.decompressobj(window), body, max_bytes)
        except BadEncoding as error:
            if isinstance(error.__cause__, zlib.error):
                continue
            raise
    return body


def _inflate(part: Any, body: bytes, max_bytes: int, before: int = 0) -> bytes:
    """Inflate one member, of which `before` bytes of the result came before."""
    try:
        data: bytes = part.decompress(body, max_bytes - before + 1)
    except zlib.error as error:
        raise BadEncoding("the compressed body is damaged") from error
    if before + len(data) > max_bytes:
        raise TooLarge(f"the decoded body is larger than {max_bytes:,} bytes")
    if not part.eof:
        raise BadEncoding("the compressed body is cut")
    return data


def _unbase64(body: bytes) -> bytes:
    try:
        return base64.b64decode(body.translate(None, b" \t\n\r\v\f"), validate=True)
    except binascii.Error:
        return body
