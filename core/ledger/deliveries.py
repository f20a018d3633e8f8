"""Deliveries: which image is stored where, to be compared with what a store holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched
from .conditions import delivered_at
from .database import Database
from .schema import deliveries, images, insert_new, items
from .states import ImageState, ItemState

_SAME_IMAGE = sa.and_(images.c.call_id == deliveries.c.call_id, images.c.idx == deliveries.c.idx)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that the ledger says is stored.

    Attributes:
        call_id: The call that bought it.
        index: Its place in the reply.
        item_id: Its item.
        key: Its key at the destination.
        bytes: Its size, if known.
        sha256: Its hash, if known.
    """

    call_id: str
    index: int
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
    """Where an image stands.

    Attributes:
        state: Its state.
        leased: Whether a worker holds its item.
        delivered: Whether there is a copy at the destination that was asked about.
        reason: Why it is not stored; empty if nothing is known.
    """

    state: ImageState
    leased: bool
    delivered: bool
    reason: str


class Deliveries:
    """The stored images of a ledger.

    Args:
        database: The open ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def destinations(self) -> list[str]:
        """All places where images were stored."""
        query = sa.select(deliveries.c.destination).distinct().order_by(deliveries.c.destination)
        with self._database.read() as connection:
            return list(connection.scalars(query))

    def at(self, destination: str) -> list[StoredImage]:
        """Images with a delivery at a destination; without those of erased items."""
        query = (
            sa.select(
                deliveries.c.call_id,
                deliveries.c.idx,
                images.c.item_id,
                deliveries.c.key,
                images.c.bytes,
                images.c.sha256,
            )
            .join(images, _SAME_IMAGE)
            .where(deliveries.c.destination == destination, images.c.state != ImageState.ERASED)
        )
        with self._database.read() as connection:
            return [StoredImage(*row) for row in connection.execute(query)]

    def unrecorded_at(self, destination: str) -> list[StoredImage]:
        """Images that are at a destination by their own row, and so by the catalog, without a delivery there."""
        query = sa.select(
            images.c.call_id, images.c.idx, images.c.item_id, images.c.key, images.c.bytes, images.c.sha256
        ).where(
            images.c.state == ImageState.STORED,
            images.c.destination == destination,
            ~delivered_at(destination),
        )
        with self._database.read() as connection:
            return [StoredImage(*row) for row in connection.execute(query)]

    def statuses(self, call_ids: Iterable[str], destination: str) -> dict[tuple[str, int], ImageStatus]:
        """Where the images of calls stand, by call and index.

        Args:
            call_ids: The calls.
            destination: Where copies are looked for.
        """
        found: dict[tuple[str, int], ImageStatus] = {}
        with self._database.read() as connection:
            for batch in batched(sorted(call_ids)):
                query = (
                    sa.select(
                        images.c.call_id,
                        images.c.idx,
                        images.c.state,
                        items.c.holder_id.is_not(None).label("leased"),
                        delivered_at(destination).label("delivered"),
                        images.c.reason,
                    )
                    .join(items, items.c.id == images.c.item_id)
                    .where(images.c.call_id.in_(batch))
                )
                for row in connection.execute(query):
                    found[row.call_id, row.idx] = ImageStatus(
                        ImageState(row.state), bool(row.leased), bool(row.delivered), row.reason or ""
                    )
        return found

    def add(self, image: StoredImage, destination: str, uri: str) -> None:
        """Record the delivery of an image whose row says that it is stored.

        Args:
            image: The image.
            destination: Where it is.
            uri: Its address there.
        """
        values = {
            "call_id": image.call_id,
            "idx": image.index,
            "destination": destination,
            "key": image.key,
            "uri": uri,
            "stored_at": datetime.now(UTC),
        }
        self._database.write(lambda connection: connection.execute(insert_new(connection, deliveries), [values]))

    def reopen_items(self, item_ids: Sequence[str]) -> None:
        """Turn lost and delivered items that nobody holds into generated ones: they have images to deliver again."""

        def operation(connection: Connection) -> None:
            for batch in batched(item_ids):
                connection.execute(
                    sa.update(items)
                    .where(
                        items.c.id.in_(batch),
                        items.c.state.in_((ItemState.LOST, ItemState.DELIVERED)),
                        items.c.holder_id.is_(None),
                    )
                    .values(state=ItemState.GENERATED, updated_at=datetime.now(UTC))
                )

        self._database.write(operation)

    def remove(self, missing: Sequence[StoredImage], destination: str) -> None:
        """Remove the deliveries of images whose objects are missing at a destination.

        An image with no other copy becomes pending, and its item generated.

        Args:
            missing: The images.
            destination: Where their objects are missing.
        """

        def operation(connection: Connection) -> None:
            for image in missing:
                _remove(connection, image, destination)

        self._database.write(operation)


def _remove(connection: Connection, image: StoredImage, destination: str) -> None:
    this = sa.and_(images.c.call_id == image.call_id, images.c.idx == image.index)
    copies = sa.and_(deliveries.c.call_id == image.call_id, deliveries.c.idx == image.index)
    connection.execute(sa.delete(deliveries).where(copies, deliveries.c.destination == destination))
    elsewhere = connection.execute(sa.select(deliveries).where(copies).limit(1)).one_or_none()
    if elsewhere is None:
        connection.execute(
            sa.update(images)
            .where(this, images.c.state == ImageState.STORED)
            .values(state=ImageState.PENDING, destination=None, key=None, uri=None, stored_at=None)
        )
    else:
        connection.execute(
            sa.update(images)
            .where(this, images.c.destination == destination)
            .values(destination=elsewhere.destination, key=elsewhere.key, uri=elsewhere.uri)
        )
    pending = sa.exists().where(images.c.item_id == items.c.id, images.c.state == ImageState.PENDING)
    connection.execute(
        sa.update(items)
        .where(items.c.id == image.item_id, items.c.state == ItemState.DELIVERED, pending)
        .values(state=ItemState.GENERATED, updated_at=datetime.now(UTC))
    )
