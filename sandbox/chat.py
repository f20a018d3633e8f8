"""`POST /v1/chat/completions`: answers as text or JSON in OpenAI's format, billed per token.

Shapes from public captures of 2025-08 (a reasoning model's answer) and 2025-10 (a refused role), prices from the
registry of language models.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.providers.chat_models import ChatModel, load_chat_models
from .chat_answers import REASONING, write
from .error_bodies import Failure, invalid_payload, unknown_model
from .faults import (
    BadJson,
    CallFault,
    ChatRefusal,
    EmptyContent,
    Endpoint,
    ParameterRejected,
    SimpleChatFault,
    TooLong,
)
from .paid_endpoint import Job, PaidEndpoint, usage_of
from .state import SandboxState
from .validation import MISSING, Issue, bound_issue, enum_issue, type_issue, type_name

_ROLES = ("system", "user", "assistant", "tool", "developer")
_FORMATS = ("text", "json_object", "json_schema")
_LIMITS = ("max_tokens", "max_completion_tokens")
_CHARACTERS_PER_TOKEN = 4
_REFUSAL = "I'm sorry, but I can't help with that request."


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


@dataclass(frozen=True)
class _ChatJob(Job):
    """A chat request and the answer to it.

    Attributes:
        body: The request.
        chat_model: The model, which has the price.
        reasoning: The model's reasoning; billed like the answer.
        finish_reason: Why the answer ends, in OpenAI's terms.
    """

    model: str
    prompt: str
    body: Mapping[str, Any]
    chat_model: ChatModel
    input_tokens: int
    answer: str | None
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    count: int = 1

    @property
    def credits_each(self) -> int:  # type: ignore[override]
        """The price of question and answer."""
        return self.chat_model.price(self.input_tokens, self.output_tokens)

    @property
    def output_tokens(self) -> int:
        """Tokens of answer, reasoning and refusal."""
        return max(1, sum(_tokens(text or "") for text in (self.answer, self.reasoning, self.refusal)))

    def limited(self) -> _ChatJob:
        """The same, cut to the token limit of the request."""
        most = next((self.body[name] for name in _LIMITS if self.body.get(name) is not None), None)
        if most is None or self.output_tokens <= most:
            return self
        thoughts = (self.reasoning or "")[: most * _CHARACTERS_PER_TOKEN]
        left = most - _tokens(thoughts)
        answer = (self.answer or "")[: left * _CHARACTERS_PER_TOKEN]
        return replace(self, answer=answer, reasoning=thoughts or None, finish_reason="length")

    def apply(self, fault: CallFault) -> Job | Failure:
        """This job as a fault of chats changes it."""
        match fault:
            case BadJson():
                return replace(self, answer=_invalid(self.answer or "", fault.form))
            case SimpleChatFault(fault="fenced_json"):
                return replace(self, answer=f"Sure, here it is:\n\n```json\n{self.answer}\n```\nAnything else?")
            case TooLong():
                answer = json.dumps({"prompt": ("a long story " * fault.characters)[: fault.characters]})
                return replace(self, answer=answer).limited()
            case ChatRefusal(form="http_400"):
                return Failure(400, "Your request was rejected as a result of our safety system.")
            case ChatRefusal(form="filter"):
                return replace(self, answer="", finish_reason="content_filter")
            case ChatRefusal():
                return replace(self, answer=None, refusal=_REFUSAL)
            case EmptyContent():
                return replace(self, answer="", reasoning=REASONING if fault.reasoning else None)
            case SimpleChatFault(fault="system_role_rejected"):
                return self._without_system()
            case ParameterRejected() if self.body.get(fault.parameter) is not None:
                hint = " Use 'max_completion_tokens' instead." if fault.parameter == "max_tokens" else ""
                return Failure(
                    400, f"Unsupported parameter: '{fault.parameter}' is not supported with this model.{hint}"
                )
        return self

    def _without_system(self) -> Job | Failure:
        for place, message in enumerate(self.body["messages"]):
            if message["role"] == "system":
                return invalid_payload([enum_issue(("messages", place, "role"), ("user", "assistant"), "system")])
        return self

    async def reply(self, state: SandboxState, returned: int, credits_: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.answer}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        message["refusal"] = self.refusal
        usage: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        }
        if self.reasoning is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": _tokens(self.reasoning)}
        return {
            "id": f"gen-{state.new_id()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [
                {"index": 0, "finish_reason": self.finish_reason, "logprobs": None, "message": message},
            ],
            "usage": usage,
            "meta": usage_of(credits_),
        }


def _invalid(answer: str, form: str) -> str:
    """An answer that is not the JSON that was asked for."""
    if form == "cut":
        return answer[: max(1, len(answer) * 2 // 3)]
    if form == "keys":
        return json.dumps({"result": {"status": "ok", "items": 1}})
    return "Certainly! I would paint it in soft light, with a calm mood and a lot of empty space around it."


def _check_messages(body: Mapping[str, Any]) -> list[Issue]:
    messages = body.get("messages", MISSING)
    if not isinstance(messages, list):
        return [type_issue(("messages",), "array", messages)]
    if not messages:
        return [bound_issue(("messages",), "array", "too_small", 1)]
    issues: list[Issue] = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            issues.append(type_issue(("messages", place), "object", message))
            continue
        role = message.get("role", MISSING)
        path = ("messages", place, "role")
        if not isinstance(role, str):
            issues.append(type_issue(path, "string", role))
        elif role not in _ROLES:
            issues.append(enum_issue(path, _ROLES, role))
    return issues


def _check_limits(body: Mapping[str, Any]) -> list[Issue]:
    issues: list[Issue] = []
    for name in _LIMITS:
        value = body.get(name)
        if value is None:
            continue
        if type_name(value) != "number" or not float(value).is_integer():
            issues.append(type_issue((name,), "integer", value))
        elif value < 1:
            issues.append(bound_issue((name,), "number", "too_small", 1))
    return issues


def _check_format(body: Mapping[str, Any]) -> list[Issue]:
    wanted = body.get("response_format")
    if wanted is None:
        return []
    if not isinstance(wanted, dict):
        return [type_issue(("response_format",), "object", wanted)]
    kind = wanted.get("type")
    if kind not in _FORMATS:
        return [enum_issue(("response_format", "type"), _FORMATS, str(kind))]
    if kind != "json_schema":
        return []
    path = ("response_format", "json_schema")
    schema = wanted.get("json_schema", MISSING)
    if not isinstance(schema, dict):
        return [type_issue(path, "object", schema)]
    name = schema.get("name", MISSING)
    return [] if isinstance(name, str) else [type_issue((*path, "name"), "string", name)]


class ChatCompletions(PaidEndpoint):
    """The endpoint."""

    endpoint: Endpoint = "chat"

    def __init__(self, state: SandboxState) -> None:
        super().__init__(state)
        self._models = {
            name: model for model in load_chat_models() for name in (model.id, model.wire_model, *model.aliases) if name
        }

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check the request and write the answer."""
        model = self._models.get(body["model"])
        if model is None:
            return unknown_model(body["model"])
        issues = _check_messages(body) + _check_limits(body) + _check_format(body)
        if issues:
            return invalid_payload(issues)
        if body.get("stream"):
            return Failure(400, "The sandbox does not stream; send stream: false")
        texts = [_text_of(message.get("content")) for message in body["messages"]]
        job = _ChatJob(
            model=body["model"],
            prompt=texts[-1],
            body=body,
            chat_model=model,
            input_tokens=max(1, sum(map(_tokens, texts))),
            answer=write(texts, body.get("response_format")),
            reasoning=REASONING if model.reasoning else None,
        )
        return job.limited()
