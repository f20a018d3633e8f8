"""Getting images and looking at them: guarded downloads, atomic files, full decoding."""

from .errors import FetchError, FetchGone, FetchRefused, FetchTransient, NotAnImage, SpoolUnavailable
from .fetch import Fetcher, save_bytes
from .files import AtomicFile, Fetched
from .inspect import ImageFacts, inspect
from .urls import redact_url

__all__ = [
    "AtomicFile",
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
