"""Language models and their prices."""

from __future__ import annotations

import difflib
import re
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import BadInput
from ..money import usd_to_credits

_MILLION = 1_000_000
_NAME = re.compile(r"[\w./:@+-]{1,200}")
_MOST_USD = 10_000


class ChatModel(BaseModel):
    """A language model and its price in USD per million tokens.

    Attributes:
        id: Canonical id, which enters the identity of what it writes.
        wire_model: Value of the body's `model`, where it is not the id.
        input_usd: Expected price of a million tokens that are sent.
        output_usd: Expected price of a million tokens that come back, reasoning included.
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
        return usd_to_credits((input_tokens * self.input_usd + output_tokens * self.output_usd) / _MILLION)

    def price_high(self, input_tokens: int, output_tokens: int) -> int:
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
