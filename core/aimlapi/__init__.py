"""What is known of the AI/ML API: models, requests, replies, errors, and the client that sends."""

from .client import DEFAULT_BASE_URL, AimlApiClient, RawReply
from .registry import UnknownModel, WithdrawnModel, list_price, load_registry, pixels_asked_for
from .reply import Reply
from .request import ImageRequest, InvalidRequest
from .spec import ModelSpec, ResolvedModel

__all__ = [
    "DEFAULT_BASE_URL",
    "AimlApiClient",
    "ImageRequest",
    "InvalidRequest",
    "ModelSpec",
    "RawReply",
    "Reply",
    "ResolvedModel",
    "UnknownModel",
    "WithdrawnModel",
    "list_price",
    "load_registry",
    "pixels_asked_for",
]
