"""`Idempotency-Key`: the same request under the same key is answered once more, and billed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Remembered:
    """What is kept of a key.

    Attributes:
        digest: Of the request that came with it first and was billed.
        answer: The answer to it; None while there is none.
    """

    digest: str = ""
    answer: Any = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def differs(self, digest: str) -> bool:
        """Whether an answer is kept, but to another request."""
        return self.answer is not None and self.digest != digest

    def keep(self, digest: str, answer: Any) -> None:
        """Keep the answer to a request."""
        self.digest, self.answer = digest, answer


class Replays:
    """The keys of one sandbox. What was not billed is not kept, so that it can be asked for again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Remembered] = {}

    @asynccontextmanager
    async def claim(self, account: str, key: str | None) -> AsyncIterator[Remembered]:
        """What is remembered of a key; a second request with it waits until the first one is done.

        Args:
            account: Whose key it is: the same one of two accounts are two.
            key: The header's value; None remembers nothing.
        """
        if key is None:
            yield Remembered()
            return
        kept = self._kept.setdefault((account, key), Remembered())
        async with kept.lock:
            yield kept

    def reset(self) -> None:
        """Forget all keys."""
        self._kept.clear()
