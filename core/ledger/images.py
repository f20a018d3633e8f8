"""The images of answered calls: what is still to fetch, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .claims import in_batches
from .schema import calls, deliveries, holders, images, insert_new, items
from .states import ImageState, ItemState

__all__ = ["ImageResult", "ImageTask", "StoredAt", "finish_images", "images_to_deliver", "waiting_calls"]


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image that is paid for and not where it is wanted.

    Attributes:
        call_id: The call that bought it.
        index: Place in the reply, from 0.
        item_id: Its item.
        model: Canonical model id.
        edition: Of the item.
        sent_on: Day the call was sent, UTC.
        sent_from: Host of the process that sent it: where a base64 reply is spooled.
        source_url: Where the provider serves it; None if the reply carried its bytes, or if it is to be copied.
        content_type: As the reply claims, or as found when it was stored.
        attempts: Times it was fetched in vain.
        copy_from: URI of a stored copy, where it is only to be copied; else None.
        sha256: Of the stored copy.
    """

    call_id: str
    index: int
    item_id: str
    model: str
    edition: str
    sent_on: date
    sent_from: str | None
    source_url: str | None
    content_type: str | None
    attempts: int
    copy_from: str | None = None
    sha256: str | None = None

    @property
    def image_id(self) -> str:
        """`{call}-{index}`, as in the catalog."""
        return f"{self.call_id}-{self.index}"


@dataclass(frozen=True, slots=True)
class StoredAt:
    """A confirmed object and what is in it."""

    destination: str
    key: str
    uri: str
    etag: str | None
    content_type: str
    width: int
    height: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image in one round.

    `state` STORED comes with `stored`; QUARANTINED, LOST and PENDING (to be tried again) come with a `reason`.
    """

    call_id: str
    index: int
    item_id: str
    state: ImageState
    stored: StoredAt | None = None
    reason: str | None = None


def images_to_deliver(connection: Connection, item_ids: Sequence[str], *, destination: str | None) -> list[ImageTask]:
    """Images of the given items that are pending, or stored elsewhere than at `destination`."""
    there = sa.exists().where(
        deliveries.c.call_id == images.c.call_id,
        deliveries.c.idx == images.c.idx,
        deliveries.c.destination == destination,
    )
    wanted = sa.or_(
        images.c.state == ImageState.PENDING,
        sa.and_(images.c.state == ImageState.STORED, ~there) if destination is not None else sa.false(),
    )
    found: list[ImageTask] = []
    for batch in in_batches(item_ids):
        query = (
            sa.select(images, items.c.model, items.c.edition, calls.c.number, calls.c.sent_at, holders.c.host)
            .join(items, items.c.id == images.c.item_id)
            .join(calls, calls.c.id == images.c.call_id)
            .outerjoin(holders, holders.c.id == calls.c.holder_id)
            .where(images.c.item_id.in_(batch), wanted)
        )
        rows = sorted(connection.execute(query), key=lambda row: (batch.index(row.item_id), row.number, row.idx))
        for row in rows:
            stored = row.state == ImageState.STORED
            found.append(
                ImageTask(
                    call_id=row.call_id,
                    index=row.idx,
                    item_id=row.item_id,
                    model=row.model,
                    edition=row.edition,
                    sent_on=row.sent_at.date(),
                    sent_from=row.host,
                    source_url=None if stored else row.source_url,
                    content_type=row.content_type,
                    attempts=row.attempts,
                    copy_from=row.uri if stored else None,
                    sha256=row.sha256 if stored else None,
                )
            )
    return found


def waiting_calls(connection: Connection, call_ids: Sequence[str]) -> set[str]:
    """Those of the calls that have images which are not dealt with: their replies are still needed."""
    found: set[str] = set()
    for batch in in_batches(call_ids):
        found.update(
            connection.scalars(
                sa.select(images.c.call_id).where(images.c.call_id.in_(batch), images.c.state == ImageState.PENDING)
            )
        )
    return found


def finish_images(connection: Connection, results: Sequence[ImageResult]) -> None:
    """Write what became of images and, from that, of their items: one transaction with whatever else is in it."""
    now = datetime.now(UTC)
    for result in results:
        this = sa.and_(images.c.call_id == result.call_id, images.c.idx == result.index)
        if result.stored is not None:
            _store(connection, result, result.stored, now)
        else:
            connection.execute(
                sa.update(images)
                .where(this, images.c.state == ImageState.PENDING)
                .values(state=result.state, reason=result.reason, attempts=images.c.attempts + 1)
            )
    settle_items(connection, list(dict.fromkeys(result.item_id for result in results)))


def _store(connection: Connection, result: ImageResult, stored: StoredAt, now: datetime) -> None:
    facts = {
        "content_type": stored.content_type,
        "width": stored.width,
        "height": stored.height,
        "bytes": stored.bytes,
        "sha256": stored.sha256,
        "destination": stored.destination,
        "key": stored.key,
        "uri": stored.uri,
        "stored_at": now,
    }
    # Where it is stored already, this is a copy: the catalog keeps naming the first place.
    connection.execute(
        sa.update(images)
        .where(images.c.call_id == result.call_id, images.c.idx == result.index, images.c.state != ImageState.STORED)
        .values(state=ImageState.STORED, reason=None, **facts)
    )
    connection.execute(
        insert_new(connection, deliveries).values(
            call_id=result.call_id,
            idx=result.index,
            destination=stored.destination,
            key=stored.key,
            uri=stored.uri,
            etag=stored.etag,
            stored_at=now,
        )
    )


def settle_items(connection: Connection, item_ids: Sequence[str]) -> None:
    """Move generated items whose images are all terminal: delivered if one is stored, lost if none could be."""
    now = datetime.now(UTC)

    def has(state: ImageState) -> sa.Exists:
        return sa.exists().where(images.c.item_id == items.c.id, images.c.state == state)

    for batch in in_batches(item_ids):
        connection.execute(
            sa.update(items)
            .where(items.c.id.in_(batch), items.c.state == ItemState.GENERATED, ~has(ImageState.PENDING))
            .values(
                state=sa.case((has(ImageState.STORED), ItemState.DELIVERED.value), else_=ItemState.LOST.value),
                updated_at=now,
            )
        )
