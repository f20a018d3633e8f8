"""Rebuilding a ledger from what its objects say of their purchase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .budgets import post
from .calls import Answered, NewImage, settle
from .database import Part
from .identity import ItemKind, inputs_of
from .images import ImageResult, StoredAt, finish_images
from .runs import REBUILT, count_anew
from .schema import calls, deliveries, fields, images, insert_new, items, meta, run_items, runs
from .states import CallOutcome, ImageState, ItemState, RunOutcome


@dataclass(frozen=True, slots=True)
class RebuiltImage:
    """A stored image as its object tells of it."""

    index: int  # its place in the reply
    key: str
    uri: str
    content_type: str | None
    width: int | None
    height: int | None
    bytes: int
    sha256: str | None  # its hash, if the store knows it
    damage: str | None  # what is wrong with it, as was found when it was stored


@dataclass(frozen=True, slots=True)
class RebuiltCall:
    """A call and its item, as the call's objects tell of them."""

    id: str
    item_id: str
    model: str
    prompt: str  # of the item; empty if the objects do not say it in full
    parameters: Mapping[str, Any]
    edition: str
    repeat: int
    run_id: str
    requested: int
    returned: int  # images in the reply
    credits: int
    cost_source: str  # who says so
    wire_model: str
    contract: str
    seed: str | None
    sent_at: datetime
    provider: str
    images: Sequence[RebuiltImage]  # its stored images, at least one


class Rebuilding(Part):
    """Takes calls that were found at a destination into a ledger."""

    def add(self, found: Sequence[RebuiltCall], destination: str) -> set[str]:
        """Add calls that the ledger does not know, with their items, runs and images: all or none.

        A call that it knows as sent or unknown, and that nobody works on, is answered by this. Calls whose rows were
        moved into an archive are left out.

        Returns:
            Ids of the calls whose outcome is new.
        """
        worker_id = self._database.worker.id

        def operation(connection: Connection) -> set[str]:
            query = sa.select(calls.c.id, items.c.holder_id).join(items, items.c.id == calls.c.item_id)
            known = dict(connection.execute(query.where(calls.c.id.in_([call.id for call in found]))).all())
            moved = sa.select(items.c.id).where(items.c.archive_part.is_not(None))
            archived = set(connection.scalars(moved.where(items.c.id.in_([call.item_id for call in found]))))
            told = set()
            for call in found:
                if call.item_id in archived:
                    continue
                if call.id not in known:
                    _add(connection, call, destination, worker_id)
                    told.add(call.id)
                elif known[call.id] is None and _answer(connection, call, destination):
                    told.add(call.id)
            return told

        return self._database.write(operation)

    def mark(self) -> None:
        """Record that items may lack what their objects had no room for: a run that wants them completes them."""
        row = {"key": REBUILT, "value": "yes"}
        self._database.write(lambda connection: connection.execute(insert_new(connection, meta), [row]))


def _answer(connection: Connection, call: RebuiltCall, destination: str) -> bool:
    """Settle a call whose reply this ledger never saw, and note its images as stored."""
    reply = Answered(
        [NewImage(image.index, None, image.content_type, None) for image in call.images],
        **fields(call, "credits", "cost_source"),
        seed=int(call.seed) if call.seed is not None and call.seed.isdecimal() else None,
    )
    if not settle(connection, [(call.id, reply)])[0]:
        return False
    results = [
        ImageResult(
            call.id,
            image.index,
            call.item_id,
            ImageState.STORED,
            StoredAt(
                destination=destination,
                etag=None,
                **fields(image, "key", "uri", "bytes", "damage"),
                content_type=image.content_type or "",
                width=image.width or 0,
                height=image.height or 0,
                sha256=image.sha256 or "",
            ),
        )
        for image in call.images
    ]
    finish_images(connection, [results])
    return True


def _add(connection: Connection, call: RebuiltCall, destination: str, worker_id: str) -> None:
    now = datetime.now(UTC)
    item = {
        **fields(call, "model", "prompt", "edition", "repeat"),
        "id": call.item_id,
        "kind": ItemKind.IMAGE,
        "parameters": dict(call.parameters),
        "inputs": inputs_of(call.parameters),
        "state": ItemState.DELIVERED,
        "created_at": now,
        "updated_at": now,
    }
    run = {
        **fields(call, "model", "edition"),
        "id": call.run_id,
        "holder_id": worker_id,
        "parameters": {},
        "destination": destination,
        "tags": {},
        "reserved": 0,
        "spent": 0,
        "started_at": call.sent_at,
        "ended_at": call.sent_at,
        "outcome": RunOutcome.REBUILT,
    }
    connection.execute(insert_new(connection, items), [item])
    connection.execute(insert_new(connection, runs), [run])
    post(connection, call.run_id, [(call.provider, call.sent_at, 0, call.credits)])
    number = _next(connection, calls.c.number, 1, calls.c.item_id == call.item_id)
    paid = {
        **fields(call, "id", "item_id", "run_id", "cost_source", "wire_model", "contract"),
        **fields(call, "requested", "returned", "seed", "sent_at", "provider"),
        "number": number,
        "holder_id": worker_id,
        "outcome": CallOutcome.ANSWERED,
        "billed": True,
        "reserved": call.credits,
        "settled": call.credits,
        "ended_at": call.sent_at,
    }
    connection.execute(sa.insert(calls), [paid])
    asked = {
        **fields(call, "run_id", "item_id"),
        "position": _next(connection, run_items.c.position, 0, run_items.c.run_id == call.run_id),
        "source": call.images[0].key,
        "line": 0,
        "row": {},
        "choices": [],
        "owned": False,
    }
    connection.execute(sa.insert(run_items), [asked])
    count_anew(connection, call.run_id)
    stored = [
        {**fields(image, "key", "uri"), "call_id": call.id, "idx": image.index}
        | {"destination": destination, "stored_at": now}
        for image in call.images
    ]
    facts = [
        {**fields(image, "content_type", "width", "height", "bytes", "sha256", "damage"), "item_id": call.item_id}
        | {"state": ImageState.STORED, "attempts": 0, "requested_at": call.sent_at}
        for image in call.images
    ]
    connection.execute(sa.insert(images), [{**at, **fact} for at, fact in zip(stored, facts, strict=True)])
    connection.execute(insert_new(connection, deliveries), stored)
    # An item that this ledger planned itself is owned, too.
    connection.execute(
        sa.update(items)
        .where(items.c.id == call.item_id, items.c.holder_id.is_(None), items.c.state != ItemState.ERASED)
        .values(state=ItemState.DELIVERED, reason=None, updated_at=now)
    )


def _next(connection: Connection, column: sa.Column[int], first: int, of: sa.ColumnElement[bool]) -> int:
    last = connection.scalar(sa.select(sa.func.max(column)).where(of))
    return first if last is None else last + 1
