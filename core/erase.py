"""Erasing what must not be kept: objects, rows and spooled files; never the account of the money.

Objects go first, then the rows that name them: what breaks off in between is found and finished by the same command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .delivery import Spool
from .errors import BadInput
from .inputs.shelf import input_key, inputs_folder, keys_of_copies
from .ledger import ErasurePreview, Ledger, Selection
from .ledger.erasure import ErasableObject
from .provenance import SIDECAR
from .review.thumbnails import forget_thumbnails
from .storage import ObjectStore, open_place
from .values import batched

_BATCH = 200


@dataclass(slots=True)
class Erased:
    """What was erased.

    Attributes:
        items: Items.
        objects: Objects that are gone, copies included.
        kept: Objects that an item which stays has as well, left where they are.
        hidden: Objects in buckets that keep versions: their older versions are still there.
        failed: URI of an object that could not be deleted, and why. Its item is untouched; a repeat tries again.
        flow_runs: Prefect's ids of the flow runs whose artifacts and parameters may show what was erased.
        scrubbed: Whether the database file itself holds nothing of it any more; None where that is the server's matter.
    """

    items: int = 0
    objects: int = 0
    kept: int = 0
    hidden: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    flow_runs: set[str] = field(default_factory=set)
    scrubbed: bool | None = None


def preview(ledger: Ledger, selection: Selection, *, shared: bool = False) -> ErasurePreview:
    """Count what `erase` would do.

    Raises:
        BadInput: Nothing says what is meant.
    """
    _check(selection)
    return ledger.erasure.preview(selection, shared=shared)


def erase(
    ledger: Ledger,
    selection: Selection,
    *,
    shared: bool = False,
    spool: Path | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> Erased:
    """Erase items: delete their objects everywhere, and blank what identifies them in the ledger.

    Args:
        ledger: Open.
        selection: Which items.
        shared: Also items that runs ask for which are not meant.
        spool: Root of this machine's spool, whose files of these items are deleted; None for none.
        store_options: Fields of `S3Options` for destinations in S3.

    Raises:
        BadInput: Nothing says what is meant; a destination cannot be reached with these options: nothing was erased.
        Unavailable: Store or ledger do not answer. The same command goes on.
    """
    _check(selection)
    ledger.release_dead_workers()
    stores = {
        destination: open_place(destination, store_options or {})
        for destination in ledger.erasure.preview(selection, shared=shared).objects
    }
    for store in stores.values():
        store.check()
    done = Erased()
    files = Spool(spool, ledger.id) if spool is not None else None
    wanted = ledger.erasure.erasable(selection, shared=shared)
    for batch in batched(wanted, _BATCH):
        _erase_batch(ledger, batch, stores, files, done)
    done.scrubbed = ledger.erasure.scrub() if done.items else None
    return done


def _check(selection: Selection) -> None:
    if selection.everything:
        raise BadInput("say what to erase: --tag, --edition, --older-than or --run")


def _erase_batch(
    ledger: Ledger, item_ids: list[str], stores: Mapping[str, ObjectStore], files: Spool | None, done: Erased
) -> None:
    taken = ledger.erasure.lock(item_ids)
    try:
        stuck = _delete_objects(ledger.erasure.objects_of(taken), stores, done)
        stuck |= _delete_inputs(ledger.erasure.inputs_of([one for one in taken if one not in stuck]), stores, done)
        free = [item_id for item_id in taken if item_id not in stuck]
        done.flow_runs |= ledger.erasure.flow_runs_of(free)
        forget_thumbnails(ledger.erasure.hashes_of(free))
        for call_id in ledger.erasure.redact(free):
            if files is not None:
                files.purge(call_id)
        done.items += len(free)
    finally:
        ledger.items.release(taken)


def _delete_objects(found: list[ErasableObject], stores: Mapping[str, ObjectStore], done: Erased) -> set[str]:
    """Delete objects; returns the items of those that are still there."""
    stuck: set[str] = set()
    for destination in {one.destination for one in found}:
        here = [one for one in found if one.destination == destination]
        store = stores.get(destination)
        if store is None:  # delivered there only now
            stuck.update(one.item_id for one in here)
            continue
        done.kept += sum(one.needed for one in here)
        keys = list(dict.fromkeys(one.key for one in here if not one.needed))
        # A sidecar may hold the prompt. It goes first: where it stays, its image stays, so that a repeat finds both.
        beside = store.delete([key + SIDECAR for key in keys])
        kept_beside = {key: reason for key in keys if (reason := beside.failed.get(key + SIDECAR)) is not None}
        deleted = store.delete([key for key in keys if key not in kept_beside])
        done.objects += len(deleted.keys)
        done.hidden += len(deleted.marked)
        failed = {**deleted.failed, **kept_beside}
        done.failed |= {store.uri(key): reason for key, reason in failed.items()}
        stuck.update(one.item_id for one in here if one.key in failed)
    return stuck


def _delete_inputs(found: Mapping[str, list[str]], stores: Mapping[str, ObjectStore], done: Erased) -> set[str]:
    """Delete pictures that went into requests; returns the items of those that are still there."""
    stuck: set[str] = set()
    for sha256 in found:
        (inputs_folder() / sha256).unlink(missing_ok=True)
    for store in stores.values():
        keys = {sha256: [input_key(sha256), *keys_of_copies(store, sha256)] for sha256 in found}
        deleted = store.delete([key for mine in keys.values() for key in mine])
        done.failed |= {store.uri(key): reason for key, reason in deleted.failed.items()}
        stuck.update(item for sha256, items in found.items() if deleted.failed.keys() & keys[sha256] for item in items)
    return stuck
