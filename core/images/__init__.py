"""Getting images and looking at them: guarded downloads, full decoding."""

from .fetch import Fetcher, save_bytes
from .inspect import ImageFacts, inspect
from .signature import NotAnImage

__all__ = ["Fetcher", "ImageFacts", "NotAnImage", "inspect", "save_bytes"]
