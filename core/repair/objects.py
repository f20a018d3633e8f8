"""What lies at a destination: which of its objects are images of a ledger, and what each tells of its purchase."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..inputs.shelf import is_input_key
from ..provenance import SIDECAR
from ..storage import ObjectInfo, ObjectStore

# The default key, which says whose image it is where a store keeps no metadata.
_KEY = re.compile(r"(?:(?P<model>.+)/)?(?P<item>[0-9a-f]{64})/(?P<call>pi-[0-9a-f]{32})-(?P<index>\d+)\.\w+")


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An object that says which image it is.

    Attributes:
        info: Key, size, and the hash where the store knows it.
        item_id: Its item.
        call_id: Its call.
        index: Its place in the reply.
        ledger_id: The ledger that wrote it; None where the object does not say.
        facts: The rest of its metadata.
    """

    info: ObjectInfo
    item_id: str
    call_id: str
    index: int
    ledger_id: str | None
    facts: Mapping[str, str]


def image_objects(store: ObjectStore) -> Iterator[ObjectInfo]:
    """Everything at a destination but sidecars, pictures that went into requests, and files of this package's own."""
    for info in store.list():
        hidden = info.key.rpartition("/")[2].startswith(".")
        if not hidden and not info.key.endswith(SIDECAR) and not is_input_key(info.key):
            yield info


def read_object(info: ObjectInfo) -> FoundImage | None:
    """Which image an object (of a `head`) is; None where neither its metadata nor its key says so."""
    facts = {name: unquote(value) for name, value in info.metadata.items()}
    by_key = _KEY.fullmatch(info.key)
    if {"item-id", "call-id", "image-index"} <= facts.keys() and facts["image-index"].isdecimal():
        item_id, call_id, index = facts.pop("item-id"), facts.pop("call-id"), int(facts.pop("image-index"))
    elif by_key is not None:
        item_id, call_id, index = by_key["item"], by_key["call"], int(by_key["index"])
        if by_key["model"]:
            facts.setdefault("model", by_key["model"])
    else:
        return None
    return FoundImage(info, item_id, call_id, index, facts.pop("ledger-id", None), facts)
