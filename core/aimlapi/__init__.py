"""What is known of the AI/ML API: models, requests, replies, errors, and the client that sends."""

from .client import DEFAULT_BASE_URL, AimlApiClient, RawReply
from .common_parameters import Problem
from .registry import UnknownModel, WithdrawnModel, list_price, load_registry
from .reply import Reply, ReplyImage
from .request import ImageRequest, InvalidRequest
from .spec import ModelSpec, ResolvedModel

__all__ = [
    "DEFAULT_BASE_URL",
    "AimlApiClient",
    "ImageRequest",
    "InvalidRequest",
    "ModelSpec",
    "Problem",
    "RawReply",
    "Reply",
    "ReplyImage",
    "ResolvedModel",
    "UnknownModel",
    "WithdrawnModel",
    "list_price",
    "load_registry",
]
