"""How a block is pickled: as its name, and never with a secret in it."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block


def load_block(kind: type[Block], name: str) -> Any:
    """Load a saved block: what a pickled one becomes where it arrives."""
    return kind.load(name)


class TravelsByName:
    """A block of which a task runner in another process or on another machine gets the name alone."""

    def _holds_secret(self) -> bool:
        return True

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A saved block as its name; an unsaved one by value, unless there is a secret in it.

        Raises:
            TypeError: It is not saved, and holds a secret.
        """
        saved = getattr(self, "_block_document_name", None)
        if saved and not getattr(self, "_is_anonymous", False):
            return load_block, (type(self), saved)
        if self._holds_secret():
            raise TypeError(
                f"this {type(self).__name__} holds a secret and is not pickled: save it, and pass the saved block or "
                "its name"
            )
        return super().__reduce_ex__(protocol)
