"""Sidecars: what is written beside a stored image, so that a machine can read that an AI made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..provenance import SIDECAR, SIDECAR_TYPE, Facts, UnreadableXmp, packet, source_type_of
from ..provenance.look import LARGEST_PACKET
from ..provenance.xmp import original_sha256, read
from ..storage import KeyTaken, ObjectStore
from .files import ImageFile


def facts_of(file: ImageFile, origin: str | None, mark: Mapping[str, Any]) -> Facts:
    """What a mark says of an image.

    Args:
        file: Verified.
        origin: Address of the API that it comes from.
        mark: How a run marks its images, as its row says.
    """
    task = file.task
    return Facts(
        image_id=task.image_id,
        item_id=task.item_id,
        sha256=file.sha256,
        model=task.model,
        version=task.facts.get("wire-model", task.model),
        origin=origin,
        made_at=task.sent_at,
        source_type=source_type_of(json.loads(task.facts.get("parameters", "{}"))),
        credit=mark.get("credit"),
        prompt=task.prompt if mark.get("prompt") else None,
    )


def put_sidecar(store: ObjectStore, key: str, facts: Facts, run_tags: Callable[[], Mapping[str, str]] = dict) -> None:
    """Write the sidecar of an image, create-only. One that is there already and belongs to this image stays as it is.

    Args:
        store: Where the image is, or will be.
        key: Of the image.
        facts: What it says.
        run_tags: Returns the tags of the run, for stores that keep them with objects.

    Raises:
        KeyTaken: Something else is there.
        Unavailable: The store does not answer, or has no room.
    """
    said, beside = packet(facts), key + SIDECAR
    sha256 = hashlib.sha256(said).hexdigest()
    try:
        store.put(beside, said, sha256=sha256, content_type=SIDECAR_TYPE, run_tags=run_tags())
    except KeyTaken:
        # By an earlier version of this package, or with what a person added to it.
        there = store.read_text(beside, LARGEST_PACKET)
        try:
            if there is not None and original_sha256(read(there.encode())) == facts.sha256:
                return
        except UnreadableXmp:
            pass
        raise
