"""Replies of language models in one shape.

Not every model keeps to OpenAI's form (public captures 2025-08 to 2026-09): some answer in parts, with the reasoning
beside an empty content, or with the JSON in prose. `ChatReply` and its reader accept all of these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .reply import read_credits, read_object


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer in one shape.

    Attributes:
        finish_reason: `stop`, `length`, `content_filter`, or what else the model says.
        reasoned: Whether there is reasoning beside the text.
        output_tokens: Tokens that were written, reasoning included.
        credits: What was billed; None where the reply does not say.
        empty: Whether the reply holds no answer at all (`choices` missing or empty).
    """

    content: str
    refusal: str | None
    finish_reason: str | None
    reasoned: bool
    input_tokens: int | None
    output_tokens: int | None
    credits: int | None
    inference_id: str | None
    request_id: str | None
    empty: bool = False


def read_chat(body: bytes, headers: Mapping[str, str]) -> ChatReply:
    """Normalise the body of a 2xx answer."""
    document = read_object(body)
    lowered = {name.lower(): value for name, value in headers.items()}
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    message = first.get("message")
    said: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
    usage = document.get("usage")
    counted: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    return ChatReply(
        content=_content(said.get("content")),
        refusal=_text(said.get("refusal")),
        finish_reason=_text(first.get("finish_reason")),
        reasoned=any(said.get(name) for name in ("reasoning_content", "reasoning", "reasoning_details")),
        input_tokens=_tokens(counted.get("prompt_tokens")),
        output_tokens=_tokens(counted.get("completion_tokens")),
        credits=read_credits(document, lowered),
        inference_id=lowered.get("x-inference-id"),
        request_id=lowered.get("x-request-id"),
        empty=not first,
    )


def _content(value: Any) -> str:
    """Text, or a list of parts, or (where a model's JSON was read already) the object itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    parts = value if isinstance(value, list) else []
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
