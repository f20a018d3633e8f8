"""`POST /v1/chat/completions`: a plain answer in the OpenAI form, billed by the token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from ..core.money import usd_to_credits
from .envelopes import Failure, invalid_payload, unknown_model
from .faults import Endpoint
from .house import House
from .paid import Job, PaidEndpoint, usage_of
from .validation import Issue, enum_issue, type_issue, type_name

__all__ = ["CHAT_MODELS", "ChatCompletions", "ChatModel"]

_ROLES = ("system", "user", "assistant", "tool", "developer")
_CHARACTERS_PER_TOKEN = 4
_QUOTED = 200


class ChatModel(NamedTuple):
    """A chat model and its price in USD per million tokens."""

    id: str
    title: str
    input_usd: Decimal
    output_usd: Decimal


CHAT_MODELS: tuple[ChatModel, ...] = (
    ChatModel("openai/gpt-4o-mini", "GPT-4o mini", Decimal("0.16"), Decimal("0.63")),
    ChatModel("openai/gpt-5-nano", "GPT-5 nano", Decimal("0.076"), Decimal("0.61")),
    ChatModel("openai/gpt-oss-20b", "gpt-oss-20b", Decimal("0.10"), Decimal("0.41")),
    ChatModel("google/gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite", Decimal("0.0975"), Decimal("0.39")),
)
"""A few cheap ones; prices from the provider's public catalogue (models.dev, 2026-08), gpt-4o-mini from 2025."""

_BY_NAME = {name: model for model in CHAT_MODELS for name in (model.id, model.id.partition("/")[2])}


def _tokens(text: str) -> int:
    return max(1, -(-len(text) // _CHARACTERS_PER_TOKEN))


def _text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


@dataclass(frozen=True)
class _ChatJob(Job):
    model: str
    prompt: str
    answer: str
    input_tokens: int
    credits_each: int
    count: int = 1

    async def reply(self, house: House, returned: int, credits_: int) -> dict[str, Any]:
        output_tokens = _tokens(self.answer)
        message = {"role": "assistant", "content": self.answer, "refusal": None}
        return {
            "id": f"gen-{house.new_id()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
            "usage": {
                "prompt_tokens": self.input_tokens,
                "completion_tokens": output_tokens,
                "total_tokens": self.input_tokens + output_tokens,
            },
            "meta": usage_of(credits_),
        }


def _check_messages(body: Mapping[str, Any]) -> list[Issue]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        received = type_name(messages) if "messages" in body else "undefined"
        return [type_issue(("messages",), "array", received)]
    if not messages:
        message = "Array must contain at least 1 element(s)"
        return [
            {
                "code": "too_small",
                "minimum": 1,
                "type": "array",
                "inclusive": True,
                "exact": False,
                "message": message,
                "path": ["messages"],
            }
        ]
    issues: list[Issue] = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            issues.append(type_issue(("messages", place), "object", type_name(message)))
            continue
        role = message.get("role")
        path = ("messages", place, "role")
        if not isinstance(role, str):
            issues.append(type_issue(path, "string", type_name(role) if "role" in message else "undefined"))
        elif role not in _ROLES:
            issues.append(enum_issue(path, _ROLES, role))
    return issues


class ChatCompletions(PaidEndpoint):
    """The endpoint."""

    endpoint: Endpoint = "chat"

    def prepare(self, body: Mapping[str, Any]) -> Job | Failure:
        """Check the messages and price the answer."""
        model = _BY_NAME.get(body["model"])
        if model is None:
            return unknown_model(body["model"])
        issues = _check_messages(body)
        if issues:
            return invalid_payload(issues)
        if body.get("stream"):
            return Failure(400, "The sandbox does not stream; send stream: false")
        texts = [_text_of(message.get("content")) for message in body["messages"]]
        answer = f"Answer of the sandbox to: {texts[-1][:_QUOTED]}"
        input_tokens = sum(map(_tokens, texts))
        usd = (input_tokens * model.input_usd + _tokens(answer) * model.output_usd) / 1_000_000
        return _ChatJob(body["model"], texts[-1], answer, input_tokens, usd_to_credits(usd))
