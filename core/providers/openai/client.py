"""The client of OpenAI's images endpoint: OpenAI, Azure, gateways, and servers of one's own."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

from ..client import ImageClient, WireRequest
from ..errors import BadKey, status_error
from ..request import ImageRequest


class OpenAiClient(ImageClient):
    """`POST {base}/images/generations` (platform.openai.com, API reference, images)."""

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        return WireRequest("/images/generations", request.body(seed=seed))

    def check_key(self) -> Decimal | None:
        """`GET {base}/models`. A server without that list, or one that keeps it to itself, may still make images."""
        answer = self._get(f"{urlsplit(self.base_url).path}/models", key=True)
        if answer.status in (401, 403):
            error = status_error(answer.status, answer.body)
            if isinstance(error, BadKey):
                raise error
        return None
