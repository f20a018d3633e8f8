"""Image APIs: models, requests, replies, errors, and the clients that send. A folder here is a protocol."""

from .aimlapi import DEFAULT_BASE_URL
from .client import ImageClient, RawReply, normalise_base_url
from .protocols import DEFAULT_API, PROTOCOLS, fetch_catalog, open_client
from .registry import UnknownModel, WithdrawnModel, list_price, load_registry, pixels_asked_for
from .reply import Reply
from .request import ImageRequest, InvalidRequest
from .spec import ModelSpec, ResolvedModel

__all__ = [
    "DEFAULT_API",
    "DEFAULT_BASE_URL",
    "PROTOCOLS",
    "ImageClient",
    "ImageRequest",
    "InvalidRequest",
    "ModelSpec",
    "RawReply",
    "Reply",
    "ResolvedModel",
    "UnknownModel",
    "WithdrawnModel",
    "fetch_catalog",
    "list_price",
    "load_registry",
    "normalise_base_url",
    "open_client",
    "pixels_asked_for",
]
