"""Handovers: which image was copied to which place that somebody else takes it from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .database import Part
from .schema import deliveries, fields, handovers, insert_new
from .verdicts import image_key


@dataclass(frozen=True, slots=True)
class Handover:
    """A copy of an image."""

    image_id: str
    key: str  # below the place
    sha256: str


class Handovers(Part):
    """The handovers of a ledger. A target is the canonical URI of a place."""

    def at(self, target: str) -> dict[str, Handover]:
        """The copies at a place, by the id of the image."""
        rows = self._rows(sa.select(handovers).where(handovers.c.target == target))
        return {f"{row.call_id}-{row.idx}": Handover(f"{row.call_id}-{row.idx}", row.key, row.sha256) for row in rows}

    def add(self, target: str, copies: Sequence[Handover]) -> None:
        """Record copies, in place of earlier ones of the same images."""
        now = datetime.now(UTC)
        keys = [image_key(copy.image_id) for copy in copies]
        rows = [
            {**fields(copy, "key", "sha256"), "target": target, "call_id": call_id, "idx": index, "at": now}
            for copy, (call_id, index) in zip(copies, keys, strict=True)
        ]

        def operation(connection: Connection) -> None:
            if rows:
                _remove(connection, target, keys)
                connection.execute(insert_new(connection, handovers), rows)

        self._database.write(operation)

    def remove(self, target: str, image_ids: Iterable[str]) -> None:
        """Forget the copies of images at a place."""
        keys = [image_key(image_id) for image_id in image_ids]
        self._database.write(lambda connection: _remove(connection, target, keys))

    def originals_among(self, uris: Sequence[str]) -> set[str]:
        """Those of some addresses where runs store images: nothing there is a copy."""
        return {row.uri for row in self._rows_among(sa.select(deliveries.c.uri), deliveries.c.uri, uris)}


def _remove(connection: Connection, target: str, keys: Sequence[tuple[str, int]]) -> None:
    for batch in batched(keys):
        among: list[Any] = [
            sa.and_(handovers.c.call_id == call_id, handovers.c.idx == index) for call_id, index in batch
        ]
        connection.execute(sa.delete(handovers).where(handovers.c.target == target, sa.or_(sa.false(), *among)))
