"""Gemini: `POST models/{model}:generateContent`, `GET models`, below `/gemini/v1beta`.

Fields, replies and reasons to end as Google's own client for Python describes them (`google-genai` 3.6, 2026-11).
Images are in the replies; a filter is told in a reply of status 200.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from ...core.providers.spec import Contract, FieldSpec
from ..call_log import Call, Protocol
from ..cdn import inline_bytes
from ..dialect import Dialect, JsonDialect
from ..error_bodies import Failure, unknown_model
from ..faults import CallFault, Endpoint, SafetyBlock
from ..images import ImageJob
from ..inputs import Came, Distant, is_local, look
from ..paid_endpoint import Job, PaidEndpoint, read_object
from ..state import SandboxState
from ..wire import JsonReply
from .stock import ProtocolStock

_RATIOS = ("1:1", "1:4", "4:1", "1:8", "8:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_CONTRACT = Contract(
    since="2026-11-01",
    source="the Google client for Python, google-genai 3.6",
    fields={
        "aspectRatio": FieldSpec(kind="choice", choices=_RATIOS, means="aspect_ratio", description="Shape."),
        "imageSize": FieldSpec(
            kind="choice", choices=("1K", "2K", "4K"), default="1K", means="resolution", description="Scale."
        ),
        "seed": FieldSpec(kind="integer", description="Seed."),
        "candidateCount": FieldSpec(kind="integer", minimum=1, maximum=1, description="Number of images."),
        "temperature": FieldSpec(kind="number", minimum=0, maximum=2, description="Randomness."),
    },
)
_KNOWN: Mapping[str, frozenset[str]] = {
    "": frozenset({"contents", "generationConfig", "safetySettings", "systemInstruction", "tools", "toolConfig"}),
    "generationConfig": frozenset(
        {"responseModalities", "imageConfig", "candidateCount", "seed", "temperature", "topP", "topK"}
    ),
    "imageConfig": frozenset({"aspectRatio", "imageSize", "personGeneration"}),
}
_IMAGE_TOKENS = {"1K": 1120, "2K": 1120, "4K": 2000}
_CHARACTERS_PER_TOKEN = 4
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    504: "DEADLINE_EXCEEDED",
}
_URL_SAFE = str.maketrans("-_", "+/")
_TYPES = "type.googleapis.com/google.rpc."


class GeminiDialect(JsonDialect):
    """Google's key and errors."""

    protocol: ClassVar[Protocol] = "gemini"

    def key_of(self, request: Request) -> str | None:
        """The header `x-goog-api-key`, or `key` in the query."""
        return request.headers.get("x-goog-api-key") or request.query_params.get("key")

    def error(self, failure: Failure) -> tuple[int, Any]:
        """Status and body, with the status's name and details."""
        status, message = failure.status, failure.message
        details: list[dict[str, Any]] = []
        match failure.reason:
            case "no_key":
                status, message = 403, "Method doesn't allow unregistered callers. Please use an API key."
            case "wrong_key":
                # A 400, and only the details say what is meant.
                status, message = 400, "API key not valid. Please pass a valid API key."
                details = [{"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
            case "key":
                message = "Request had invalid authentication credentials."
            case "credit":
                status, message = 429, "Your prepayment credits are depleted."
            case "rate":
                message = "Resource has been exhausted (e.g. check quota)."
                if "retry-after" in failure.headers:
                    details = [{"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{failure.headers['retry-after']}s"}]
            case "model":
                message += " for API version v1beta, or is not supported for generateContent."
            case "server":
                message = "The model is overloaded. Please try again later."
        if isinstance(failure.data, list) and failure.data:
            message = f"{'.'.join(map(str, failure.data[0]['path']))}: {failure.data[0]['message']}"
        error = {"code": status, "message": message, "status": _STATUSES.get(status, "UNAVAILABLE")}
        return status, {"error": error | ({"details": details} if details else {})}

    def refuse(
        self, failure: Failure, request: Request, request_id: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The reply to a request that failed; when to come back is in its body alone."""
        status, body = self.error(failure)
        return JsonReply(body, status, headers)

    def headers(self, call: Call, request_id: str) -> dict[str, str]:
        """None with an id: the body has one."""
        return {"server-timing": "gfet4t7; dur=1"}


_DIALECT = GeminiDialect()


@dataclass(frozen=True)
class _GeminiJob(ImageJob):
    """A request for one image.

    Attributes:
        talks: Whether text comes with the image.
        blocked: How a filter stops it.
    """

    talks: bool = True
    blocked: str = ""

    def apply(self, fault: CallFault) -> Job | Failure:
        return replace(self, blocked=fault.form) if isinstance(fault, SafetyBlock) else super().apply(fault)

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        """One candidate with the image; without one, the reason."""
        asked, made = state.stock.tokens(self.resolved.spec, self.prompt)
        asked = (asked or -(-len(self.prompt) // _CHARACTERS_PER_TOKEN)) * returned
        made = (made or _IMAGE_TOKENS[str(self.accepted.fields["imageSize"])]) * returned
        usage: dict[str, Any] = {
            "promptTokenCount": asked,
            "candidatesTokenCount": made,
            "totalTokenCount": asked + made,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": made}],
        }
        body: dict[str, Any] = {"usageMetadata": usage, "modelVersion": self.model, "responseId": state.new_id()}
        if self.blocked == "null_200":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **body}
        if not returned:
            reason = "IMAGE_SAFETY" if self.blocked else "NO_IMAGE"
            return {"candidates": [{"finishReason": reason, "index": 0}], **body}
        parts: list[dict[str, Any]] = [{"text": f"Here is: {self.prompt[:80]}"}] if self.talks else []
        for image in self.pictures(state, returned):
            content, mime = await inline_bytes(state, image)
            parts.append({"inlineData": {"mimeType": mime, "data": base64.b64encode(content).decode()}})
        return {
            "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
            **body,
        }


class GenerateContent(PaidEndpoint):
    """`POST models/{model}:generateContent`, for models that make images."""

    endpoint: Endpoint = "images"
    dialect: Dialect = _DIALECT

    def __init__(self, state: SandboxState) -> None:
        super().__init__(state)
        self.stock = ProtocolStock(state, "gemini")

    def _read(self, request: Request, raw: bytes, call: Call) -> Job | Failure:
        body = read_object(raw)
        call.model = request.path_params["model"]
        if isinstance(body, Failure):
            return body
        inputs = _images(body)
        if isinstance(inputs, Failure):
            return inputs
        job = self.prepare({**body, "model": call.model})
        return replace(job, inputs=inputs) if isinstance(job, ImageJob) else job

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check a body; a field that does not exist is refused."""
        model = body["model"]
        config = body.get("generationConfig") or {}
        shape = config.get("imageConfig") or {}
        for place, found in (("", body), ("generationConfig", config), ("imageConfig", shape)):
            unknown = next((name for name in found if name != "model" and name not in _KNOWN[place]), None)
            if unknown is not None:
                at = f" at '{place}'" if place else ""
                return Failure(400, f'Invalid JSON payload received. Unknown name "{unknown}"{at}: Cannot find field.')
        modalities = config.get("responseModalities", ["TEXT", "IMAGE"])
        if "IMAGE" not in modalities:
            return Failure(400, "The sandbox makes images only: responseModalities has to name IMAGE")
        fields = {
            name: value for name, value in {**config, **shape}.items() if name in _CONTRACT.fields and value is not None
        }
        found = self.stock.find(model, _CONTRACT)
        job = _GeminiJob.of(self._state, model, found, {**fields, "prompt": _prompt(body)})
        return job if isinstance(job, Failure) else replace(job, talks="TEXT" in modalities)


class GeminiModels:
    """`GET models` and `GET models/{model}`."""

    def __init__(self, state: SandboxState, stock: ProtocolStock) -> None:
        self._state = state
        self._stock = stock

    async def models(self, request: Request) -> Response:
        """Every model that can be called, or the one that is named."""
        wanted = request.path_params.get("model")
        rows = [
            {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "supportedGenerationMethods": ["generateContent"],
            }
            for name in self._stock.list_names()
            if wanted in (None, name)
        ]
        failure = self._state.refusal(_DIALECT.key_of(request))
        if failure is None and wanted is not None and not rows:
            failure = unknown_model(f"models/{wanted}")
        if failure is not None:
            return _DIALECT.refuse(failure, request, self._state.new_id())
        return JsonReply(rows[0] if wanted is not None else {"models": rows})


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of the last turn."""
    contents = body.get("contents")
    last = contents[-1] if isinstance(contents, list) and contents else contents
    parts = last.get("parts") if isinstance(last, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _prompt(body: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in _parts(body) if isinstance(part.get("text"), str))


def _images(body: Mapping[str, Any]) -> Came | Failure:
    """The images that are in a request, or that it names."""
    found: list[Any] = []
    for part in _parts(body):
        file = part.get("fileData", part.get("file_data"))
        address = file.get("fileUri", file.get("file_uri")) if isinstance(file, dict) else None
        if isinstance(address, str) and is_local(address):
            found.append(Distant("fileData", address))
        given = part.get("inlineData", part.get("inline_data"))
        if not isinstance(given, dict):
            continue
        try:
            # Both alphabets, as wherever Google reads JSON; its own client writes the other one.
            text = str(given.get("data")).translate(_URL_SAFE)
            one = look("inlineData", base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        except binascii.Error:
            return Failure(400, "Base64 decoding failed for inlineData.data")
        if one is None:
            return Failure(400, "Unable to process input image.")
        found.append(one)
    return tuple(found)
