"""Getting images and looking at them: guarded downloads, an account of every pixel, thumbnails."""

from .drawing import DecoderUnavailable, decoding_budget, thumbnail
from .fetch import Fetcher, save_bytes
from .inspect import MOST_COUNTED, MOST_PIXELS, ImageFacts, inspect
from .signature import EXTENSIONS, NotAnImage

__all__ = [
    "EXTENSIONS",
    "MOST_COUNTED",
    "MOST_PIXELS",
    "DecoderUnavailable",
    "Fetcher",
    "ImageFacts",
    "NotAnImage",
    "decoding_budget",
    "inspect",
    "save_bytes",
    "thumbnail",
]
