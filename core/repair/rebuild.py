"""Rebuild: a ledger that is gone is made again from what its objects say, so that nothing is bought again.

An object tells its item, its call and what the call cost. What left no object cannot be told: unknown and refused
calls, and items that were paid for and not stored yet. Those a next run buys as if they had never been sent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..delivery import Mark, Marker
from ..ledger import Item, Ledger, LedgerMismatch, RebuiltCall, RebuiltImage
from ..providers import list_price
from ..providers.providers import split_name
from ..storage import ObjectStore
from ..values import batched
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
    marker = Marker(ledger, store)
    mark = marker.read() or Mark()
    owner = mark.ledger_id
    if owner is not None and owner != ledger.id and not ledger.adopt_id(owner) and not adopt:
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
    if mark.origin is not None and ledger.origin is None:
        ledger.bind(mark.origin)
    new = take_in(ledger, store, found)
    marker.catch_up()
    told = {image.call_id for image in found if "call-credits" in image.facts}
    return RebuildReport(
        store.destination,
        ledger.id,
        len(infos),
        len({call.item_id for call in new}),
        len(new),
        sum(len(call.images) for call in new),
        sum(call.credits for call in new),
        sum(call.id not in told for call in new),
        len(infos) - len(found),
    )


def take_in(ledger: Ledger, store: ObjectStore, found: Sequence[FoundImage]) -> list[RebuiltCall]:
    """Take calls into a ledger that does not know how they ended, from their objects. Returns those that were new."""
    by_call: dict[str, list[FoundImage]] = {}
    for image in found:
        by_call.setdefault(image.call_id, []).append(image)
    new: list[RebuiltCall] = []
    for batch in batched(by_call.values(), _BATCH):
        calls = [_call(store, of_call) for of_call in batch]
        added = ledger.rebuilding.add(calls, store.destination)
        new += [call for call in calls if call.id in added]
    ledger.rebuilding.mark()
    return new


def _call(store: ObjectStore, of_call: Sequence[FoundImage]) -> RebuiltCall:
    first = of_call[0]
    facts = first.facts
    prompt, parameters = facts.get("prompt", ""), _parameters(facts.get("parameters"))
    model, edition, repeat = facts.get("model", ""), facts.get("edition", ""), _number(facts.get("repeat"), 1)
    if "rewritten" not in facts and Item(model, prompt, parameters, edition, repeat).id != first.item_id:
        # Not all of it fitted in, or somebody changed it: a run that asks for the item again says what it is.
        prompt = ""
    requested = _number(facts.get("images-requested"), len(of_call))
    cost = facts.get("call-credits")
    return RebuiltCall(
        id=first.call_id,
        item_id=first.item_id,
        model=model,
        prompt=prompt,
        parameters=parameters,
        edition=edition,
        repeat=repeat,
        run_id=facts.get("run-id") or "rebuilt",
        requested=requested,
        returned=max(_number(facts.get("images-returned"), 0), len(of_call)),
        credits=_number(cost, list_price(model, requested)),
        cost_source=facts.get("cost-source", "price list") if cost is not None else "price list",
        wire_model=facts.get("wire-model", model),
        contract=facts.get("contract", ""),
        seed=facts.get("seed"),
        sent_at=_day(facts.get("sent-on")),
        provider=split_name(model)[0],
        images=[_image(store, image) for image in of_call],
    )


def _image(store: ObjectStore, image: FoundImage) -> RebuiltImage:
    facts, info = image.facts, image.info
    return RebuiltImage(
        index=image.index,
        key=info.key,
        uri=store.uri(info.key),
        content_type=info.content_type or None,
        width=_number(facts.get("width"), 0) or None,
        height=_number(facts.get("height"), 0) or None,
        bytes=info.size,
        sha256=info.sha256,
        damage=facts.get("damage"),
    )


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
