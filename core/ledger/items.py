"""What an item is: the identity of one purchase."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Item", "canonical_json"]

_IDENTITY_VERSION = 1


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no white space, characters as they are.

    Example:
        >>> canonical_json({"b": 1, "a": "é"})
        '{"a":"é","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a user wants bought. Items with the same id are the same purchase and are bought once.

    The id is the SHA-256 of the canonical JSON of the five fields below and a version, and of nothing else: not the
    contract the request is sent through, not the price, not the API's address, not the run.

    Attributes:
        model: Canonical model id.
        prompt: Text as it is sent.
        parameters: What shapes the image, without what equals the model's default (`ImageRequest.identity()`).
        edition: Asks for fresh images of the same prompts; a schedule passes its date.
        repeat: From 1: which of several images of the same prompt.
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
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        identity = {
            "v": _IDENTITY_VERSION,
            "model": self.model,
            "prompt": self.prompt,
            "parameters": dict(self.parameters),
            "edition": self.edition,
            "repeat": self.repeat,
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        object.__setattr__(self, "id", digest)
