"""One picture that is to go into a request: whether it can, and the form in which it does.

The rule: a picture is sent byte for byte, unless EXIF turns it, its colours are of a profile other than sRGB, its
format or mode is none that the model takes, or it is too large. Then a copy is sent: upright, in sRGB, no longer than
the model takes, as PNG; or as JPEG, if it has no transparency and came as a JPEG or is too many bytes. What was given
is not changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..errors import ImagenError
from ..images import NotAnImage, inspect
from ..images.drawing import TooLarge, prepare
from ..images.signature import read_header
from ..providers.spec import InputLimits

LARGEST = 32 * 2**20
"""Bytes of a file that is looked at."""


@dataclass(eq=False, repr=False)
class InputRefused(ImagenError):
    """A picture cannot go into a request; `reason` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it was given.

    Attributes:
        sha256: Of its bytes: what it is known by.
        width: Upright, in pixels.
        transparent: Whether it says of each pixel how clear it is.
    """

    sha256: str
    content_type: str
    size: int
    width: int
    height: int
    transparent: bool = False


def look_at(data: bytes) -> Picture:
    """Check a picture by itself.

    Raises:
        InputRefused: It is none, damaged, animated or too large.
        DecoderUnavailable: No process can be started to draw it.
    """
    if len(data) > LARGEST:
        raise InputRefused(f"{len(data):,} bytes; at most {LARGEST:,} are taken")
    try:
        facts = inspect(data)
        if not facts.checked or facts.damage is not None:
            raise InputRefused(facts.damage or "its format is not read here")
        answer, _ = prepare(data, side=0, most=0, formats=(), lossless=False)
    except (NotAnImage, TooLarge) as error:
        raise InputRefused(str(getattr(error, "reason", error))) from None
    if "error" in answer:
        raise InputRefused(str(answer["error"]))
    if answer["frames"] > 1:
        raise InputRefused(f"animated: {answer['frames']:,} frames")
    digest = hashlib.sha256(data).hexdigest()
    return Picture(digest, facts.content_type, len(data), answer["width"], answer["height"], answer["transparent"])


def misfit(picture: Picture, limits: InputLimits) -> str | None:
    """Why a model does not take a picture, whatever is made of it."""
    short, long = sorted((picture.width, picture.height))
    shape = f"{picture.width:,} x {picture.height:,} pixels"
    if short < limits.least_side:
        return f"{shape}; the model takes {limits.least_side:,} at least"
    if long > short * limits.ratio:
        return f"{shape}; the model takes sides of up to {limits.ratio:g} to 1"
    return None


def too_large(picture: Picture, limits: InputLimits) -> str | None:
    """Why a smaller copy of a picture is sent."""
    side = limits.longest_side(picture.width, picture.height)
    if max(picture.width, picture.height) > side:
        return f"{picture.width:,} x {picture.height:,} pixels; the model takes {side:,} along its longer side"
    if picture.size > limits.bytes:
        return f"{picture.size:,} bytes; the model takes {limits.bytes:,}"
    return None


def ready(data: bytes, limits: InputLimits, *, lossless: bool = False) -> tuple[bytes, str]:
    """A picture in the form in which a model takes it, and its media type.

    Args:
        data: As it was given, and looked at.
        limits: What the model takes.
        lossless: As PNG, if it is not sent as it is: a mask.

    Raises:
        InputRefused: It cannot be drawn, or not be made small enough.
    """
    try:
        header = read_header(data)
        given = header.format.content_type
        side = limits.longest_side(header.width or 1, header.height or 1)
        answer, made = prepare(data, side=side, most=limits.bytes, formats=limits.formats, lossless=lossless)
    except (NotAnImage, TooLarge) as error:
        raise InputRefused(str(getattr(error, "reason", error))) from None
    if "error" in answer:
        raise InputRefused(str(answer["error"]))
    return (made, answer["content_type"]) if made else (data, given)
