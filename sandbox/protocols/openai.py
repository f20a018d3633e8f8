"""OpenAI's images: `POST images/generations`, `POST images/edits`, `GET models`, below `/openai/v1`.

Parameters and replies as OpenAI's own client for Python describes them (`openai` 3.57, 2026-11). What providers of the
same protocol have beside that is accepted, too: `response_format`, `seed`, xAI's `aspect_ratio`.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from ...core.providers.spec import Contract, FieldSpec
from ..call_log import Protocol
from ..cdn import inline_bytes
from ..dialect import Dialect, JsonDialect
from ..edits import openai_issue
from ..error_bodies import Failure, invalid_payload
from ..faults import Endpoint
from ..images import ImageJob
from ..paid_endpoint import Job, PaidEndpoint
from ..state import SandboxState
from ..wire import JsonReply
from .stock import ProtocolStock

_CHARACTERS_PER_TOKEN = 4
_PIXELS_PER_TOKEN = 1024
_QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")


def _text(description: str, default: str | None = None) -> FieldSpec:
    return FieldSpec(kind="text", default=default, description=description)


def _choice(description: str, default: str | None, *choices: str) -> FieldSpec:
    return FieldSpec(kind="choice", choices=choices, default=default, description=description)


def _integer(description: str, minimum: int | None, maximum: int | None, default: int | None = None) -> FieldSpec:
    return FieldSpec(kind="integer", minimum=minimum, maximum=maximum, default=default, description=description)


_CONTRACT = Contract(
    since="2026-11-01",
    source="the OpenAI client for Python, 3.57",
    prompt_limit=32_000,
    fields={
        "n": _integer("Number of images.", 1, 10, 1),
        "size": _text("Width and height in pixels, or a shape."),
        "quality": _choice("Effort.", None, *_QUALITIES),
        "background": _choice("Background.", None, "auto", "opaque", "transparent"),
        "moderation": _choice("Strictness of the filter.", None, "auto", "low"),
        "output_format": _choice("File format.", None, "png", "jpeg", "webp"),
        "output_compression": _integer("Compression in per cent.", 0, 100),
        "response_format": _choice("What the reply carries.", None, "url", "b64_json"),
        "input_fidelity": _choice("How closely inputs are kept.", None, "low", "high"),
        "style": _choice("Style.", None, "vivid", "natural"),
        "complexity": _choice("Effort spent on planning.", None, "low", "medium", "high"),
        "seed": _integer("Seed, where a server has one.", 0, None),
        "resolution": _text("Scale, where a server has it."),
        "user": _text("The caller's user."),
        "safety_identifier": _text("The caller's user."),
        "stream": FieldSpec(kind="boolean", description="Whether parts are sent."),
        "partial_images": _integer("Number of parts.", 0, 3),
    },
)
_PARAMETERS = frozenset({"model", "prompt", "aspect_ratio", *_CONTRACT.fields})
_SIZE = re.compile(r"[1-9]\d{1,3}x[1-9]\d{1,3}|auto")
_SHAPE = re.compile(r"[1-9]\d?(\.\d+)?:[1-9]\d?(\.\d+)?|auto")


class OpenAIDialect(JsonDialect):
    """OpenAI's errors."""

    protocol: ClassVar[Protocol] = "openai"

    def error(self, failure: Failure) -> tuple[int, Any]:
        """Status and body, with OpenAI's type and code."""
        status, kind, code, message = failure.status, "invalid_request_error", None, failure.message
        match failure.reason:
            case "no_key":
                message = "You didn't provide an API key. Provide it in an Authorization header: Bearer YOUR_KEY"
            case "key" | "wrong_key":
                code, message = "invalid_api_key", "Incorrect API key provided."
            case "model":
                code = "model_not_found"
            case "credit":
                # A 429, although no waiting helps.
                status, kind, code = 429, "insufficient_quota", "insufficient_quota"
                message = "You exceeded your current quota, please check your plan and billing details."
            case "rate":
                kind, code, message = "requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."
            case "blocked":
                kind, code = "image_generation_user_error", "moderation_blocked"
                message = "Your request was rejected by the safety system."
            case "server":
                kind, message = "server_error", "The server had an error while processing your request."
        parameter = None
        if isinstance(failure.data, list) and failure.data:
            issue = failure.data[0]
            parameter = ".".join(map(str, issue["path"])) or None
            missing = issue.get("received") == "undefined"
            code = issue.get("openai_code") or ("missing_required_parameter" if missing else "invalid_value")
            message = f"Invalid value for '{parameter}': {issue['message']}."
        return status, {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


_DIALECT = OpenAIDialect()


@dataclass(frozen=True)
class _OpenAIJob(ImageJob):
    urls: bool = False

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        """OpenAI's reply: the images themselves, or their URLs."""
        data, mime = [], state.images.content_type
        for image in self.pictures(state, returned):
            if self.urls:
                data.append({"url": state.url(image)})
                continue
            content, mime = await inline_bytes(state, image)
            data.append({"b64_json": base64.b64encode(content).decode()})
        asked, made = state.stock.tokens(self.resolved.spec, self.prompt)
        made = made or -(-self.accepted.width * self.accepted.height // _PIXELS_PER_TOKEN)
        asked, tokens = (asked or -(-len(self.prompt) // _CHARACTERS_PER_TOKEN)) * returned, made * returned
        return {
            "created": int(time.time()),
            "background": self.accepted.fields.get("background", "opaque"),
            "data": data,
            "output_format": mime.partition("/")[2],
            "quality": self.accepted.fields.get("quality", "medium"),
            "size": f"{self.accepted.width}x{self.accepted.height}",
            "usage": {
                "input_tokens": asked,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": asked},
                "output_tokens": tokens,
                "total_tokens": asked + tokens,
            },
        }


class OpenAIImages(PaidEndpoint):
    """`POST images/generations`."""

    endpoint: Endpoint = "images"
    dialect: Dialect = _DIALECT

    def __init__(self, state: SandboxState) -> None:
        super().__init__(state)
        self.stock = ProtocolStock(state, "openai")

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body; a parameter that does not exist is refused, unlike by the AI/ML API."""
        model = body["model"]
        absent = {"response_format"} if model.startswith("gpt-image") else set()
        for name in body:
            if name not in _PARAMETERS or name in absent:
                return invalid_payload([openai_issue(name, "unknown_parameter", "Unknown parameter")])
        if body.get("stream"):
            return invalid_payload([openai_issue("stream", "invalid_value", "The sandbox does not stream")])
        # null stands for the default.
        given = {name: value for name, value in body.items() if value is not None}
        for name, form in (("size", _SIZE), ("aspect_ratio", _SHAPE)):
            value = given.pop(name, "auto")
            if not isinstance(value, str) or not form.fullmatch(value):
                return invalid_payload([openai_issue(name, "invalid_value", f"{value!r} is no {name}")])
            if value != "auto":
                given["size"] = value
        job = _OpenAIJob.of(self._state, model, self.stock.find(model, _CONTRACT), given)
        if isinstance(job, Failure):
            return job
        return replace(job, urls=job.accepted.fields.get("response_format") == "url")


class OpenAIModels:
    """`GET models`."""

    def __init__(self, state: SandboxState, stock: ProtocolStock) -> None:
        self._state = state
        self._stock = stock

    async def models(self, request: Request) -> Response:
        """Every model that can be called."""
        refusal = self._state.refusal(_DIALECT.key_of(request))
        if refusal is not None:
            return _DIALECT.refuse(refusal, request, self._state.new_id())
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in self._stock.list_names()
        ]
        return JsonReply({"object": "list", "data": rows})
