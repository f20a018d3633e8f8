"""Objects: put (create-only), head, get; in S3 or in a folder, with the same promises.

`S3Store` is imported when it is first used: boto3 takes a quarter of a second, and a folder needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..store_options import ObjectOptions, S3Options
from .errors import ChecksumMismatch, KeyTaken, ObjectMissing, StoreNotUsable, StoreUnavailable
from .keys import KeyTemplate, check_key, join_prefix, safe_segment
from .local import LocalStore
from .open import open_place, open_store
from .store import PROBE_KEY, Deleted, ObjectInfo, ObjectStore, Stored, header_value

if TYPE_CHECKING:
    from .s3 import S3Store

__all__ = [
    "PROBE_KEY",
    "ChecksumMismatch",
    "Deleted",
    "KeyTaken",
    "KeyTemplate",
    "LocalStore",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectOptions",
    "ObjectStore",
    "S3Options",
    "S3Store",
    "StoreNotUsable",
    "StoreUnavailable",
    "Stored",
    "check_key",
    "header_value",
    "join_prefix",
    "open_place",
    "open_store",
    "safe_segment",
]


def __getattr__(name: str) -> Any:
    if name != "S3Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .s3 import S3Store

    return S3Store
