"""What a picture says of its origin: found, written, checked."""

from .errors import MarkRefused, SigningNotPossible, UnreadableXmp
from .look import Look, look
from .mark import SIDECAR, Marked, MarkMode, mark
from .splice import splice, unsplice
from .xmp import Facts, packet, source_type_of

__all__ = [
    "SIDECAR",
    "Facts",
    "Look",
    "MarkMode",
    "MarkRefused",
    "Marked",
    "SigningNotPossible",
    "UnreadableXmp",
    "look",
    "mark",
    "packet",
    "source_type_of",
    "splice",
    "unsplice",
]
