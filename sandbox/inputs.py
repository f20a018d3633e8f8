"""Pictures that come with a request: looked at as the API would, and kept small enough to be shown in what is drawn."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from PIL import Image

from .validation import Issue

_SIDE = 160


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


def receive(fields: Mapping[str, Any]) -> tuple[Received, ...] | list[Issue]:
    """The pictures in a request's data URIs; or the issues that the API would report. Addresses are not fetched."""
    found: list[Received] = []
    issues: list[Issue] = []
    for path, uri in _data_uris(fields):
        head, _, body = uri.partition(",")
        try:
            data = base64.b64decode(body, validate=True)
            with Image.open(io.BytesIO(data)) as image:
                small = image.convert("RGB")
                as_said = f"data:{image.get_format_mimetype()};base64" == head
        except (binascii.Error, OSError, ValueError, Image.DecompressionBombError):
            as_said = False
        if not as_said:
            issues.append({"code": "custom", "message": "Invalid image", "path": list(path)})
            continue
        small.thumbnail((_SIDE, _SIDE))
        out = io.BytesIO()
        small.save(out, "PNG")
        found.append(Received(str(path[0]), hashlib.sha256(data).hexdigest(), out.getvalue()))
    return issues or tuple(found)


def _data_uris(fields: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name, value in fields.items():
        for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, str) and one.startswith("data:image/"):
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
