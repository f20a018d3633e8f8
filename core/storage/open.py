"""From a URI to the store behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import BadInput
from ..http.urls import redact_url
from ..store_options import ObjectOptions, S3Options
from .local import LocalStore
from .store import ObjectStore


def open_store(uri: str, **options: Any) -> ObjectStore:
    """Make the store for a destination. Nothing is connected to yet.

    Args:
        uri: `s3://bucket/prefix`, `file:///absolute/folder` or the path of a folder.
        options: The fields of `S3Options` and `ObjectOptions`; None stands for "not given". A folder takes none.

    Raises:
        BadInput: Another scheme, a malformed URI, or options that do not fit.
    """
    given = {name: value for name, value in options.items() if value is not None}
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        how = {name: given.pop(name) for name in ObjectOptions.model_fields if name in given}
        unknown = sorted(given.keys() - S3Options.model_fields.keys())
        if unknown:
            raise BadInput(f"unknown S3 options: {', '.join(unknown)}")
        from .s3 import S3Store

        return S3Store(bucket, prefix, S3Options(**given), ObjectOptions(**how))
    if given:
        raise BadInput(f"{uri}: a folder takes no options, but got {', '.join(sorted(given))}")
    if separator and scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise BadInput(f"{redact_url(uri)}: a file URI is file:///absolute/folder, with %XX for special characters")
        return LocalStore(Path(unquote(parts.path)))
    if separator:
        raise BadInput(f"{redact_url(uri)}: images go to s3://bucket/prefix or to a folder, not to {scheme}://")
    if not uri.strip():
        raise BadInput("the destination is empty: give s3://bucket/prefix or a folder")
    return LocalStore(Path(uri))


def open_place(uri: str, s3_options: Mapping[str, Any]) -> ObjectStore:
    """Make the store for a place that may be in S3 or not: a folder is opened without the options.

    Args:
        uri: As for `open_store`.
        s3_options: Its options, for a place in S3.

    Raises:
        BadInput: As for `open_store`.
    """
    return open_store(uri, **(s3_options if uri.startswith("s3://") else {}))
