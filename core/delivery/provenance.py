"""Metadata of an object: whose it is, which image, and as much of its purchase as a store takes."""

from __future__ import annotations

from urllib.parse import quote

from .files import ImageFile

_ROOM = 1800
"""S3 takes 2,048 bytes of names and values (Amazon S3 user guide); the rest is for the checksum and the store's own."""


def object_metadata(ledger_id: str, file: ImageFile) -> dict[str, str]:
    """What is written beside an image's bytes. A long prompt may not fit; the item's id still says which it is."""
    task = file.task
    metadata = {
        "ledger-id": ledger_id,
        "item-id": task.item_id,
        "call-id": task.call_id,
        "image-index": str(task.index),
        "sent-on": task.sent_on.isoformat(),
        "width": str(file.width),
        "height": str(file.height),
    }
    used = sum(len(name) + len(value) for name, value in metadata.items())
    for name, value in task.facts.items():
        # As the S3 store writes it: percent-encoded beyond ASCII.
        size = len(name) + len(quote(value, safe=" !#$&'()*+,/:;=?@[]"))
        if used + size <= _ROOM:
            metadata[name] = value
            used += size
    return metadata
