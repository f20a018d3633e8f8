"""The identity of an item: which purchases are the same."""

from __future__ import annotations

import enum
import hashlib
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..values import canonical_json, content_references

_IDENTITY_VERSION = 1


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json({"v": _IDENTITY_VERSION, **identity}).encode()).hexdigest()


def new_call_id() -> str:
    """An id for a call: `pi-` and a UUID of version 7 (RFC 9562), which begins with the time in milliseconds.

    So the rows of new calls, images and deliveries stand side by side in every index that begins with the call. With
    random ids, each of them would be on a page of its own, which a large ledger has to read and to write as a whole.
    """
    moment, chance = time.time_ns() // 1_000_000, secrets.randbits(74)
    number = moment << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
    return f"pi-{uuid.UUID(int=number).hex}"


def inputs_of(parameters: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """The pictures that go into an item's request, as its row has them; None for none."""
    found = content_references(parameters)
    return [{"field": name, "sha256": one} for name, hashes in found.items() for one in hashes] or None


class ItemKind(enum.StrEnum):
    """What an item buys."""

    IMAGE = "image"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One variation of a prompt, to be written by a language model. A purchase of its own, made once.

    The id is made like that of an `Item`, of all five fields. The text that comes of it is in no id: it is not known
    before it is paid for.

    Attributes:
        model: Canonical id of the language model.
        source: The prompt that is rewritten.
        brief: What the user wants of the new text; may be empty.
        limit: Longest text that is of use, in UTF-16 code units.
        variation: From 1: which of several texts for the same prompt.
        id: Lower-case hexadecimal, 64 characters.

    Example:
        >>> Rewrite("openai/gpt-4o-mini", "a fox", "", 400, 1).id[:12]
        'b68634de180c'
    """

    model: str
    source: str
    brief: str
    limit: int
    variation: int
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        identity = {
            "kind": ItemKind.REWRITE.value,
            "model": self.model,
            "source": self.source,
            "brief": self.brief,
            "limit": self.limit,
            "variation": self.variation,
        }
        object.__setattr__(self, "id", _digest(identity))

    @property
    def parameters(self) -> dict[str, Any]:
        """What a ledger keeps beside model, source and variation."""
        return {"brief": self.brief, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a user wants bought. Items with the same id are the same purchase and are bought once.

    The id is the SHA-256 of the canonical JSON of the five fields below and a version, and of nothing else: not the
    contract the request is sent through, not the price, not the API's address, not the run. For a prompt that is to be
    rewritten, the rewrite's model, brief and variation are in it too; never its limit, which is the contract's, nor the
    text that comes of it. So the same prompts are the same purchases before and after they are rewritten.

    Attributes:
        model: Canonical model id.
        prompt: Text as it is sent; with a `rewrite`, the text that is rewritten.
        parameters: What shapes the image, without what equals the model's default (`ImageRequest.identity()`).
        edition: Asks for fresh images of the same prompts; a schedule passes its date.
        repeat: From 1: which of several images of the same prompt.
        rewrite: What the prompt is rewritten to first; None where it is sent as it is.
        replaces: Id of the image that it is to replace; empty for an item that a run's source asks for.
        id: Lower-case hexadecimal, 64 characters.

    Example:
        >>> Item("google/imagen4/preview", "a fox", {}).id[:12]
        'd040cbdc70d2'
    """

    model: str
    prompt: str
    parameters: Mapping[str, Any]
    edition: str = ""
    repeat: int = 1
    rewrite: Rewrite | None = None
    replaces: str = ""
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        identity: dict[str, Any] = {
            "model": self.model,
            "prompt": self.prompt,
            "parameters": dict(self.parameters),
            "edition": self.edition,
            "repeat": self.repeat,
        }
        if self.rewrite is not None:
            wanted = self.rewrite
            identity["rewrite"] = {"model": wanted.model, "brief": wanted.brief, "variation": wanted.variation}
        if self.replaces:
            identity["replaces"] = self.replaces
        object.__setattr__(self, "id", _digest(identity))
