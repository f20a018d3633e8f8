"""What can go wrong between the bytes of an image and a verified file. Errors of downloads: `core.http.errors`."""

from __future__ import annotations

from ..errors import ImagenError


class NotAnImage(ImagenError):
    """A file is not a whole, decodable PNG, JPEG or WebP image. `reason` names what it is instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
