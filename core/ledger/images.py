"""Images of answered calls: those that are to be fetched, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..values import batched, canonical_json
from .conditions import SAME_IMAGE, archived_images, delivered_at, items_of_run
from .database import Part
from .prepared import Prepared
from .schema import calls, deliveries, fields, images, insert_new, items, run_items, runs, workers
from .states import ImageState, ItemState


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image that is paid for and not where it is wanted."""

    call_id: str
    index: int  # place in the reply, from 0
    item_id: str
    model: str
    edition: str
    sent_at: datetime  # when the call was sent, UTC
    sent_from: str | None  # host of the process that sent the call: a base64 reply is in its spool
    source_url: str | None  # where the provider serves it; None if the reply held its bytes, or if it is to be copied
    content_type: str | None  # as the reply claims, or as found when it was stored
    attempts: int
    copy_from: str | None = None  # URI of a stored copy if it is only to be copied; else None
    sha256: str | None = None  # of the stored copy
    facts: Mapping[str, str] = field(default_factory=dict)  # facts of the purchase that are stored with the object
    prompt: str = ""  # as it was sent

    @property
    def image_id(self) -> str:
        """`{call}-{index}`, as in the catalog."""
        return f"{self.call_id}-{self.index}"

    @property
    def sent_on(self) -> date:
        """The day the call was sent, UTC."""
        return self.sent_at.date()


@dataclass(frozen=True, slots=True)
class StoredAt:
    """A confirmed object and its contents."""

    destination: str
    key: str
    uri: str
    etag: str | None
    content_type: str
    width: int | None
    height: int | None
    bytes: int
    sha256: str
    damage: str | None = None  # what is wrong with the picture, or could not be checked
    c2pa: str | None = None  # what its C2PA manifest is worth, if its format was searched for one
    c2pa_issuer: str | None = None
    digital_source_type: str | None = None  # what it says itself
    marked: str | None = None  # how it was marked here, if it was


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of an image in one attempt.

    `state` STORED comes with `stored`; QUARANTINED, LOST and PENDING (to be tried again) come with a `reason`.
    """

    call_id: str
    index: int
    item_id: str
    state: ImageState
    stored: StoredAt | None = None
    reason: str | None = None


_OVER = (ItemState.LOST, ItemState.DELIVERED)


class Images(Part):
    """The images of a ledger."""

    def to_deliver(self, item_ids: Sequence[str], *, destination: str | None) -> list[ImageTask]:
        """Images of items that are pending, or stored elsewhere than at `destination`, in the order of the items."""
        wanted: sa.ColumnElement[bool] = images.c.state == ImageState.PENDING
        if destination is not None:
            wanted = sa.or_(wanted, sa.and_(images.c.state == ImageState.STORED, ~delivered_at(destination)))

        def question(connection: Connection) -> list[ImageTask]:
            found: list[ImageTask] = []
            for batch in batched(item_ids):
                rows = connection.execute(_TASKS.where(images.c.item_id.in_(batch), wanted))
                ordered = sorted(rows, key=lambda row: (batch.index(row.item_id), row.number, row.idx))
                found += map(_task, ordered)
            return found

        return self._database.ask(question)

    def source_of(self, task: ImageTask) -> tuple[int | None, Mapping[str, Any]]:
        """Line and columns of the row for which an image was bought; none where its run is not known any more."""
        query = (
            sa.select(run_items.c.line, run_items.c.row)
            .join(calls, calls.c.run_id == run_items.c.run_id)
            .where(calls.c.id == task.call_id, run_items.c.item_id == task.item_id)
            .order_by(run_items.c.position + 0)
            .limit(1)
        )
        rows = self._rows(query)
        return (rows[0].line, rows[0].row) if rows else (None, {})

    def pending_calls(self, call_ids: Sequence[str]) -> set[str]:
        """Those of the calls that have pending images: their replies are still needed."""
        query = sa.select(images.c.call_id).where(images.c.state == ImageState.PENDING)
        return {row.call_id for row in self._rows_among(query, images.c.call_id, call_ids)}

    def finish(self, results: Sequence[ImageResult]) -> None:
        """Commit what became of images."""
        self._database.write_together(finish_images, results)

    def retry_lost(self, run_id: str | None) -> None:
        """Make lost and quarantined images of a run, or of all, pending again: their source may be back."""
        # An image that the provider blocked was never fetched, and has no attempts.
        gone = sa.and_(
            images.c.state.in_((ImageState.LOST, ImageState.QUARANTINED)),
            images.c.attempts > 0,
            images.c.source_url.is_not(None),
        )
        mine = sa.select(images.c.item_id).where(gone)
        if run_id is not None:
            mine = mine.where(images.c.item_id.in_(items_of_run(run_id)))
        free = sa.and_(items.c.id.in_(mine), items.c.state.in_(_OVER), items.c.holder_id.is_(None))

        def operation(connection: Connection) -> None:
            reopened = list(connection.scalars(sa.select(items.c.id).where(free)))
            for batch in batched(reopened):
                of_these = sa.update(images).where(images.c.item_id.in_(batch), gone)
                connection.execute(of_these.values(state=ImageState.PENDING))
                connection.execute(sa.update(items).where(items.c.id.in_(batch)).values(state=ItemState.GENERATED))

        self._database.write(operation)

    def count_in(self, state: ImageState, run_id: str) -> int:
        """Number of images of a run's items that are in a state."""
        here = _COUNT.where(images.c.item_id.in_(items_of_run(run_id)), images.c.state == state).scalar_subquery()
        moved = {ImageState.STORED: "stored", ImageState.QUARANTINED: "quarantined"}.get(state)
        return int(self._scalar(sa.select(here + archived_images(run_id, moved) if moved is not None else here)))

    def count_damaged(self, run_id: str) -> int:
        """Number of stored images of a run's items that are not whole, or could not be checked."""
        damaged = (images.c.state == ImageState.STORED, images.c.damage.is_not(None))
        here = _COUNT.where(images.c.item_id.in_(items_of_run(run_id)), *damaged).scalar_subquery()
        return int(self._scalar(sa.select(here + archived_images(run_id, "damaged"))))

    def count_at(self, destination: str) -> int:
        """Number of images at a destination."""
        return int(self._scalar(sa.select(sa.func.count()).where(deliveries.c.destination == destination)))

    def count_stored_by(self, run_id: str) -> int:
        """Number of images that a run has stored at its destination: those it bought and those it copied there."""
        copies = _COUNT.join(deliveries, SAME_IMAGE).join(runs, runs.c.destination == deliveries.c.destination)
        meanwhile = (runs.c.id == run_id, deliveries.c.stored_at >= runs.c.started_at)
        return int(self._scalar(copies.where(*meanwhile, images.c.item_id.in_(items_of_run(run_id)))))


