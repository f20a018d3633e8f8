"""How the command line reaches stores."""

from __future__ import annotations

from typing import Any

__all__ = ["store_options"]


def store_options(*, endpoint_url: str | None, **given: Any) -> dict[str, Any]:
    """Options of an S3 store as they were typed, without those that were not.

    A server that is not AWS is asked with the bucket in the path: few have a name for each bucket.
    """
    options = {name: value for name, value in given.items() if value}
    if endpoint_url:
        options |= {"endpoint_url": endpoint_url, "addressing_style": "path"}
    return options
