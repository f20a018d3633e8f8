"""Objects: put (create-only), head, get; in S3 or in a folder, with the same promises."""

from .errors import ChecksumMismatch, KeyTaken, ObjectMissing, StoreNotUsable, StoreUnavailable
from .keys import KeyTemplate, check_key, join_prefix, safe_segment
from .local import LocalStore
from .object_options import ObjectOptions
from .open import open_store
from .options import S3Options
from .s3 import S3Store
from .store import PROBE_KEY, Deleted, ObjectInfo, ObjectStore, Stored

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
    "join_prefix",
    "open_store",
    "safe_segment",
]
