"""The client of OpenAI's images endpoint: OpenAI, Azure, gateways, and servers of one's own."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

from ..client import ImageClient, WireRequest
from ..errors import BadKey, status_error
from ..request import ImageRequest


class OpenAiClient(ImageClient):
    """`POST {base}/images/generations`; with pictures, `images/edits` (platform.openai.com, API reference, images)."""

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        body = request.body(seed=seed)
        pictures, mask = body.pop("images", None) or [], body.pop("mask", None)
        if not pictures:
            return WireRequest("/images/generations", body)
        files = [("image[]" if len(pictures) > 1 else "image", picture) for picture in pictures]
        files += [("mask", mask)] if mask else []
        if all(uri.startswith("data:") for _, uri in files):
            return WireRequest("/images/edits", body, files)
        # An address that the user gave: a form has no place for it, and JSON is not taken by every server.
        addresses = {"images": [{"image_url": uri} for uri in pictures], "mask": {"image_url": mask} if mask else None}
        return WireRequest("/images/edits", {**body, **{name: one for name, one in addresses.items() if one}})

    def check_key(self) -> Decimal | None:
        """`GET {base}/models`. A server without that list, or one that keeps it to itself, may still make images."""
        answer = self._get(f"{urlsplit(self.base_url).path}/models", key=True)
        error = status_error(answer.status, answer.body) if answer.status >= 400 else None
        if isinstance(error, BadKey):
            raise error
        return None
