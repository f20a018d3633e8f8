"""Rebuild: a ledger that is gone is made again from what its objects say, so that nothing is bought again.

An object tells its item, its call and what the call cost. What left no object cannot be told: unknown and refused
calls, and items that were paid for and not stored yet. Those a next run buys as if they had never been sent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ..aimlapi import list_price
from ..ledger import CallOutcome, ImageState, Item, ItemKind, ItemState, Ledger, LedgerMismatch
from ..ledger.conditions import in_batches
from ..ledger.runs import REBUILT
from ..ledger.schema import calls, deliveries, images, insert_new, items, meta, run_items, runs
from ..run.checks import MARKER_KEY
from ..storage import ObjectStore
from .objects import FoundImage, image_objects, read_object

_THREADS = 16
_BATCH = 500


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was taken in from a destination.

    Attributes:
        destination: Where.
        ledger_id: The ledger's id from now on; that of the one that is gone, where this one was empty.
        objects: That were found.
        items: Taken in.
        calls: Taken in.
        images: Taken in.
        credits: What these calls cost.
        estimated: Calls whose object does not say what they cost: the price list was taken.
        foreign: Objects that are no images of that ledger; left alone.
    """

    destination: str
    ledger_id: str
    objects: int
    items: int
    calls: int
    images: int
    credits: int
    estimated: int
    foreign: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return asdict(self)


def rebuild(
    ledger: Ledger, store: ObjectStore, *, adopt: bool = False, say: Callable[[str], None] = lambda _: None
) -> RebuildReport:
    """Take in what the objects at a destination say. What the ledger knows itself is left as it is.

    Args:
        ledger: Open; an empty one takes over the id of the ledger that marked the destination.
        store: The destination.
        adopt: Take in what another ledger wrote, although this one has an account of its own.
        say: Told what is being done.

    Raises:
        LedgerMismatch: The destination is another ledger's, and this one is not empty.
        BadInput: The store cannot be used.
        Unavailable: Store or database do not answer.
    """
    mark = _mark(store)
    owner = mark.get("ledger_id")
    if isinstance(owner, str) and owner != ledger.id and not _take_id(ledger, owner) and not adopt:
        raise LedgerMismatch(
            f"{store.destination} is the destination of another ledger ({owner}), and this one ({ledger.id}) has an "
            "account of its own: use an empty catalog (--catalog), or --adopt-ledger to take its images into this one"
        )
    say(f"listing {store.destination}")
    infos = list(image_objects(store))
    say(f"asking {len(infos):,} objects what they are")
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="imagen-head") as threads:
        heads = list(threads.map(lambda info: store.head(info.key) or info, infos))
    found = [image for image in map(read_object, heads) if image is not None and image.ledger_id in (None, owner)]
    origin = mark.get("api_origin")
    if isinstance(origin, str) and origin and ledger.origin is None:
        ledger.bind(origin)
    by_call: dict[str, list[FoundImage]] = {}
    for image in found:
        by_call.setdefault(image.call_id, []).append(image)
    holder = ledger.worker.id
    taken = _Taken()
    for batch in in_batches(by_call.values(), _BATCH):
        ledger.write(lambda connection, batch=batch: taken.add(connection, store, batch, holder))  # type: ignore[misc]
    ledger.write(lambda c: c.execute(insert_new(c, meta), [{"key": REBUILT, "value": "yes"}]))
    return RebuildReport(
        store.destination,
        ledger.id,
        len(infos),
        len(taken.items),
        taken.calls,
        taken.images,
        taken.credits,
        taken.estimated,
        len(infos) - len(found),
    )


def _mark(store: ObjectStore) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError):
        mark = json.loads(store.read_text(MARKER_KEY) or "{}")
        if isinstance(mark, dict):
            return mark
    return {}


def _take_id(ledger: Ledger, ledger_id: str) -> bool:
    """Continue as the ledger of an id, if this one has no calls of its own. Returns whether it has none."""

    def operation(connection: sa.Connection) -> bool:
        if connection.scalar(sa.select(calls.c.id).limit(1)) is not None:
            return False
        connection.execute(sa.update(meta).where(meta.c.key == "ledger_id").values(value=ledger_id))
        return True

    taken = ledger.write(operation)
    if taken:
        ledger.id = ledger_id
    return taken


