"""The client of OpenAI's images endpoint: OpenAI, Azure, gateways, and servers of one's own."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

from ..client import ImageClient, WireRequest, take_files
from ..errors import BadKey, status_error
from ..request import ImageRequest


class OpenAiClient(ImageClient):
    """`POST {base}/images/generations`; with pictures, `images/edits` (platform.openai.com, API reference, images)."""

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        body = request.body(seed=seed)
        files = take_files(body, several="image[]")
        if not files:
            return WireRequest("/images/generations", body)
        if all(uri.startswith("data:") for _, uri in files):
            return WireRequest("/images/edits", body, files)
        # An address that the user gave: a form has no place for it, and JSON is not taken by every server.
        addresses = {name: {"image_url": uri} for name, uri in files if name == "mask"}
        pictures = [{"image_url": uri} for name, uri in files if name != "mask"]
        return WireRequest("/images/edits", {**body, "images": pictures, **addresses})

    def check_key(self) -> Decimal | None:
        """`GET {base}/models`. A server without that list, or one that keeps it to itself, may still make images."""
        answer = self._get(f"{urlsplit(self.base_url).path}/models", key=True)
        error = status_error(answer.status, answer.body) if answer.status >= 400 else None
        if isinstance(error, BadKey):
            raise error
        return None
