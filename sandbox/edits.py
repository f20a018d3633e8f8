"""The endpoints for edits, to which pictures come as files of a form or as JSON: OpenAI's and the AI/ML API's."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from starlette.requests import Request

from .call_log import Call
from .error_bodies import Failure, invalid_payload, unknown_model
from .images import ImageJob
from .inputs import Distant, Received, is_local, look
from .paid_endpoint import Job, PaidEndpoint, read_object
from .state import SandboxState
from .validation import MISSING, type_issue

_MOST_INPUTS = 16
_INPUTS = frozenset({"image", "image[]", "images", "mask"})
_Images = list[Received | Distant | None]
"""None for one that cannot be decoded."""


class Edits(PaidEndpoint):
    """`POST images/edits`: requests for images with images to begin with, as a form or as JSON.

    Args:
        state: Of the sandbox.
        generations: The endpoint for images without: it knows the fields, the prices and the words of its API.
    """

    def __init__(self, state: SandboxState, generations: PaidEndpoint) -> None:
        super().__init__(state)
        self._generations = generations
        self.endpoint, self.dialect = generations.endpoint, generations.dialect

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body, as for images without."""
        return self._generations.prepare(body)

    def _digest(self, request: Request, raw: bytes) -> str:
        # The boundary of a form is another one in each request.
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"')
        return super()._digest(request, raw.replace(boundary.encode(), b"") if boundary else raw)

    def _read(self, request: Request, raw: bytes, call: Call) -> Job | Failure:
        content_type = request.headers.get("content-type", "")
        read = _read_form(content_type, raw) if content_type.startswith("multipart/") else _read_json(raw)
        if isinstance(read, Failure):
            return read
        body, images = read
        if not 1 <= len(images) <= _MOST_INPUTS:
            return invalid_payload(
                [openai_issue("image", "missing_required_parameter", f"1 to {_MOST_INPUTS} images are needed")]
            )
        inputs = tuple(one for one in images if one is not None)
        if len(inputs) < len(images):
            message = f"Invalid image file or mode for image {images.index(None) + 1}"
            return invalid_payload([openai_issue("image", "invalid_image_file", message)])
        model = body.get("model", MISSING)
        if not isinstance(model, str):
            return invalid_payload([type_issue(("model",), "string", model)])
        call.model = model
        job = self.prepare(body)
        return replace(job, inputs=inputs) if isinstance(job, ImageJob) else job


def openai_issue(name: str, code: str, message: str) -> dict[str, Any]:
    return {"code": "custom", "openai_code": code, "path": [name], "message": message}


def _read_form(content_type: str, raw: bytes) -> tuple[dict[str, Any], _Images]:
    """The fields and the images of a multipart form (RFC 7578)."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw)
    body: dict[str, Any] = {}
    images: _Images = []
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = bytes(part.get_payload(decode=True) or b"")
        if name in _INPUTS:
            images.append(look(name.removesuffix("[]"), content))
            continue
        text = content.decode("utf-8", "replace")
        body[name] = int(text) if text.isdecimal() and name in ("n", "seed", "output_compression") else text
    return body, images


def _read_json(raw: bytes) -> tuple[dict[str, Any], _Images] | Failure:
    """The fields of a JSON body and its images, which are data URIs or addresses."""
    body = read_object(raw)
    if isinstance(body, Failure):
        return body
    given = [(name, value) for name in sorted(_INPUTS) for value in _listed(body.pop(name, None))]
    images: _Images = []
    for name, value in given:
        address = (value.get("image_url") or value.get("url")) if isinstance(value, dict) else value
        if isinstance(address, str) and is_local(address):
            images.append(Distant(name, address))
            continue
        head, _, data = address.partition(",") if isinstance(address, str) else ("", "", "")
        try:
            images.append(look(name, base64.b64decode(data, validate=True)) if head.startswith("data:image/") else None)
        except binascii.Error:
            images.append(None)
    return body, images


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


class ImageEdits(Edits):
    """`POST /v1/images/edits` of the AI/ML API: the models that take pictures as files."""

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body; other models are not to be had here."""
        resolved = self._state.model(body["model"])
        if resolved is not None and resolved.contract.inputs.by != "form":
            return unknown_model(body["model"])
        return super().prepare(body)
