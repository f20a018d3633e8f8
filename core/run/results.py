"""What the steps of a run hand to each other: small, picklable, never the bytes of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from ..delivery import ImageFile
from ..ledger import ImageResult

T = TypeVar("T")


class Opaque(Sequence[T]):
    """An immutable list that Prefect hands on as it is.

    Prefect walks through every tuple, list and dataclass among a task's parameters, entry by entry and twice, in
    search of futures. For the images of a chunk that takes longer than recording them.

    Example:
        >>> rows = Opaque("ab")
        >>> len(rows), rows[-1], list(rows), rows == Opaque(["a", "b"]), rows == ("a", "b")
        (2, 'b', ['a', 'b'], True, True)
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
        return self._rows == (other._rows if isinstance(other, Opaque) else other)

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        return f"Opaque({list(self._rows)!r})"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that was written to the ledger.

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
    """Some items of a run. Their ids become an `Opaque`, whatever sequence they come in."""

    run_id: str
    item_ids: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_ids", Opaque(self.item_ids))


@dataclass(frozen=True, slots=True)
class Rewritten(Batch):
    """Items whose prompts were rewritten, as far as they could be. `states` counts the texts: one that was written
    is `delivered`."""

    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Generated(Batch):
    """Items with images to be delivered, leased by this process. `states` counts all items of the batch."""

    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Downloaded(Batch):
    """One file an image, or why there is none."""

    files: Opaque[ImageFile]


@dataclass(frozen=True, slots=True)
class Uploaded(Batch):
    """One object an image, or why there is none."""

    results: Opaque[ImageResult]


@dataclass(frozen=True, slots=True)
class Cataloged(Batch):
    """The end of the chain. `states` counts the items of the batch as the ledger has them now."""

    states: Mapping[str, int]
