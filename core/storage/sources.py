"""Where stored images are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from ..errors import BadInput
from ..store_options import S3Options
from .local import LocalStore
from .store import ObjectStore


@dataclass(frozen=True, slots=True)
class Sources:
    """The stores that images lie in.

    Attributes:
        s3: How S3 is reached.
    """

    s3: S3Options = field(default_factory=S3Options)

    @classmethod
    def of(cls, store_options: Mapping[str, Any] | None) -> Self:
        """Those that are reached with the options of a store; what is about writing is left out."""
        given = store_options or {}
        return cls(S3Options(**{name: given[name] for name in S3Options.model_fields if name in given}))

    def open(self, uri: str) -> tuple[ObjectStore, str]:
        """The store of an object, and its key there.

        Raises:
            BadInput: It lies in no store that is known.
        """
        parts = urlsplit(uri)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            return LocalStore(path.parent), path.name
        if parts.scheme != "s3":
            raise BadInput(f"{uri} lies in no store that is known")
        from .s3 import S3Store

        return S3Store(parts.netloc, "", self.s3), uri.removeprefix(f"s3://{parts.netloc}/")
