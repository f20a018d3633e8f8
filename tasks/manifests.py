"""What tasks hand to each other: small, picklable, never the bytes of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.delivery import ImageFile
from ..core.ledger import ImageResult

__all__ = ["Batch", "Catalogued", "Downloaded", "Generated", "PlannedRun", "Rewritten", "Uploaded"]


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run in the ledger, from `expand_prompts`.

    Attributes:
        run_id: The run.
        rows: Rows of the source, after expansion; duplicates included.
        items: Distinct items.
        owned: Items that are delivered already.
    """

    run_id: str
    rows: int
    items: int
    owned: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items of a run."""

    run_id: str
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rewritten(Batch):
    """Items after their texts were written, as far as they could be. `states` counts the texts: a text that is there
    is delivered."""

    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Generated(Batch):
    """Items this process holds after buying: answered by the API, now or before. `states` counts all of the batch."""

    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Downloaded(Batch):
    """Images in the spool, or why they are not."""

    files: tuple[ImageFile, ...]


@dataclass(frozen=True, slots=True)
class Uploaded(Batch):
    """Images in the store, or why they are not."""

    results: tuple[ImageResult, ...]


@dataclass(frozen=True, slots=True)
class Catalogued(Batch):
    """The end of the chain. `states` counts the batch's items as the ledger has them now."""

    states: Mapping[str, int]
