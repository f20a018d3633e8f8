"""A queue of jobs as fal has it, below `/queue`: submit, status, result, cancel, and a webhook.

From fal's own pages (queue, webhooks, errors; 2026-11). A job is billed when it is done, and the faults that follow
billing strike the first answer with its result; those before it strike the submission.
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from ...core.providers.spec import Contract, FieldSpec
from ..call_log import Call, Protocol
from ..cdn import inline_bytes
from ..dialect import JsonDialect, token_of
from ..error_bodies import Failure, other_request, out_of_credit
from ..faults import (
    CallFault,
    Endpoint,
    JobDelayed,
    JobDoubled,
    JobFailed,
    JobForgotten,
    JobQuestion,
    SafetyBlock,
    ServerError,
    SimpleFault,
    SlowReply,
)
from ..images import ImageJob
from ..inputs import is_local
from ..paid_endpoint import Job, PaidEndpoint, Settled, failure_of, read_object
from ..state import SandboxState
from ..wire import CutResponse, JsonReply
from . import BASE_PATHS
from .stock import ProtocolStock

_MOST_DELIVERIES = 10
_DELIVERY_SECONDS = 5.0
_PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


def _text(description: str) -> FieldSpec:
    return FieldSpec(kind="text", description=description)


def _number(description: str, minimum: float | None = None, maximum: float | None = None, **more: Any) -> FieldSpec:
    return FieldSpec.model_validate(
        {"kind": "integer", "minimum": minimum, "maximum": maximum, "description": description, **more}
    )


_FIELDS = {
    "num_images": _number("Number of images.", 1, 4, default=1),
    "seed": _number("Seed.", 0),
    "num_inference_steps": _number("Steps.", 1, 50),
    "guidance_scale": _number("How closely the prompt is followed.", 0, 20, kind="number"),
    "enable_safety_checker": FieldSpec(kind="boolean", description="Whether images are filtered."),
    "sync_mode": FieldSpec(kind="boolean", default=False, description="Images as data URIs."),
    "output_format": FieldSpec(kind="choice", choices=("png", "jpeg", "webp"), description="File format."),
    "negative_prompt": _text("What the image is not to show."),
    "resolution": _text("Scale."),
    "image_url": FieldSpec(kind="url", description="An image to begin with."),
    "image_urls": FieldSpec(
        kind="list", minimum=1, maximum=14, items=FieldSpec(kind="url", description="An image."), description="Images."
    ),
}
_SIZE = _number("Size.", 64, 4096, kind="size", choices=tuple(_PRESETS), default="landscape_4_3")
_SOURCE: dict[str, Any] = {"since": "2026-11-01", "source": "fal's pages", "prompt_limit": 32_000}
_SIZED = Contract(**_SOURCE, fields={**_FIELDS, "image_size": _SIZE})
_SHAPED = Contract(**_SOURCE, fields={**_FIELDS, "aspect_ratio": _text("Shape.")})


class QueueDialect(JsonDialect):
    """fal's key and errors."""

    protocol: ClassVar[Protocol] = "queue"

    def key_of(self, request: Request) -> str | None:
        """`Authorization: Key …`."""
        return token_of(request, "key")

    def error(self, failure: Failure) -> tuple[int, Any]:
        """Status and `detail`: a text, or a list of what is wrong with the input."""
        match failure.reason:
            case "no_key" | "key" | "wrong_key":
                return 401, {"detail": "Authentication is required to access this application."}
            case "credit":
                return 403, {"detail": "User is locked. Reason: Exhausted balance."}
            case "blocked":
                message = "The content could not be processed because it was flagged by a content checker."
                return 422, {"detail": [_detail(["body", "prompt"], message, "content_policy_violation")]}
        if isinstance(failure.data, list):
            issues = [_detail(["body", *issue["path"]], issue["message"], issue["code"]) for issue in failure.data]
            return 422, {"detail": issues}
        return failure.status, {"detail": failure.message}

    def headers(self, call: Call, request_id: str) -> dict[str, str]:
        """The id of the HTTP request, which is not the job's."""
        return {"x-fal-request-id": request_id}


def _detail(place: list[Any], message: str, kind: str) -> dict[str, Any]:
    return {"loc": place, "msg": message, "type": kind}


@dataclass(frozen=True)
class _QueueJob(ImageJob):
    inline: bool = False

    def apply(self, fault: CallFault) -> Job | Failure:
        return replace(self, inline=True) if fault.fault == "base64_reply" else super().apply(fault)

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        """The images' URLs, or with `sync_mode` the images as data URIs."""
        images = []
        for image in self.pictures(state, returned):
            url, mime = state.url(image), state.images.content_type
            if self.inline:
                content, mime = await inline_bytes(state, image)
                url = f"data:{mime};base64,{base64.b64encode(content).decode()}"
            images.append(
                {"url": url, "content_type": mime, "width": self.accepted.width, "height": self.accepted.height}
            )
        return {
            "images": images,
            "timings": {"inference": state.options.latency},
            "seed": self.seed,
            "has_nsfw_concepts": [False] * returned,
            "prompt": self.prompt,
        }


