"""Revisions: items that are to replace images, and who asked for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from .conditions import rows_among
from .database import Part
from .schema import fields, images, insert_new, items, revision_requests, revisions
from .states import CLOSED, FINISHED, ImageState, ItemState, RegenerationKind
from .verdicts import image_key


@dataclass(frozen=True, slots=True)
class NewRevision:
    """An item that is to replace an image."""

    item_id: str
    image_id: str  # the image that is replaced
    kind: RegenerationKind
    model: str  # with its contract
    prompt: str
    parameters: Mapping[str, Any]
    edition: str


@dataclass(frozen=True, slots=True)
class RevisionRequest:
    """That a reviewer wants a revision, or does not want it any more.

    Attributes:
        id: Made by the client. A request that is sent again under its id is recorded once.
    """

    item_id: str
    reviewer: str
    withdrawn: bool = False
    at: datetime | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if not self.reviewer.strip():
            raise BadInput("a regeneration needs the name of its reviewer: --reviewer NAME, or PREFECT_IMAGEN_REVIEWER")


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision as the ledger has it."""

    item_id: str
    root_id: str  # the item that it descends from
    parent_id: str  # the item of the image that it replaces
    image_id: str  # the image that it replaces
    revision: int
    kind: RegenerationKind
    model: str
    prompt: str
    parameters: Mapping[str, Any]
    edition: str
    reviewers: tuple[str, ...]  # who wants it now
    state: ItemState  # PLANNED where no run has taken it up
    images: tuple[str, ...]  # its stored images

    @property
    def open(self) -> bool:
        """Whether it is still to be bought or delivered."""
        return bool(self.reviewers) and self.state not in CLOSED


class Revisions(Part):
    """The revisions of a ledger."""

    def add(self, wanted: Sequence[NewRevision], requests: Sequence[RevisionRequest]) -> None:
        """Record requests, and their revisions where they are new. Each is recorded once.

        Raises:
            BadInput: A request for a revision that the ledger does not have.
        """
        self._database.write(lambda connection: _add(connection, wanted, requests))

    def get(self, item_ids: Iterable[str]) -> dict[str, Revision]:
        """Revisions by the ids of their items; unknown ones are left out."""
        with self._database.read() as connection:
            rows = list(rows_among(connection, sa.select(revisions), revisions.c.item_id, dict.fromkeys(item_ids)))
            return {one.item_id: one for one in _complete(connection, rows)}

    def of_images(self, image_ids: Iterable[str]) -> dict[str, list[Revision]]:
        """The revisions that replace images, the first one first."""
        wanted = dict.fromkeys(image_ids)
        call_ids = dict.fromkeys(image_key(image_id)[0] for image_id in wanted)
        query = sa.select(revisions).order_by(revisions.c.created_at, revisions.c.item_id)
        found: dict[str, list[Revision]] = {}
        with self._database.read() as connection:
            rows = list(rows_among(connection, query, revisions.c.call_id, call_ids))
            for one in _complete(connection, rows):
                if one.image_id in wanted:
                    found.setdefault(one.image_id, []).append(one)
        return found

    def open(self, *, retry_refused: bool = False) -> list[Revision]:
        """Revisions that somebody wants and that are not there yet, in the order in which they were asked for.

        Args:
            retry_refused: Those, too, that the provider refused or that were lost.
        """
        closed = FINISHED if retry_refused else CLOSED
        query = (
            sa.select(revisions)
            .outerjoin(items, items.c.id == revisions.c.item_id)
            .where(sa.or_(items.c.state.is_(None), items.c.state.not_in(closed)))
            .order_by(revisions.c.created_at, revisions.c.item_id)
        )
        with self._database.read() as connection:
            return [one for one in _complete(connection, list(connection.execute(query))) if one.reviewers]


def _add(connection: Connection, wanted: Sequence[NewRevision], requests: Sequence[RevisionRequest]) -> None:
    now = datetime.now(UTC)
    parents = {image_id: image_key(image_id) for image_id in {one.image_id for one in wanted}}
    query = sa.select(images.c.call_id, images.c.idx, images.c.item_id, revisions.c.root_id, revisions.c.revision)
    query = query.outerjoin(revisions, revisions.c.item_id == images.c.item_id)
    found = {
        (row.call_id, row.idx): row
        for row in rows_among(connection, query, images.c.call_id, {call_id for call_id, _ in parents.values()})
    }
    rows = []
    for one in wanted:
        parent = found.get(parents[one.image_id])
        if parent is None:
            raise BadInput(f"there is no image {one.image_id} in the catalog")
        rows.append(
            {
                **fields(one, "item_id", "kind", "model", "prompt", "edition"),
                "call_id": parent.call_id,
                "idx": parent.idx,
                "parent_id": parent.item_id,
                "root_id": parent.root_id or parent.item_id,
                "revision": (parent.revision or 1) + 1,
                "parameters": dict(one.parameters),
                "created_at": now,
            }
        )
    if rows:
        connection.execute(insert_new(connection, revisions), rows)
    asked = {request.item_id for request in requests}
    known = {row.item_id for row in rows_among(connection, sa.select(revisions.c.item_id), revisions.c.item_id, asked)}
    if missing := asked - known:
        raise BadInput(f"nothing is to be made anew as {', '.join(sorted(missing))}")
    if requests:
        connection.execute(
            insert_new(connection, revision_requests),
            [
                {**fields(request, "id", "item_id", "reviewer", "withdrawn"), "at": min(request.at or now, now)}
                for request in requests
            ],
        )


def _complete(connection: Connection, rows: Sequence[sa.Row[Any]]) -> list[Revision]:
    """Revisions with what became of them."""
    ids = [row.item_id for row in rows]
    query = sa.select(revision_requests).order_by(revision_requests.c.number)
    wants: dict[str, dict[str, bool]] = {}
    for row in rows_among(connection, query, revision_requests.c.item_id, ids):
        wants.setdefault(row.item_id, {})[row.reviewer] = not row.withdrawn
    states = dict(map(tuple, rows_among(connection, sa.select(items.c.id, items.c.state), items.c.id, ids)))
    stored = sa.select(images.c.item_id, images.c.call_id, images.c.idx).where(images.c.state == ImageState.STORED)
    made: dict[str, list[str]] = {}
    for row in rows_among(connection, stored.order_by(images.c.call_id, images.c.idx), images.c.item_id, ids):
        made.setdefault(row.item_id, []).append(f"{row.call_id}-{row.idx}")
    return [
        Revision(
            **fields(row, "item_id", "root_id", "parent_id", "revision", "model", "prompt", "parameters", "edition"),
            image_id=f"{row.call_id}-{row.idx}",
            kind=RegenerationKind(row.kind),
            reviewers=tuple(name for name, wanted in wants.get(row.item_id, {}).items() if wanted),
            state=ItemState(states.get(row.item_id, ItemState.PLANNED)),
            images=tuple(made.get(row.item_id, ())),
        )
        for row in rows
    ]