def _task(row: sa.Row[Any]) -> ImageTask:
    stored = row.state == ImageState.STORED
    return ImageTask(
        **fields(row, "call_id", "item_id", "model", "edition", "content_type", "attempts"),
        index=row.idx,
        sent_at=row.sent_at,
        sent_from=row.host,
        source_url=None if stored else row.source_url,
        copy_from=row.uri if stored else None,
        sha256=row.sha256 if stored else None,
        facts=_purchase_facts(row),
        prompt=row.prompt if row.sent_prompt is None else row.sent_prompt,
    )


def _purchase_facts(row: sa.Row[Any]) -> dict[str, str]:
    """What each object is told of its purchase, so that a ledger can be rebuilt from the objects alone.

    Names and texts, the most needed first; what is empty is left out. The prompt is the item's own, not its rewrite.
    """
    facts = {
        "model": row.model,
        "repeat": str(row.repeat),
        "call-credits": str(row.settled),
        "cost-source": row.cost_source,
        "images-requested": str(row.requested),
        "images-returned": str(row.returned),
        "run-id": row.run_id,
        "wire-model": row.wire_model,
        "contract": row.contract,
        "seed": "" if row.seed is None else str(row.seed),
        "rewritten": "" if row.rewrite_id is None else "yes",
        "edition": row.edition,
        "parameters": canonical_json(dict(row.parameters)),
        "prompt": row.prompt,
    }
    return {name: value for name, value in facts.items() if value}


def pending_images(connection: Connection, call_ids: Sequence[str]) -> dict[str, list[ImageTask]]:
    """The pending images of calls, by call and in the order of the reply."""
    found: dict[str, list[ImageTask]] = {}
    for batch in batched(call_ids):
        for row in connection.execute(_PENDING_TASKS, {"ids": batch}):
            found.setdefault(row.call_id, []).append(_task(row))
    return found


