"""Rows of the catalog, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..ledger import Ledger, Selection
from .columns import COLUMNS, Kind, plain


@contextmanager
def selected_rows(
    ledger: Ledger, selection: Selection
) -> Iterator[tuple[list[tuple[str, Kind]], Iterator[Sequence[Sequence[Any]]]]]:
    """The columns of the catalog, and the rows of the selected items; see `core.ledger.catalog.Catalog.batches`."""
    columns = list(COLUMNS.items())
    with ledger.catalog.batches(list(COLUMNS), selection) as batches:
        yield columns, _batches(batches)


def _batches(batches: Iterator[Sequence[Sequence[Any]]]) -> Iterator[Sequence[Sequence[Any]]]:
    kinds = list(COLUMNS.values())
    for batch in batches:
        yield [[plain(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in batch]
