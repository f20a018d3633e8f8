"""Getting images and looking at them: guarded downloads, atomic files, full decoding."""

from ..files import Fetched, SpoolUnavailable
from ..http.errors import FetchError, FetchGone, FetchRefused, FetchTransient
from ..http.urls import redact_url
from .fetch import Fetcher, save_bytes
from .inspect import ImageFacts, inspect
from .signature import NotAnImage

__all__ = [
    "FetchError",
    "FetchGone",
    "FetchRefused",
    "FetchTransient",
    "Fetched",
    "Fetcher",
    "ImageFacts",
    "NotAnImage",
    "SpoolUnavailable",
    "inspect",
    "redact_url",
    "save_bytes",
]