def finish_images(connection: Connection, rounds: Sequence[Sequence[ImageResult]]) -> list[None]:
    """Record what became of images and, as a consequence, of their items. A step of a group commit."""
    now = datetime.now(UTC)
    results = [result for round_ in rounds for result in round_]
    stored = [(result, result.stored) for result in results if result.stored is not None]
    _STORE.run(
        connection,
        [
            {"call": result.call_id, "index": result.index, "now": now}
            | {f"new_{name}": getattr(at, name) for name in _FACTS}
            for result, at in stored
        ],
    )
    _INSERT_DELIVERY.run(
        connection,
        [
            {"call_id": result.call_id, "idx": result.index, "stored_at": now}
            | fields(at, "destination", "key", "uri", "etag")
            for result, at in stored
        ],
    )
    others = [
        {"call": result.call_id, "index": result.index, "new_state": result.state, "why": result.reason}
        for result in results
        if result.stored is None
    ]
    if others:
        connection.execute(_NOT_STORED, others)
    settle_items(connection, list(dict.fromkeys(result.item_id for result in results)))
    return [None] * len(rounds)


def settle_items(connection: Connection, item_ids: Sequence[str]) -> None:
    """Move generated items without pending images: to delivered if an image is stored, else to lost."""
    for batch in batched(item_ids):
        connection.execute(_SETTLE_ITEMS, {"ids": batch, "now": datetime.now(UTC)})


# --- statements: built once, since building one costs more than running it --------------------------------------------

_COUNT = sa.select(sa.func.count()).select_from(images)
_TASKS: sa.Select[Any] = (
    sa.select(
        *(images.c[name] for name in ("call_id", "idx", "item_id", "state", "source_url", "content_type", "attempts")),
        *(images.c[name] for name in ("uri", "sha256")),
        *(items.c[name] for name in ("model", "edition", "repeat", "parameters", "prompt", "rewrite_id")),
        *(calls.c[name] for name in ("number", "sent_at", "run_id", "requested", "returned", "settled", "seed")),
        *(calls.c[name] for name in ("cost_source", "wire_model", "contract")),
        calls.c.prompt.label("sent_prompt"),
        workers.c.host,
    )
    .join(items, items.c.id == images.c.item_id)
    .join(calls, calls.c.id == images.c.call_id)
    .outerjoin(workers, workers.c.id == calls.c.holder_id)
)
_PENDING_TASKS = _TASKS.where(
    images.c.call_id.in_(sa.bindparam("ids", expanding=True)), images.c.state == ImageState.PENDING
).order_by(images.c.call_id, images.c.idx)
_PROVENANCE = ("c2pa", "c2pa_issuer", "digital_source_type", "marked")
_FACTS = ("content_type", "width", "height", "bytes", "sha256", "destination", "key", "uri", "damage", *_PROVENANCE)
_THIS = sa.and_(images.c.call_id == sa.bindparam("call"), images.c.idx == sa.bindparam("index"))
# If it is stored already, this is a copy: the catalog keeps the first place.
_STORE = Prepared(
    sa.update(images)
    .where(_THIS, images.c.state != ImageState.STORED)
    .values(
        state=ImageState.STORED,
        reason=None,
        stored_at=sa.bindparam("now"),
        **{name: sa.bindparam(f"new_{name}") for name in _FACTS},
    )
)
_INSERT_DELIVERY = Prepared(lambda connection: insert_new(connection, deliveries))
_NOT_STORED = (
    sa.update(images)
    .where(_THIS, images.c.state == ImageState.PENDING)
    .values(state=sa.bindparam("new_state"), reason=sa.bindparam("why"), attempts=images.c.attempts + 1)
)


def _has(state: ImageState) -> sa.Exists:
    return sa.exists().where(images.c.item_id == items.c.id, images.c.state == state)


_SETTLE_ITEMS = (
    sa.update(items)
    .where(
        items.c.id.in_(sa.bindparam("ids", expanding=True)),
        items.c.state == ItemState.GENERATED,
        ~_has(ImageState.PENDING),
    )
    .values(
        state=sa.case((_has(ImageState.STORED), ItemState.DELIVERED.value), else_=ItemState.LOST.value),
        updated_at=sa.bindparam("now"),
    )
)
