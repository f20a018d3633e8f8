"""What the paid endpoints share: key, body, faults, latency, billing and headers, in the order of the API."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..core.money import credits_to_usd
from .call_log import Call
from .error_bodies import GENERIC_SERVER_ERROR, Failure, invalid_payload, missing_key, other_body, out_of_credit
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
from .state import SandboxState
from .validation import MISSING, type_issue
from .wire import CutResponse, JsonReply, TruncatedResponse, event_response, failure_response, html_response

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

    def apply(self, fault: CallFault) -> Job | Failure:
        """This job as a fault changes it; faults of the connection and of billing are handled elsewhere."""
        return self

    @abstractmethod
    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        """The JSON of a successful reply with `returned` images; a fault can make them fewer than `count`."""


class PaidEndpoint(ABC):
    """A POST that costs money."""

    endpoint: Endpoint

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    @abstractmethod
    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Validate a body. The model is known to be a string."""

    async def handle(self, request: Request) -> Response:
        """Answer a request and log it."""
        offered = request.headers.get("x-client-request-id", "")
        client_id = offered if _CLIENT_REQUEST_ID.fullmatch(offered) else None
        key = self._state.fingerprint(request)
        with self._state.call_log.call(self.endpoint, self._state.new_id(), client_id, key) as call:
            return await self._answer(request, call)

    async def _answer(self, request: Request, call: Call) -> Response:
        refusal = self._state.refusal(request)
        raw = await request.body()
        if refusal:
            return self._failed(request, call, refusal)
        wait = self._state.rate_limit.try_acquire(self._state.call_log.in_flight)
        if wait is not None:
            headers = {"retry-after": str(wait)} if self._state.options.rate_retry_after else {}
            return self._failed(request, call, Failure(429, "Too Many Requests", headers=headers))
        job = self._read(raw, call)
        if isinstance(job, Failure):
            return self._failed(request, call, job)
        call.prompt = job.prompt
        fault = self._state.faults.for_call(self.endpoint, job.model, job.prompt)
        call.fault = fault.fault if fault else None
        if isinstance(fault, OtherError) or call.fault == "forbidden_page":
            return await self._refuse(call, fault)
        failure = _failure_of(fault)
        if call.fault not in ("rate_limited", "unauthorized"):  # the API refuses these at once
            await self._state.simulate_latency(fault.seconds if isinstance(fault, SlowReply) else 0.0)
        if call.fault == "cut_before_billing":
            return self._cut(call)
        changed = failure or (job.apply(fault) if fault is not None else job)
        if isinstance(changed, Failure):
            return self._failed(request, call, changed)
        return await self._bill_and_reply(request, call, changed, fault)

    def _read(self, raw: bytes, call: Call) -> Job | Failure:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return Failure(400, "The request body is not valid JSON")
        if not isinstance(body, dict):
            return invalid_payload([type_issue((), "object", body)])
        model = body.get("model", MISSING)
        if not isinstance(model, str):
            return invalid_payload([type_issue(("model",), "string", model)])
        call.model = model
        return self.prepare(body)

    async def _bill_and_reply(self, request: Request, call: Call, job: Job, fault: CallFault | None) -> Response:
        """Bill a call and reply, or break after billing."""
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
            return self._failed(request, call, out_of_credit())
        if call.fault == "cut_after_billing":
            return self._cut(call)
        if call.fault in _BILLED_PAGES:
            call.status = _BILLED_PAGES[call.fault]
            return html_response(call.status)

        call.returned = returned
        body: Any = await job.reply(self._state, returned, call.credits)
        if isinstance(fault, SafetyBlock) and fault.form == "null_200":
            body = {name: value or None if isinstance(value, list) else value for name, value in body.items()}
        call.status = self._state.options.success_status
        if isinstance(fault, OddReply):
            body = odd_reply(fault.form, body)
            call.status = 202 if fault.form == "accepted" else call.status
        headers = self._headers(call, self._state.new_id())
        if self._state.options.cost_headers and not (isinstance(fault, OddReply) and "meta" not in body):
            headers["x-aimlapi-credits-used"] = str(call.credits)
            headers["x-aimlapi-usd-spent"] = f"{credits_to_usd(call.credits):f}"
        reply = JsonReply(body, call.status, headers)
        if isinstance(fault, OddReply) and fault.form == "events":
            return event_response(bytes(reply.body), headers)
        if call.fault == "truncated_reply_billed":
            call.cut = True
            cut = TruncatedResponse(reply.body, call.status)
            cut.raw_headers = reply.raw_headers
            return cut
        return reply

    async def _refuse(self, call: Call, fault: CallFault | None) -> Response:
        """Refuse in words that are not the API's."""
        await self._state.simulate_latency(0.0)
        call.status = fault.status if isinstance(fault, OtherError) else 403
        if not isinstance(fault, OtherError) or fault.envelope == "page":
            return html_response(call.status)
        return JsonReply(other_body(fault.envelope, fault.code), call.status)

    def _failed(self, request: Request, call: Call, failure: Failure) -> Response:
        call.status = failure.status
        request_id = self._state.new_id()
        return failure_response(failure, request, request_id, self._headers(call, request_id))

    def _headers(self, call: Call, request_id: str) -> dict[str, str]:
        call.request_id = request_id
        headers = {"x-request-id": request_id, "x-inference-id": call.inference_id}
        if call.client_request_id is not None:
            headers["x-client-request-id"] = call.client_request_id
        return headers

    @staticmethod
    def _cut(call: Call) -> Response:
        call.cut = True
        return CutResponse()


def _failure_of(fault: CallFault | None) -> Failure | None:
    """The error that a fault stands for; None where it does something else."""
    match fault:
        case RateLimited():
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return Failure(429, "Too Many Requests", headers=headers, envelope=fault.envelope)
        case ServerError():
            return Failure(fault.status, GENERIC_SERVER_ERROR, envelope=fault.envelope)
        case SimpleFault(fault="unauthorized"):
            return missing_key()
        case SimpleFault(fault="out_of_credit"):
            return out_of_credit()
        case SafetyBlock(form="http_400"):
            return Failure(400, _BLOCKED)
    return None
