"""What tasks hand to each other: small, picklable, never the bytes of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from ..core.delivery import ImageFile
from ..core.ledger import ImageResult

__all__ = ["Batch", "Catalogued", "Downloaded", "Generated", "PlannedRun", "Rewritten", "Rows", "Uploaded"]

T = TypeVar("T")


class Rows(Sequence[T]):
    """An immutable list that Prefect hands on as it is.

    It walks through every tuple, list and dataclass among a task's parameters, entry by entry and twice, in search of
    futures: for the images of a chunk that takes longer than writing them into the catalog.

    Example:
        >>> rows = Rows("ab")
        >>> len(rows), rows[-1], list(rows), rows == Rows(["a", "b"])
        (2, 'b', ['a', 'b'], True)
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...

    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        return f"Rows({list(self._rows)!r})"


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

    files: Rows[ImageFile]


@dataclass(frozen=True, slots=True)
class Uploaded(Batch):
    """Images in the store, or why they are not."""

    results: Rows[ImageResult]


@dataclass(frozen=True, slots=True)
class Catalogued(Batch):
    """The end of the chain. `states` counts the batch's items as the ledger has them now."""

    states: Mapping[str, int]
