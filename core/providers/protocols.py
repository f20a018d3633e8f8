"""The protocols that are known, each in a folder here, by the name under which a user asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .aimlapi import DEFAULT_BASE_URL, AimlApiClient
from .catalog import ProviderCatalog
from .client import ImageClient

DEFAULT_API = "aimlapi"
PROTOCOLS: Mapping[str, type[ImageClient]] = {DEFAULT_API: AimlApiClient}
_HOMES = {DEFAULT_API: DEFAULT_BASE_URL}


def open_client(api_key: str, *, base_url: str | None = None, api: str = DEFAULT_API, **options: Any) -> ImageClient:
    """Make the client of an API; sends nothing.

    Args:
        api_key: Its key.
        base_url: Where it is; None for the public one.
        api: Name of its protocol.
        options: As of `ImageClient`.

    Raises:
        BadInput: The key or the base URL cannot be used.
    """
    return PROTOCOLS[api](api_key, base_url=base_url or _HOMES[api], **options)


def fetch_catalog(
    base_url: str,
    folder: Path,
    *,
    api: str = DEFAULT_API,
    offline: bool = False,
    fresh: bool = False,
) -> ProviderCatalog:
    """What an API's catalogue says, without a key: see `ImageClient.catalog`."""
    return PROTOCOLS[api].catalog(base_url, folder, offline=offline, fresh=fresh)
