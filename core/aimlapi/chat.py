"""Language models over `POST /v1/chat/completions`: what is known of each, the request, and the reply in one shape.

The endpoint is OpenAI's, but not every model behind it keeps to that (public captures 2025-08 to 2026-09): some refuse
the role `system`, `max_tokens` or a JSON schema with a 400, which `ChatDialect` learns from; some answer in parts, with
the reasoning beside an empty content, or with the JSON in prose, which `ChatReply` and its reader put up with.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import BadInput
from ..money import usd_to_credits
from .reply import read_credits, read_object

_MILLION = 1_000_000
_NAME = re.compile(r"[\w./:@+-]{1,200}")
_MOST_USD = 10_000


class ChatModel(BaseModel):
    """A language model and its price in USD per million tokens.

    Attributes:
        id: Canonical id, which enters the identity of what it writes.
        aliases: Other names.
        wire_model: Value of the body's `model`, where it is not the id.
        input_usd: Expected price of a million tokens that are sent.
        output_usd: Expected price of a million tokens that come back, reasoning included.
        input_usd_high: Highest price to be reckoned with.
        output_usd_high: Highest price to be reckoned with.
        as_of: When the price was read.
        source: Where.
        reasoning: Whether it thinks before it writes: its thoughts are paid, and need room.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    aliases: tuple[str, ...] = ()
    wire_model: str | None = None
    input_usd: Decimal
    output_usd: Decimal
    input_usd_high: Decimal
    output_usd_high: Decimal
    as_of: str
    source: str
    reasoning: bool

    def price(self, input_tokens: int, output_tokens: int) -> int:
        """Expected price in credits."""
        return usd_to_credits((input_tokens * self.input_usd + output_tokens * self.output_usd) / _MILLION)

    def price_high(self, input_tokens: int, output_tokens: int) -> int:
        """Highest price in credits."""
        return usd_to_credits((input_tokens * self.input_usd_high + output_tokens * self.output_usd_high) / _MILLION)


class _Models(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    comment: str = Field(default="", alias="$comment")
    version: Literal[1]
    models: tuple[ChatModel, ...]


@cache
def load_chat_models() -> tuple[ChatModel, ...]:
    """The language models that ship with the package (read once a process)."""
    text = resources.files(__package__).joinpath("chat_models.json").read_text(encoding="utf-8")
    return _Models.model_validate_json(text).models


def resolve_chat_model(name: str, price: str | None = None) -> ChatModel:
    """Find a language model by id or alias.

    Args:
        name: As the user gave it.
        price: `IN,OUT` in USD per million tokens, instead of the known one; what makes a model usable that is not
            known here, since nothing is sent whose highest price is unknown.

    Raises:
        BadInput: It is not known and has no price, or the price cannot be read.

    Example:
        >>> resolve_chat_model("gpt-4o-mini").id, resolve_chat_model("some/model", "0.2,0.8").output_usd_high
        ('openai/gpt-4o-mini', Decimal('0.8'))
    """
    known = {alias: model for model in load_chat_models() for alias in (model.id, *model.aliases)}
    found = known.get(name)
    if price is None:
        if found is None:
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise BadInput(
                f"the price of the language model {name!r} is not known; {hint}Known are "
                f"{', '.join(model.id for model in load_chat_models())}. Any other one takes its price with it: "
                "rewrite_price (--rewrite-price IN,OUT, in USD per million tokens)"
            )
        return found
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is not the name of a language model")
    sent, received = _read_price(price)
    prices = {"input_usd": sent, "output_usd": received, "input_usd_high": sent, "output_usd_high": received}
    origin = {"as_of": "now", "source": "given by the user"}
    if found is not None:
        return found.model_copy(update={**prices, **origin})
    # Whether it reasons is not known either; room that is not used costs nothing.
    return ChatModel(id=name, reasoning=True, **prices, **origin)


def _read_price(text: str) -> tuple[Decimal, Decimal]:
    parts = text.split(",")
    try:
        sent, received = (Decimal(part.strip()) for part in parts)
        usable = all(price.is_finite() and 0 <= price <= _MOST_USD for price in (sent, received))
    except (InvalidOperation, ValueError):
        usable = False
    if not usable:
        raise BadInput(f"rewrite_price: {text!r} is not of the form IN,OUT (USD per million tokens, such as 0.16,0.63)")
    return sent, received


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

        Args:
            asked: The form that was refused.
            message: Why, in the API's or the model's own words.

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
        model: Which.
        system: Instructions.
        user: The question.
        schema_name: Name of the schema.
        schema: JSON schema of the answer.
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


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer in one shape.

    Attributes:
        content: The text; empty where there is none.
        refusal: The model's refusal, in its words, or None.
        finish_reason: `stop`, `length`, `content_filter`, or what else the model says.
        reasoned: Whether there is reasoning beside the text.
        input_tokens: Tokens that were read, or None where the reply does not say.
        output_tokens: Tokens that were written, reasoning included.
        credits: What was billed; None where the reply does not say.
        inference_id: The provider's id of the inference, from a header.
        request_id: The provider's id of the request, from a header.
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
    """Normalise the body of a 2xx answer.

    Raises:
        UnreadableReply: Not a JSON object. The call may have been billed.
    """
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
