"""Which language model rewrites prompts, to what brief, how often, and what becomes of a prompt where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from ..ledger import Rewrite
from ..providers import ImageRequest, ResolvedModel
from ..providers.chat_models import ChatModel, resolve_chat_model

LONGEST_TEXT = 1500
"""UTF-16 code units that a rewritten prompt has at most, where the image model would take more or names no limit."""

LONGEST_SOURCE = 8000
"""Characters of a prompt that is rewritten, and of a brief."""

_MOST_VARIATIONS = 100

# By name, not by a flag of the registry: a model that learns of such a field later must not be rewritten twice either.
_PROVIDER_REWRITES = ("enhance_prompt", "enable_prompt_expansion", "prompt_expansion", "prompt_upsampling")


@dataclass(frozen=True, slots=True)
class RewriteSpec:
    """How prompts are rewritten.

    Attributes:
        model: Id or alias of a language model, see `core.providers.chat_models`.
        price: `IN,OUT` in USD per million tokens; needed for a model whose price is not known.

    Raises:
        BadInput: A number or text out of range; a model without a price.

    Example:
        >>> spec = RewriteSpec("gpt-4o-mini", variations=2)
        >>> [rewrite.variation for rewrite in spec.rewrites("a fox", 400)], spec.chat_model().id
        ([1, 2], 'openai/gpt-4o-mini')
    """

    model: str
    variations: int = 1
    brief: str = ""
    price: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.variations <= _MOST_VARIATIONS:
            raise BadInput(f"rewrites: {self.variations} is not allowed (1 to {_MOST_VARIATIONS})")
        object.__setattr__(self, "brief", " ".join(self.brief.split()))
        if problem := _problem(self.brief):
            raise BadInput(f"brief: {problem}")
        self.chat_model()

    def chat_model(self) -> ChatModel:
        return resolve_chat_model(self.model, self.price)

    def rewrites(self, source: str, limit: int) -> Iterator[Rewrite]:
        """The texts that are wanted for a prompt."""
        model = self.chat_model().id
        for variation in range(1, self.variations + 1):
            yield Rewrite(model, source, self.brief, limit, variation)

    @staticmethod
    def check_source(source: str) -> str | None:
        """What is wrong with a prompt that is to be rewritten, if anything is; it may be longer than the image
        model allows."""
        return _problem(source) if source.strip() else "the prompt is empty"

    @staticmethod
    def text_limit(model: ResolvedModel) -> int:
        """Longest text of use to an image model, in UTF-16 code units."""
        return min(model.contract.prompt_limit or LONGEST_TEXT, LONGEST_TEXT)

    @staticmethod
    def identity(request: ImageRequest) -> dict[str, Any]:
        """The parameters that say which purchase an image of a rewritten prompt is.

        As `ImageRequest.identity`, but the provider's own rewriting is off by default here: what counts is that it is
        on. So an item is the same through a contract that has no such field.
        """
        off = no_second_rewriting(request.model)
        identity = {name: value for name, value in request.identity().items() if name not in off}
        return identity | {name: True for name in off if request.parameters.get(name) is True}


def no_second_rewriting(model: ResolvedModel) -> dict[str, bool]:
    """Parameters that keep the provider from rewriting a prompt once more, where the model has any.

    Example:
        >>> from prefect_imagen.core.providers import load_registry
        >>> no_second_rewriting(load_registry().resolve("google/imagen4/preview"))
        {'enhance_prompt': False}
    """
    fields = model.contract.fields
    return {name: False for name in _PROVIDER_REWRITES if name in fields and fields[name].kind == "boolean"}


def _problem(text: str) -> str | None:
    if len(text) > LONGEST_SOURCE:
        return f"{len(text)} characters; {LONGEST_SOURCE} are the most that is rewritten"
    if "\x00" in text:
        return "there is a NUL character in it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "there is half a surrogate pair in it"
    return None
