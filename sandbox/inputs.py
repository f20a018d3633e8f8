"""Pictures that come with a request: looked at as the API would, and kept small enough to be shown in what is drawn.

Data comes with the request. An address is fetched when the call has waited its time, as a service that is busy does it;
of addresses the sandbox fetches those of this machine only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import ipaddress
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

from .validation import Issue

_SIDE = 160
_MOST_BYTES = 64 * 2**20
_SECONDS = 10.0


class Received(NamedTuple):
    """A picture that came with a request.

    Attributes:
        field: That it came in.
        sha256: Of its bytes.
        small: A copy of at most 160 pixels along a side, as PNG.
    """

    field: str
    sha256: str
    small: bytes


class Distant(NamedTuple):
    """A picture at an address of this machine, which is not fetched yet."""

    field: str
    url: str


Came = tuple[Received | Distant, ...]


def receive(fields: Mapping[str, Any]) -> Came | list[Issue]:
    """The pictures that a request's fields name; or the issues that the API would report."""
    found: list[Received | Distant] = []
    issues: list[Issue] = []
    for path, uri in _pictures(fields):
        if not uri.startswith("data:"):
            found.append(Distant(str(path[0]), uri))
            continue
        head, _, body = uri.partition(",")
        try:
            one = look(str(path[0]), base64.b64decode(body, validate=True), head)
        except binascii.Error:
            one = None
        if one is None:
            issues.append({"code": "custom", "message": "Invalid image", "path": list(path)})
        else:
            found.append(one)
    return issues or tuple(found)


def look(field: str, data: bytes, said: str | None = None) -> Received | None:
    """A picture as it is shown later; None if it cannot be decoded.

    Args:
        field: That it came in.
        data: The file.
        said: The head of its data URI, which has to be true.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("RGB")
            if said is not None and said != f"data:{image.get_format_mimetype()};base64":
                return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return Received(field, hashlib.sha256(data).hexdigest(), out.getvalue())


def fetch(came: Came) -> tuple[Received, ...] | Distant:
    """Fetch what is at addresses: all pictures, or the first one that cannot be had."""
    found: list[Received] = []
    for one in came:
        there = _fetched(one) if isinstance(one, Distant) else one
        if there is None:
            return Distant(*one[:2])
        found.append(there)
    return tuple(found)


def _fetched(one: Distant) -> Received | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(one.url, timeout=_SECONDS) as answer:
            return look(one.field, answer.read(_MOST_BYTES))
    except (OSError, HTTPException, ValueError):
        return None


def is_local(url: str) -> bool:
    """Whether an address is on this machine: the sandbox calls no other."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _pictures(fields: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name, value in fields.items():
        for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, str) and (one.startswith("data:image/") or is_local(one)):
                yield ((name,) if place is None else (name, place)), one


def show(picture: Image.Image, received: tuple[Received, ...]) -> None:
    """Put the pictures of a request into what is drawn: one beside the other, along its upper edge."""
    if not received:
        return
    side = min(picture.width // (len(received) + 1), picture.height // 3)
    for place, one in enumerate(received):
        with Image.open(io.BytesIO(one.small)) as small:
            copy = small.convert("RGB")
        copy.thumbnail((side, side))
        x = (place + 1) * picture.width // (len(received) + 1) - copy.width // 2
        picture.paste((255, 255, 255), (x - 4, 12, x + copy.width + 4, 20 + copy.height))
        picture.paste(copy, (x, 16))