@dataclass(slots=True, eq=False)
class _Queued:
    """A job of the queue.

    Attributes:
        url: Where it is asked about.
        call: Its entry in the call log, which is in flight until the job has ended.
        job: What it makes; an error where its input is not valid, which is told with the result.
        status: As the queue tells it.
        result: How it ended.
        questions: How often it was asked about.
        answers: How often its result was told.
    """

    id: str
    url: str
    call: Call
    job: Job | Failure
    fault: CallFault | None
    webhook: str | None
    status: str = "IN_QUEUE"
    result: Settled | Failure | None = None
    questions: int = 0
    answers: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def told(self) -> dict[str, Any]:
        """What every answer about it says."""
        return {
            "status": self.status,
            "request_id": self.id,
            "response_url": self.url,
            "status_url": f"{self.url}/status",
            "cancel_url": f"{self.url}/cancel",
        }


class Queue(PaidEndpoint):
    """Submission, and the questions about jobs."""

    endpoint: Endpoint = "images"
    dialect: QueueDialect = QueueDialect()
    answers_at_once = True

    def __init__(self, state: SandboxState) -> None:
        super().__init__(state)
        self._models = ProtocolStock(state, "queue", _PRESETS)
        self._jobs: dict[str, _Queued] = {}
        self._places = asyncio.Semaphore(state.options.concurrent_calls or 1_000_000)

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check the input of a job."""
        contract = _SHAPED if "aspect_ratio" in body else _SIZED
        job = _QueueJob.of(self._state, body["model"], self._models.find(body["model"], contract), body)
        if isinstance(job, Failure):
            return job
        return replace(job, inline=bool(job.accepted.fields.get("sync_mode")))

    def _read(self, request: Request, raw: bytes, call: Call) -> Job | Failure:
        body = read_object(raw)
        if isinstance(body, Failure):
            return body
        call.model = request.path_params["model"]
        return self.prepare({**body, "model": call.model})

    async def handle(self, request: Request) -> Response:
        """Submit a job, which is in flight until it has ended."""
        with ExitStack() as held:
            return await self._submit(request, held.enter_context(self._log(request)), held)

    async def _submit(self, request: Request, call: Call, held: ExitStack) -> Response:
        webhook = request.query_params.get("fal_webhook")
        job: Job | Failure
        if webhook is not None and not is_local(webhook):
            job = Failure(400, "fal_webhook: the sandbox delivers to loopback addresses only")
        else:
            job = await self._admit(request, call, 0)
        if isinstance(job, Failure) and not _is_told_later(job):
            return self._failed(request, call, job)
        fault = self._fault(call, job) if isinstance(job, Job) else None
        async with self._remembered(request, call) as kept:
            digest = self._digest(request, await request.body())
            if kept.differs(digest):
                return self._failed(request, call, other_request())
            refused = None if isinstance(fault, SafetyBlock) else await self._refused(request, call, fault)
            if refused is not None:
                return refused
            queued: _Queued | None = kept.answer
            call.replayed = queued is not None
            if queued is None:
                job = self._payable(job, fault)
                if isinstance(job, Failure) and not _is_told_later(job):
                    return self._failed(request, call, job)
                queued = self._start(call, job, fault, webhook, held.pop_all())
                if isinstance(fault, JobDoubled):
                    self._double(request, queued)
                kept.keep(digest, queued)
        if call.fault == "lost_submission":
            return self._cut(call)
        call.status = 200
        body = {**queued.told(), "status": "IN_QUEUE", "queue_position": 0}
        return JsonReply(body, call.status, self._headers(call, self._state.new_id()))

    def _payable(self, job: Job | Failure, fault: CallFault | None) -> Job | Failure:
        """The job as its fault changes it, if the balance covers it."""
        if fault is not None and isinstance(job, Job):
            job = job.apply(fault)
        if isinstance(job, Job) and job.count * job.credits_each > self._state.call_log.balance:
            return out_of_credit()
        return job

    def _start(
        self, call: Call, job: Job | Failure, fault: CallFault | None, webhook: str | None, held: ExitStack
    ) -> _Queued:
        """Put a job into the queue; `held` keeps its call in flight."""
        id_ = str(uuid.uuid4())
        # As with fal, what follows the first two parts of a model's name is not in the URLs of its jobs.
        app = "/".join((call.model or "").split("/")[:2])
        url = f"{self._state.origin}{BASE_PATHS['queue']}/{app}/requests/{id_}"
        queued = _Queued(id_, url, call, job, fault, webhook)
        self._jobs[id_] = queued
        queued.task = asyncio.create_task(self._run(queued, held))
        return queued

    def _double(self, request: Request, queued: _Queued) -> None:
        """Run a job a second time, under an id that nobody is told."""
        held = ExitStack()
        call = held.enter_context(self._log(request))
        call.model, call.prompt, call.fault, call.status = queued.call.model, queued.call.prompt, "job_doubled", 200
        self._start(call, queued.job, None, queued.webhook, held)

    async def _run(self, queued: _Queued, held: ExitStack) -> None:
        fault = queued.fault
        with held:
            async with self._places:
                if queued.status != "IN_QUEUE":
                    return
                queued.status = "IN_PROGRESS"
                extra = fault.seconds if isinstance(fault, SlowReply | JobDelayed) else 0.0
                await self._state.simulate_latency(extra)
                queued.result = await self._result(queued)
                queued.status = "COMPLETED"
        if queued.webhook is not None:
            for _ in range(self._state.options.webhook_deliveries):
                await self._deliver(queued, queued.webhook)

    async def _result(self, queued: _Queued) -> Settled | Failure:
        job, fault = queued.job, queued.fault
        if isinstance(job, Failure):
            return job
        failure = failure_of(fault) if isinstance(fault, SafetyBlock) else None
        if isinstance(fault, JobFailed):
            failure = Failure(fault.status, "The job failed", reason="server")
        if failure is not None and not (isinstance(fault, JobFailed) and fault.billed):
            return failure
        settled = await self._settle(queued.call, job, fault)
        return failure or settled

    async def _deliver(self, queued: _Queued, url: str) -> None:
        """Call a webhook, up to ten times until it is accepted."""
        body: dict[str, Any] = {"request_id": queued.id, "gateway_request_id": queued.id}
        if isinstance(queued.result, Settled):
            body |= {"status": "OK", "payload": queued.result.body}
        elif queued.result is not None:
            status, detail = self.dialect.error(queued.result)
            body |= {"status": "ERROR", "error": f"Unexpected status code: {status}", "payload": detail}
        content = json.dumps(body).encode()
        for attempt in range(_MOST_DELIVERIES):
            if await asyncio.to_thread(_post, url, content):
                return
            await asyncio.sleep(0.01 * 2**attempt)

    async def status(self, request: Request) -> Response:
        """`GET …/requests/{id}/status`: 202 until the job has ended."""
        queued = self._asked(request)
        if not isinstance(queued, _Queued):
            return queued
        body = queued.told() | ({"queue_position": 0} if queued.status == "IN_QUEUE" else {"logs": None})
        if isinstance(queued.result, Failure):
            body |= {"error": queued.result.message, "error_type": "request_failed"}
        return JsonReply(body, 200 if queued.status == "COMPLETED" else 202)

    async def result(self, request: Request) -> Response:
        """`GET …/requests/{id}`: the result, or why there is none."""
        queued = self._asked(request)
        if not isinstance(queued, _Queued):
            return queued
        result = queued.result
        if result is None:
            return self.dialect.refuse(Failure(400, "Request is still in progress"), request, queued.id)
        queued.answers += 1
        if isinstance(result, Failure):
            return self.dialect.refuse(result, request, queued.id)
        fault = queued.fault
        lost = isinstance(fault, SimpleFault | ServerError) and queued.answers > 1
        return self._reply(request, queued.call, result, None if lost else fault)

    async def cancel(self, request: Request) -> Response:
        """`PUT …/requests/{id}/cancel`: a job that is being made is made, and billed."""
        queued = self._asked(request)
        if not isinstance(queued, _Queued):
            return queued
        if queued.status == "COMPLETED":
            return JsonReply({"status": "ALREADY_COMPLETED"}, 400)
        if queued.status == "IN_QUEUE":
            queued.status, queued.result = "COMPLETED", Failure(499, "Request was cancelled")
        return JsonReply({"status": "CANCELLATION_REQUESTED"}, 202)

    def _asked(self, request: Request) -> _Queued | Response:
        """The job that a question is about; else the answer to it."""
        key = self.dialect.key_of(request)
        refusal = self._state.refusal(key)
        queued = self._jobs.get(request.path_params["id"])
        failure = refusal
        if failure is None and (queued is None or queued.call.key != self._state.fingerprint(key)):
            failure = Failure(404, "Request not found")
        if failure is None and queued is not None:
            queued.questions += 1
            match queued.fault:
                case JobForgotten(questions=most) if queued.questions > most:
                    failure = Failure(404, "Request not found")
                case JobQuestion(status=None, first_attempts=first) if queued.questions <= first:
                    return CutResponse()
                case JobQuestion(status=int() as status, first_attempts=first) if queued.questions <= first:
                    failure = Failure(status, "The queue is not available", reason="server")
        if failure is not None or queued is None:
            return self.dialect.refuse(failure or Failure(404, "Request not found"), request, self._state.new_id())
        return queued


def _is_told_later(failure: Failure) -> bool:
    """Whether an error is one of the input, which the queue does not look at."""
    return failure.data is not None and failure.reason == "request"


def _post(url: str, content: bytes) -> bool:
    """Call a webhook; whether it was accepted."""
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_DELIVERY_SECONDS):
            return True
    except (OSError, HTTPException):
        return False
