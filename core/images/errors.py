"""What can go wrong between the bytes of an image and a verified file. Errors of downloads: `core.http.errors`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImagenError


@dataclass(eq=False, repr=False)
class NotAnImage(ImagenError):
    """A file is not a whole, decodable PNG, JPEG or WebP image. `reason` names what it is instead."""

    reason: str
