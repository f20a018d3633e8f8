"""Rebuilding a ledger from what its objects say of their purchase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Database
from .identity import ItemKind
from .runs import REBUILT
from .schema import calls, deliveries, images, insert_new, items, meta, run_items, runs
from .states import CallOutcome, ImageState, ItemState, RunOutcome


@dataclass(frozen=True, slots=True)
class RebuiltImage:
    """A stored image as its object tells of it.

    Attributes:
        index: Its place in the reply.
        key: Its key at the destination.
        uri: Its address.
        content_type: As the store says.
        width: In pixels, if the object says so.
        height: In pixels, if the object says so.
        bytes: Its size.
        sha256: Its hash, if the store knows it.
    """

    index: int
    key: str
    uri: str
    content_type: str | None
    width: int | None
    height: int | None
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class RebuiltCall:
    """A call and its item, as the call's objects tell of them.

    Attributes:
        id: The call.
        item_id: Its item.
        model: Canonical model id of the item.
        prompt: Of the item; empty if the objects do not say it in full.
        parameters: Of the item.
        edition: Of the item.
        repeat: Of the item.
        run_id: The run that paid.
        requested: Images asked for.
        returned: Images in the reply.
        credits: What the call cost.
        cost_source: Who says so.
        wire_model: The body's model.
        contract: The contract's name.
        seed: That was sent, if any.
        sent_at: When it was sent.
        images: Its stored images, at least one.
    """

    id: str
    item_id: str
    model: str
    prompt: str
    parameters: Mapping[str, Any]
    edition: str
    repeat: int
    run_id: str
    requested: int
    returned: int
    credits: int
    cost_source: str
    wire_model: str
    contract: str
    seed: str | None
    sent_at: datetime
    images: Sequence[RebuiltImage]


class Rebuilding:
    """Takes calls that were found at a destination into a ledger.

    Args:
        database: The open ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, found: Sequence[RebuiltCall], destination: str) -> set[str]:
        """Add calls that the ledger does not know, with their items, runs and images: all or none.

        Args:
            found: The calls.
            destination: Where their images are.

        Returns:
            Ids of the calls that are new.
        """
        worker_id = self._database.worker.id
        return self._database.write(lambda connection: _add(connection, found, destination, worker_id))

    def mark(self) -> None:
        """Record that items may lack what their objects had no room for: a run that wants them completes them."""
        row = {"key": REBUILT, "value": "yes"}
        self._database.write(lambda connection: connection.execute(insert_new(connection, meta), [row]))


def _add(connection: Connection, found: Sequence[RebuiltCall], destination: str, worker_id: str) -> set[str]:
    known = set(connection.scalars(sa.select(calls.c.id).where(calls.c.id.in_([call.id for call in found]))))
    new = [call for call in found if call.id not in known]
    now = datetime.now(UTC)
    for call in new:
        connection.execute(insert_new(connection, items), [_item_row(call, now)])
        _add_run(connection, call, destination, worker_id)
        connection.execute(sa.insert(calls), [_call_row(connection, call, worker_id)])
        connection.execute(sa.insert(run_items), [_run_item_row(connection, call)])
        connection.execute(sa.insert(images), [_image_row(call, image, destination, now) for image in call.images])
        connection.execute(
            insert_new(connection, deliveries), [_delivery_row(call, image, destination, now) for image in call.images]
        )
        # An item that this ledger planned itself is owned, too.
        connection.execute(
            sa.update(items)
            .where(items.c.id == call.item_id, items.c.holder_id.is_(None), items.c.state != ItemState.ERASED)
            .values(state=ItemState.DELIVERED, reason=None, updated_at=now)
        )
    return {call.id for call in new}


def _item_row(call: RebuiltCall, now: datetime) -> dict[str, Any]:
    return {
        "id": call.item_id,
        "kind": ItemKind.IMAGE,
        "model": call.model,
        "prompt": call.prompt,
        "parameters": dict(call.parameters),
        "edition": call.edition,
        "repeat": call.repeat,
        "state": ItemState.DELIVERED,
        "created_at": now,
        "updated_at": now,
    }


def _add_run(connection: Connection, call: RebuiltCall, destination: str, worker_id: str) -> None:
    row = {
        "id": call.run_id,
        "holder_id": worker_id,
        "model": call.model,
        "parameters": {},
        "destination": destination,
        "edition": call.edition,
        "tags": {},
        "reserved": 0,
        "spent": 0,
        "started_at": call.sent_at,
        "ended_at": call.sent_at,
        "outcome": RunOutcome.REBUILT,
    }
    connection.execute(insert_new(connection, runs), [row])
    connection.execute(sa.update(runs).where(runs.c.id == call.run_id).values(spent=runs.c.spent + call.credits))


def _call_row(connection: Connection, call: RebuiltCall, worker_id: str) -> dict[str, Any]:
    last = sa.select(sa.func.coalesce(sa.func.max(calls.c.number), 0)).where(calls.c.item_id == call.item_id)
    return {
        "id": call.id,
        "item_id": call.item_id,
        "number": int(connection.scalar(last) or 0) + 1,
        "run_id": call.run_id,
        "holder_id": worker_id,
        "outcome": CallOutcome.ANSWERED,
        "billed": True,
        "reserved": call.credits,
        "settled": call.credits,
        "cost_source": call.cost_source,
        "wire_model": call.wire_model,
        "contract": call.contract,
        "requested": call.requested,
        "returned": call.returned,
        "seed": call.seed,
        "sent_at": call.sent_at,
        "ended_at": call.sent_at,
    }


def _run_item_row(connection: Connection, call: RebuiltCall) -> dict[str, Any]:
    last = connection.scalar(sa.select(sa.func.max(run_items.c.position)).where(run_items.c.run_id == call.run_id))
    return {
        "run_id": call.run_id,
        "position": 0 if last is None else last + 1,
        "item_id": call.item_id,
        "source": call.images[0].key,
        "line": 0,
        "row": {},
        "choices": [],
        "owned": False,
    }


def _image_row(call: RebuiltCall, image: RebuiltImage, destination: str, now: datetime) -> dict[str, Any]:
    return {
        "call_id": call.id,
        "idx": image.index,
        "item_id": call.item_id,
        "state": ImageState.STORED,
        "attempts": 0,
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
        "bytes": image.bytes,
        "sha256": image.sha256,
        "destination": destination,
        "key": image.key,
        "uri": image.uri,
        "stored_at": now,
    }


def _delivery_row(call: RebuiltCall, image: RebuiltImage, destination: str, now: datetime) -> dict[str, Any]:
    return {
        "call_id": call.id,
        "idx": image.index,
        "destination": destination,
        "key": image.key,
        "uri": image.uri,
        "stored_at": now,
    }
