"""Requests to language models over `POST /v1/chat/completions`.

The endpoint is OpenAI's, but not every model behind it keeps to that (public captures 2025-08 to 2026-09): some refuse
the role `system`, `max_tokens` or a JSON schema with a 400, which `ChatDialect` learns from.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .chat_models import ChatModel


@dataclass(frozen=True, slots=True)
class ChatForm:
    """How a model wants to be asked."""

    system: bool = True
    answer: Literal["json_schema", "json_object", "text"] = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class ChatDialect:
    """What one model has said it does not take. Shared by all threads that ask it.

    Example:
        >>> dialect = ChatDialect()
        >>> dialect.learn(dialect.form, "messages.0.role: Invalid enum value. Expected 'user', received 'system'")
        True
        >>> dialect.form.system
        False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.form = ChatForm()

    def learn(self, asked: ChatForm, message: str) -> bool:
        """Take in a 400's message.

        Returns:
            Whether there is another way to ask.
        """
        said = message.lower()
        other = asked
        if asked.system and "system" in said and ("role" in said or "instruction" in said):
            other = replace(asked, system=False)
        elif asked.answer != "text" and re.search(r"response_format|json_schema|json_object|structured.?output", said):
            other = replace(asked, answer="json_object" if asked.answer == "json_schema" else "text")
        elif asked.limit == "max_tokens" and "max_tokens" in said:
            other = replace(asked, limit="max_completion_tokens")
        if other == asked:
            return False
        with self._lock:
            if self.form == asked:
                self.form = other
        return True


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a language model, answered by a JSON object.

    Attributes:
        max_tokens: Most tokens of the answer, reasoning included.
    """

    model: ChatModel
    system: str
    user: str
    schema_name: str
    schema: Mapping[str, Any] = field(hash=False)
    max_tokens: int

    def body(self, form: ChatForm) -> dict[str, Any]:
        """The JSON body, in the form the model takes."""
        messages: Sequence[dict[str, str]] = (
            [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]
            if form.system
            else [{"role": "user", "content": f"{self.system}\n\n{self.user}"}]
        )
        body: dict[str, Any] = {
            "model": self.model.wire_model or self.model.id,
            "messages": messages,
            "stream": False,
            form.limit: self.max_tokens,
        }
        if form.answer == "json_schema":
            schema = {"name": self.schema_name, "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form.answer == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def price(self, output_tokens: int) -> int:
        """Expected price in credits, of an answer of so many tokens; four characters are taken for a token."""
        return self.model.price((len(self.system) + len(self.user)) // 4 + 50, output_tokens)

    @property
    def sent_at_most(self) -> int:
        """Tokens that are sent at most: no tokeniser makes more than one token of a byte. The schema may count, and so
        may the frame of the messages.
        """
        return len(json.dumps(self.body(ChatForm()), ensure_ascii=False).encode()) + 64

    @property
    def price_high(self) -> int:
        """Highest price in credits: a model stops at `max_tokens`."""
        return self.model.price_high(self.sent_at_most, self.max_tokens)
