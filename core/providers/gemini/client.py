"""The client of Google's `generateContent`: the picture is a part of the answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

from ...http.exchange import KeyAuth
from ..client import ImageClient, WireRequest
from ..errors import BadKey, status_error
from ..request import ImageRequest

_IN_IMAGE_CONFIG = {"aspect_ratio": "aspectRatio", "resolution": "imageSize"}


class GeminiClient(ImageClient):
    """`POST {base}/models/{model}:generateContent` (ai.google.dev, API reference, generateContent)."""

    default_path = "/v1beta"

    def authentication(self, key: str) -> KeyAuth:
        return KeyAuth(key, "x-goog-api-key", "")

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        parameters = dict(request.parameters)
        pictures = parameters.pop("images", None) or []
        image = {wire: parameters.pop(name) for name, wire in _IN_IMAGE_CONFIG.items() if name in parameters}
        config: dict[str, Any] = {"responseModalities": ["IMAGE"], **parameters}
        if image:
            config["imageConfig"] = image
        if seed is not None and "seed" in request.model.contract.fields:
            config["seed"] = seed
        parts = [{"text": request.prompt}, *map(_part, pictures)]
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        return WireRequest(f"/models/{quote(request.model.wire_model)}:generateContent", body)

    def check_key(self) -> Decimal | None:
        """`GET {base}/models`: a bad key is a 400 here, with a reason of its own."""
        answer = self._get(f"{urlsplit(self.base_url).path}/models?pageSize=1", key=True)
        error = status_error(answer.status, answer.body) if answer.status >= 400 else None
        if isinstance(error, BadKey):
            raise error
        return None


def _part(uri: str) -> dict[str, Any]:
    """A picture of a request: its data, or where it is."""
    if not uri.startswith("data:"):
        return {"fileData": {"fileUri": uri}}
    head, _, data = uri.partition(",")
    return {"inlineData": {"mimeType": head.removeprefix("data:").removesuffix(";base64"), "data": data}}
