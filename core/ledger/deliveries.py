"""Deliveries: which image is stored where, to be compared with what a store holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .conditions import SAME_IMAGE, delivered_at
from .database import Part
from .schema import deliveries, fields, images, insert_new, items
from .states import ImageState, ItemState


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that the ledger says is stored; size and hash where they are known."""

    call_id: str
    index: int  # its place in the reply
    item_id: str
    key: str
    bytes: int | None
    sha256: str | None

    @property
    def image_id(self) -> str:
        """`{call}-{index}`, as in the catalog."""
        return f"{self.call_id}-{self.index}"


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """Where an image stands."""

    state: ImageState
    leased: bool  # whether a worker holds its item
    delivered: bool  # whether there is a copy at the destination that was asked about
    reason: str  # why it is not stored; empty if nothing is known


class Deliveries(Part):
    """The stored images of a ledger."""

    def destinations(self) -> list[str]:
        """All places where images were stored."""
        return self._scalars(sa.select(deliveries.c.destination).distinct().order_by(deliveries.c.destination))

    def at(self, destination: str) -> list[StoredImage]:
        """Images with a delivery at a destination; without those of erased items."""
        query = _stored_images(deliveries.c.key).join(deliveries, SAME_IMAGE)
        query = query.where(deliveries.c.destination == destination, images.c.state != ImageState.ERASED)
        return [StoredImage(*row) for row in self._rows(query)]

    def unrecorded_at(self, destination: str) -> list[StoredImage]:
        """Images that are at a destination by their own row, and so by the catalog, without a delivery there."""
        query = _stored_images(images.c.key).where(
            images.c.state == ImageState.STORED, images.c.destination == destination, ~delivered_at(destination)
        )
        return [StoredImage(*row) for row in self._rows(query)]

    def statuses(self, call_ids: Iterable[str], destination: str) -> dict[tuple[str, int], ImageStatus]:
        """Where the images of calls stand, by call and index. Copies are looked for at `destination`."""
        leased = items.c.holder_id.is_not(None)
        query = sa.select(
            images.c.call_id, images.c.idx, images.c.state, leased, delivered_at(destination), images.c.reason
        ).join(items, items.c.id == images.c.item_id)
        return {
            (call_id, index): ImageStatus(ImageState(state), bool(is_leased), bool(is_delivered), reason or "")
            for call_id, index, state, is_leased, is_delivered, reason in self._rows_among(
                query, images.c.call_id, call_ids
            )
        }

    def add(self, image: StoredImage, destination: str, uri: str) -> None:
        """Record the delivery of an image whose row says that it is stored."""
        values = {
            **fields(image, "call_id", "key"),
            "idx": image.index,
            "destination": destination,
            "uri": uri,
            "stored_at": datetime.now(UTC),
        }
        self._database.write(lambda connection: connection.execute(insert_new(connection, deliveries), [values]))

    def reopen_items(self, item_ids: Sequence[str]) -> None:
        """Turn lost and delivered items that nobody holds into generated ones: they have images to deliver again."""
        over = (items.c.state.in_((ItemState.LOST, ItemState.DELIVERED)), items.c.holder_id.is_(None))

        def operation(connection: Connection) -> None:
            for batch in batched(item_ids):
                _make_generated(connection, items.c.id.in_(batch), *over)

        self._database.write(operation)

    def remove(self, missing: Sequence[StoredImage], destination: str) -> None:
        """Remove the deliveries of images whose objects are missing at a destination.

        An image with no other copy becomes pending, and its item generated.
        """

        def operation(connection: Connection) -> None:
            for image in missing:
                _remove(connection, image, destination)

        self._database.write(operation)


def _stored_images(key: sa.Column[Any]) -> sa.Select[Any]:
    return sa.select(images.c.call_id, images.c.idx, images.c.item_id, key, images.c.bytes, images.c.sha256)


def _remove(connection: Connection, image: StoredImage, destination: str) -> None:
    this = sa.update(images).where(images.c.call_id == image.call_id, images.c.idx == image.index)
    copies = sa.and_(deliveries.c.call_id == image.call_id, deliveries.c.idx == image.index)
    connection.execute(sa.delete(deliveries).where(copies, deliveries.c.destination == destination))
    elsewhere = connection.execute(sa.select(deliveries).where(copies).limit(1)).one_or_none()
    if elsewhere is None:
        nowhere = {"state": ImageState.PENDING, "destination": None, "key": None, "uri": None, "stored_at": None}
        connection.execute(this.where(images.c.state == ImageState.STORED).values(nowhere))
    else:
        there = {"destination": elsewhere.destination, "key": elsewhere.key, "uri": elsewhere.uri}
        connection.execute(this.where(images.c.destination == destination).values(there))
    pending = sa.exists().where(images.c.item_id == items.c.id, images.c.state == ImageState.PENDING)
    _make_generated(connection, items.c.id == image.item_id, items.c.state == ItemState.DELIVERED, pending)


def _make_generated(connection: Connection, *which: sa.ColumnElement[bool]) -> None:
    generated = {"state": ItemState.GENERATED, "updated_at": datetime.now(UTC)}
    connection.execute(sa.update(items).where(*which).values(generated))
