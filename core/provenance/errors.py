"""What can go wrong with marks."""

from __future__ import annotations

from ..errors import BadInput, ImagenError


class MarkRefused(ImagenError):
    """A picture cannot be marked in the way that was asked for; the message says why, and what can be done."""


class UnreadableXmp(ImagenError):
    """XMP that is no XMP: damaged, or built to do harm."""


class SigningNotPossible(BadInput):
    """Certificate, key or time stamp server cannot be used; the message says which and why."""