class _Taken:
    """Writes rows, and counts them."""

    def __init__(self) -> None:
        self.items: set[str] = set()
        self.calls = self.images = self.credits = self.estimated = 0

    def add(
        self, connection: sa.Connection, store: ObjectStore, found: Sequence[list[FoundImage]], holder: str
    ) -> None:
        """Take in the images of some calls, all or none."""
        known = set(
            connection.scalars(sa.select(calls.c.id).where(calls.c.id.in_([of_call[0].call_id for of_call in found])))
        )
        now = datetime.now(UTC)
        for of_call in found:
            first = of_call[0]
            if first.call_id in known:
                continue
            self.items.add(first.item_id)
            connection.execute(insert_new(connection, items), [_item_row(first, now)])
            call = self._call_row(connection, of_call, holder, store)
            connection.execute(sa.insert(calls), [call])
            connection.execute(sa.insert(run_items), [_run_item(connection, call, first)])
            connection.execute(sa.insert(images), [_image_row(image, store, now) for image in of_call])
            connection.execute(insert_new(connection, deliveries), [_delivery(image, store, now) for image in of_call])
            self.calls += 1
            self.images += len(of_call)
            # An item that this ledger planned itself is owned all the same.
            connection.execute(
                sa.update(items)
                .where(items.c.id == first.item_id, items.c.holder_id.is_(None), items.c.state != ItemState.ERASED)
                .values(state=ItemState.DELIVERED, reason=None, updated_at=now)
            )

    def _call_row(
        self, connection: sa.Connection, of_call: Sequence[FoundImage], holder: str, store: ObjectStore
    ) -> dict[str, Any]:
        first = of_call[0]
        facts = first.facts
        requested = _number(facts.get("images-requested"), len(of_call))
        cost = facts.get("call-credits")
        credits_ = _number(cost, list_price(facts.get("model", ""), requested))
        self.estimated += cost is None
        self.credits += credits_
        run_id = facts.get("run-id") or "rebuilt"
        _add_run(connection, run_id, facts, credits_, holder, store)
        last = sa.select(sa.func.coalesce(sa.func.max(calls.c.number), 0)).where(calls.c.item_id == first.item_id)
        return {
            "id": first.call_id,
            "item_id": first.item_id,
            "number": int(connection.scalar(last) or 0) + 1,
            "run_id": run_id,
            "holder_id": holder,
            "outcome": CallOutcome.ANSWERED,
            "billed": True,
            "reserved": credits_,
            "settled": credits_,
            "cost_source": facts.get("cost-source", "price list") if cost is not None else "price list",
            "wire_model": facts.get("wire-model", facts.get("model", "")),
            "contract": facts.get("contract", ""),
            "requested": requested,
            "returned": max(_number(facts.get("images-returned"), 0), len(of_call)),
            "seed": facts.get("seed"),
            "sent_at": _day(facts.get("sent-on")),
            "ended_at": _day(facts.get("sent-on")),
        }


def _item_row(image: FoundImage, now: datetime) -> dict[str, Any]:
    facts = image.facts
    prompt, parameters = facts.get("prompt", ""), _parameters(facts.get("parameters"))
    model, edition, repeat = facts.get("model", ""), facts.get("edition", ""), _number(facts.get("repeat"), 1)
    if "rewritten" not in facts and Item(model, prompt, parameters, edition, repeat).id != image.item_id:
        # Not all of it fitted in, or somebody changed it: a run that asks for the item again says what it is.
        prompt = ""
    return {
        "id": image.item_id,
        "kind": ItemKind.IMAGE,
        "model": model,
        "prompt": prompt,
        "parameters": parameters,
        "edition": edition,
        "repeat": repeat,
        "state": ItemState.DELIVERED,
        "created_at": now,
        "updated_at": now,
    }


def _image_row(image: FoundImage, store: ObjectStore, now: datetime) -> dict[str, Any]:
    facts, info = image.facts, image.info
    return {
        "call_id": image.call_id,
        "idx": image.index,
        "item_id": image.item_id,
        "state": ImageState.STORED,
        "attempts": 0,
        "content_type": info.content_type or None,
        "width": _number(facts.get("width"), 0) or None,
        "height": _number(facts.get("height"), 0) or None,
        "bytes": info.size,
        "sha256": info.sha256,
        "destination": store.destination,
        "key": info.key,
        "uri": store.uri(info.key),
        "stored_at": now,
    }


def _delivery(image: FoundImage, store: ObjectStore, now: datetime) -> dict[str, Any]:
    return {
        "call_id": image.call_id,
        "idx": image.index,
        "destination": store.destination,
        "key": image.info.key,
        "uri": store.uri(image.info.key),
        "stored_at": now,
    }


def _run_item(connection: sa.Connection, call: Mapping[str, Any], image: FoundImage) -> dict[str, Any]:
    last = connection.scalar(sa.select(sa.func.max(run_items.c.position)).where(run_items.c.run_id == call["run_id"]))
    return {
        "run_id": call["run_id"],
        "position": 0 if last is None else last + 1,
        "item_id": image.item_id,
        "source": image.info.key,
        "line": 0,
        "row": {},
        "choices": [],
        "owned": False,
    }


def _add_run(
    connection: sa.Connection, run_id: str, facts: Mapping[str, str], credits_: int, holder: str, store: ObjectStore
) -> None:
    started = _day(facts.get("sent-on"))
    row = {
        "id": run_id,
        "holder_id": holder,
        "model": facts.get("model", ""),
        "parameters": {},
        "destination": store.destination,
        "edition": facts.get("edition", ""),
        "tags": {},
        "reserved": 0,
        "spent": 0,
        "started_at": started,
        "ended_at": started,
        "outcome": "Rebuilt",
    }
    connection.execute(insert_new(connection, runs), [row])
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(spent=runs.c.spent + credits_))


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() else otherwise


def _parameters(text: str | None) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        read = json.loads(text or "{}")
        if isinstance(read, dict):
            return read
    return {}


def _day(text: str | None) -> datetime:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text or "").replace(tzinfo=UTC)
    return datetime.now(UTC)
