"""What the paid endpoints share: key, body, faults, latency, billing and headers, in the order of the API."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..core.money import credits_to_usd
from .call_log import Call
from .dialect import AimlapiDialect, Dialect
from .error_bodies import (
    GENERIC_SERVER_ERROR,
    Failure,
    invalid_payload,
    missing_key,
    other_body,
    other_request,
    out_of_credit,
)
from .faults import (
    CallFault,
    Endpoint,
    FewerImages,
    OddReply,
    OtherError,
    RateLimited,
    SafetyBlock,
    ServerError,
    SimpleFault,
    SlowReply,
)
from .odd_replies import odd_reply
from .replays import Remembered
from .state import SandboxState
from .validation import MISSING, type_issue
from .wire import CutResponse, JsonReply, TruncatedResponse, event_response, html_response

# Anything else is ignored silently (AI/ML API docs, request tracing, 2026-08).
_CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_BLOCKED = (
    "The prompt could not be submitted. This prompt contains sensitive words that violate the provider's "
    "Responsible AI practices. Try rephrasing the prompt."
)


_BILLED_PAGES = {"bad_gateway_billed": 502, "gateway_timeout_billed": 524, "html_200": 200}


def usage_of(credits_: int) -> dict[str, Any]:
    """The `meta` of a reply: the price of the call in credits and in US dollars."""
    return {"usage": {"credits_used": credits_, "usd_spent": float(credits_to_usd(credits_))}}


class Job(ABC):
    """A valid request to a paid endpoint.

    Attributes:
        model: Model id as it was sent.
        prompt: The prompt, or the last message of a chat.
        count: Images that were asked for; 1 for a chat.
        credits_each: Price in credits of one image, or of the chat.
    """

    model: str
    prompt: str
    count: int
    credits_each: int

    @property
    def input_hashes(self) -> tuple[str, ...]:
        """SHA-256 of each picture that came with it."""
        return ()

    async def fetched(self) -> Job | Failure:
        """This job with what has to be fetched for it."""
        return self

    def apply(self, fault: CallFault) -> Job | Failure:
        """This job as a fault changes it; faults of the connection and of billing are handled elsewhere."""
        return self

    @abstractmethod
    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        """The JSON of a successful reply with `returned` images; a fault can make them fewer than `count`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a billed call is answered with, before anything happens to the answer on its way."""

    body: Any
    status: int
    credits: int
    returned: int


class PaidEndpoint(ABC):
    """A POST that costs money."""

    endpoint: Endpoint
    dialect: Dialect = AimlapiDialect()
    answers_at_once = False
    """Whether the latency is not that of the reply, but of what it announces."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    @abstractmethod
    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Validate a body. The model is known to be a string."""

    async def handle(self, request: Request) -> Response:
        """Answer a request and log it."""
        with self._log(request) as call:
            return await self._answer(request, call)

    def _log(self, request: Request) -> AbstractContextManager[Call]:
        """The log's entry of a request, which counts as in flight until the context ends."""
        offered = request.headers.get("x-client-request-id", "")
        client_id = offered if _CLIENT_REQUEST_ID.fullmatch(offered) else None
        key = self._state.fingerprint(self.dialect.key_of(request))
        return self._state.call_log.call(self.endpoint, self._state.new_id(), client_id, key, self.dialect.protocol)

    async def _answer(self, request: Request, call: Call) -> Response:
        job = await self._admit(request, call, self._state.call_log.in_flight)
        if isinstance(job, Failure):
            return self._failed(request, call, job)
        fault = self._fault(call, job)
        async with self._remembered(request, call) as kept:
            digest = self._digest(request, await request.body())
            if kept.differs(digest):
                return self._failed(request, call, other_request())
            refused = await self._refused(request, call, fault)
            if refused is not None:
                return refused
            settled = kept.answer
            if settled is None:
                changed = job.apply(fault) if fault is not None else job
                settled = changed if isinstance(changed, Failure) else await self._settle(call, changed, fault)
                if isinstance(settled, Failure):
                    return self._failed(request, call, settled)
                kept.keep(digest, settled)
            else:
                call.replayed = True
        return self._reply(request, call, settled, fault)

    async def _admit(self, request: Request, call: Call, in_flight: int) -> Job | Failure:
        """The job of a request: its key is accepted, the limits allow it, and its body is valid."""
        refusal = self._state.refusal(self.dialect.key_of(request))
        raw = await request.body()
        if refusal:
            return refusal
        wait = self._state.rate_limit.try_acquire(in_flight)
        if wait is not None:
            headers = {"retry-after": str(wait)} if self._state.options.rate_retry_after else {}
            return Failure(429, "Too Many Requests", headers=headers, reason="rate")
        job = self._read(request, raw, call)
        if not isinstance(job, Failure):
            call.prompt = job.prompt
        return job

    def _fault(self, call: Call, job: Job) -> CallFault | None:
        fault = self._state.faults.for_call(self.endpoint, job.model, job.prompt)
        call.fault = fault.fault if fault else None
        return fault

    @asynccontextmanager
    async def _remembered(self, request: Request, call: Call) -> AsyncIterator[Remembered]:
        """What is remembered of the request's idempotency key."""
        if self.dialect.takes_keys and self._state.options.idempotency == "replay":
            call.idempotency_key = request.headers.get("idempotency-key") or None
        async with self._state.replays.claim(call.key, call.idempotency_key) as kept:
            yield kept

    async def _refused(self, request: Request, call: Call, fault: CallFault | None) -> Response | None:
        """The reply to a call that is not billed because of a fault; None after its latency if it goes on."""
        if isinstance(fault, OtherError) or call.fault == "forbidden_page":
            return await self._refuse(call, fault)
        if not self.answers_at_once and call.fault not in ("rate_limited", "unauthorized"):  # refused at once
            await self._state.simulate_latency(fault.seconds if isinstance(fault, SlowReply) else 0.0)
        if call.fault == "cut_before_billing":
            return self._cut(call)
        failure = failure_of(fault)
        return None if failure is None else self._failed(request, call, failure)

    def _digest(self, request: Request, raw: bytes) -> str:
        """What two requests have in common that are the same."""
        return hashlib.sha256(raw).hexdigest()

    def _read(self, request: Request, raw: bytes, call: Call) -> Job | Failure:
        """Read a body, which is JSON and names its model unless a protocol says otherwise."""
        body = read_object(raw)
        if isinstance(body, Failure):
            return body
        model = body.get("model", MISSING)
        if not isinstance(model, str):
            return invalid_payload([type_issue(("model",), "string", model)])
        call.model = model
        return self.prepare(body)

    async def _settle(self, call: Call, job: Job, fault: CallFault | None) -> Settled | Failure:
        """Bill a call, and make the answer to it."""
        ready = await job.fetched()
        if isinstance(ready, Failure):
            return ready
        job = ready
        call.inputs = job.input_hashes
        returned = billed = job.count
        if isinstance(fault, FewerImages):
            returned = max(0, job.count - fault.drop)
            billed = job.count if fault.billed == "requested" else returned
        elif isinstance(fault, SafetyBlock):
            returned = 0
            billed = job.count if fault.billed else 0
        elif isinstance(fault, OddReply) and fault.form == "error":
            returned = billed = 0
        if not self._state.call_log.charge(call, billed * job.credits_each, billed):
            return out_of_credit()
        body: Any = await job.reply(self._state, returned, call.credits)
        if isinstance(fault, SafetyBlock) and fault.form == "null_200":
            body = {name: value or None if isinstance(value, list) else value for name, value in body.items()}
        status: int = self._state.options.success_status
        if isinstance(fault, OddReply):
            body = odd_reply(fault.form, body)
            status = 202 if fault.form == "accepted" else status
        return Settled(body, status, call.credits, returned)

    def _reply(self, request: Request, call: Call, settled: Settled, fault: CallFault | None) -> Response:
        """Send the answer to a billed call, or break after billing."""
        name = fault.fault if fault is not None else ""
        if name == "cut_after_billing":
            return self._cut(call)
        if name in _BILLED_PAGES:
            call.status = _BILLED_PAGES[name]
            return html_response(call.status)
        if isinstance(fault, ServerError):
            return self._failed(request, call, _server_error(fault))
        call.returned, call.status = settled.returned, settled.status
        headers = self._headers(call, self._state.new_id())
        if self._state.options.cost_headers and not (isinstance(fault, OddReply) and "meta" not in settled.body):
            headers |= self.dialect.cost_headers(settled.credits)
        reply = JsonReply(settled.body, call.status, headers)
        if isinstance(fault, OddReply) and fault.form == "events":
            return event_response(bytes(reply.body), headers)
        if name == "truncated_reply_billed":
            call.cut = True
            cut = TruncatedResponse(reply.body, call.status)
            cut.raw_headers = reply.raw_headers
            return cut
        return reply

    async def _refuse(self, call: Call, fault: CallFault | None) -> Response:
        """Refuse in words that are not the API's."""
        if not self.answers_at_once:
            await self._state.simulate_latency(0.0)
        call.status = fault.status if isinstance(fault, OtherError) else 403
        if not isinstance(fault, OtherError) or fault.envelope == "page":
            return html_response(call.status)
        return JsonReply(other_body(fault.envelope, fault.code), call.status)

    def _failed(self, request: Request, call: Call, failure: Failure) -> Response:
        request_id = self._state.new_id()
        reply = self.dialect.refuse(failure, request, request_id, self._headers(call, request_id))
        call.status = reply.status_code
        return reply

    def _headers(self, call: Call, request_id: str) -> dict[str, str]:
        call.request_id = request_id
        return self.dialect.headers(call, request_id)

    @staticmethod
    def _cut(call: Call) -> Response:
        call.cut = True
        return CutResponse()


def read_object(raw: bytes) -> dict[str, Any] | Failure:
    """The JSON object of a body."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return Failure(400, "The request body is not valid JSON")
    return body if isinstance(body, dict) else invalid_payload([type_issue((), "object", body)])


def _server_error(fault: ServerError) -> Failure:
    return Failure(fault.status, GENERIC_SERVER_ERROR, envelope=fault.envelope, reason="server")


def failure_of(fault: CallFault | None) -> Failure | None:
    """The error that a fault stands for; None where it does something else."""
    match fault:
        case RateLimited():
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return Failure(429, "Too Many Requests", headers=headers, envelope=fault.envelope, reason="rate")
        case ServerError(billed=False):
            return _server_error(fault)
        case SimpleFault(fault="unauthorized"):
            return missing_key()
        case SimpleFault(fault="out_of_credit"):
            return out_of_credit()
        case SafetyBlock(form="http_400"):
            return Failure(400, _BLOCKED, reason="blocked")
    return None
