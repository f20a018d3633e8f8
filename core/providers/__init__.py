"""Image APIs: models, requests, replies, errors, and the clients that send. A folder here is a protocol."""

from .addresses import normalise_base_url
from .client import ImageClient, RawReply, Recovery
from .clients import Clients
from .protocols import PROTOCOLS, Endpoint, client_of_any, open_client
from .registry import UnknownModel, WithdrawnModel, known_price, list_price, load_registry, pixels_asked_for
from .reply import Reply
from .request import ImageRequest, InvalidRequest
from .spec import ModelSpec, ResolvedModel

__all__ = [
    "PROTOCOLS",
    "Clients",
    "Endpoint",
    "ImageClient",
    "ImageRequest",
    "InvalidRequest",
    "ModelSpec",
    "RawReply",
    "Recovery",
    "Reply",
    "ResolvedModel",
    "UnknownModel",
    "WithdrawnModel",
    "client_of_any",
    "known_price",
    "list_price",
    "load_registry",
    "normalise_base_url",
    "open_client",
    "pixels_asked_for",
]
