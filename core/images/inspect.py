"""Is this file a picture? "A 200 is not an image": nothing is believed before every pixel has been accounted for.

A picture that has been paid for is kept if it can be shown. What is wrong with it, or could not be found out, is said
beside it (`ImageFacts.damage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import SpoolUnavailable
from ..memory import Budget
from . import signature
from .drawing import STILL_BYTES, TooLarge, draw, memory_needed
from .jpeg import Scans, read_scans
from .png import read_png
from .signature import Format, Header, NotAnImage, read_header

MOST_PIXELS = 64_000_000
"""Pixels of a picture, all frames together, where nobody has said what size was asked for."""

MOST_COUNTED = 2**28
"""Pixels of a PNG that are counted without being drawn, which takes no memory: 16,384 x 16,384."""

MOST_SCANS = 100
_MOST_SCANNED = 2**30
"""Pixels that all scans of a JPEG together go through: 16 of 64 million pixels each, and some ten seconds."""

_SLIGHT = 32
"""A picture is shown if no more than one of so many rows is missing at its end."""

_PADDING = 16
"""Bytes that may be missing at the end of a WebP."""

_READING = Budget(128 * 2**20)
"""For the bytes of large files. Small ones come in memory (see `core.delivery.download`)."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file was found to be.

    Attributes:
        width: In pixels; None where the format cannot be read here.
        damage: What is wrong with it, or could not be checked; None for a whole picture.
        checked: Whether it was drawn, or its pixels counted.
    """

    content_type: str
    ext: str
    width: int | None
    height: int | None
    damage: str | None = None
    checked: bool = True


def inspect(source: Path | bytes, *, max_pixels: int = MOST_PIXELS) -> ImageFacts:
    """Account for every pixel of a picture, and report what it is.

    The signature decides on the format. A PNG is inflated; other pictures are drawn by a decoder in a process of its
    own (`core.images.drawing`). Formats that Pillow does not read are kept unchecked. Metadata that is odd without harm
    to the pixels is no reason to refuse a picture that has been paid for.

    Args:
        source: The file, whose extension is ignored, or its bytes.
        max_pixels: The most pixels accepted. Of an animation with more, all frames together, only the first is drawn.

    Raises:
        NotAnImage: It is something else, cut, damaged or too large; the reason says which.
        SpoolUnavailable: The file cannot be read.
        DecoderUnavailable: No process can be started to draw it.
    """
    if isinstance(source, bytes):
        return _inspect(source, max_pixels)
    try:
        with _READING.holding(source.stat().st_size):
            return _inspect(source.read_bytes(), max_pixels)
    except OSError as error:
        raise SpoolUnavailable(f"cannot read {source}: {error.strerror or error}") from error


def _inspect(data: bytes, max_pixels: int) -> ImageFacts:
    header = read_header(data)
    match header.format:
        case signature.PNG:
            return _png(header, data, max_pixels)
        case signature.JPEG:
            return _jpeg(header, data, max_pixels)
        case signature.WEBP:
            return _webp(header, data, max_pixels)
    _check_pixels(header, max_pixels)
    return _drawn(header, data, max_pixels)


def _png(header: Header, data: bytes, max_pixels: int) -> ImageFacts:
    _check_pixels(header, max(max_pixels, MOST_COUNTED))
    try:
        png = read_png(data)
    except ValueError as error:
        raise NotAnImage(f"damaged PNG ({error})") from None
    if png.cut and png.empty:
        raise NotAnImage("truncated PNG")
    notes = [*png.damage, *(["its end is missing"] if png.cut else [])]
    rows = png.rows()
    if rows is None:
        pixels = _check_pixels(header, max_pixels)
        lean = png.lean()
        need = memory_needed(header.format, lean, pixels, None if png.animated else STILL_BYTES)
        return _drawn(header, lean, max_pixels, notes, need=need)
    missing = rows.wanted - rows.found
    if missing and (not rows.sound or missing * _SLIGHT > rows.wanted):
        raise NotAnImage("truncated PNG" if rows.sound else "damaged PNG (its pixels do not inflate)")
    if missing:
        notes.append(f"the last {missing:,} of {rows.wanted:,} rows are missing")
    elif not rows.sound or (not rows.whole and not png.cut):
        raise NotAnImage("damaged PNG (the checksum of its pixels is wrong)")
    return _facts(header, notes)


def _jpeg(header: Header, data: bytes, max_pixels: int) -> ImageFacts:
    pixels = _check_pixels(header, max_pixels)
    try:
        scans = read_scans(data)
    except ValueError as error:
        raise NotAnImage(f"damaged JPEG ({error})") from None
    if scans.number > MOST_SCANS or scans.number * pixels > _MOST_SCANNED:
        raise NotAnImage(f"JPEG of {scans.number:,} scans of {pixels:,} pixels, more than are drawn")
    if not scans.number or not (scans.ended or scans.complete):
        raise NotAnImage("truncated JPEG")
    need = memory_needed(header.format, data, pixels, None if scans.progressive else STILL_BYTES)
    if scans.ended:
        return _drawn(header, data, max_pixels, need=need)
    return _cut_jpeg(header, data, max_pixels, need, scans)


def _cut_jpeg(header: Header, data: bytes, max_pixels: int, need: int, scans: Scans) -> ImageFacts:
    """With an end marker, a decoder draws what is there, and grey for what is not."""
    facts, answer = _draw(header, data + b"\xff\xd9", max_pixels, ["its end is missing"], need=need, cut=True)
    grey = 0 if scans.progressive else answer.get("grey", 0)
    if header.height and grey * _SLIGHT > header.height:
        raise NotAnImage("truncated JPEG")
    return facts


def _webp(header: Header, data: bytes, max_pixels: int) -> ImageFacts:
    _check_pixels(header, max_pixels)
    missing = int.from_bytes(data[4:8], "little") + 8 - len(data)
    if missing > _PADDING or missing * _SLIGHT > len(data):
        raise NotAnImage("truncated WebP")
    if missing <= 0:
        return _drawn(header, data, max_pixels)
    return _drawn(header, data + bytes(missing), max_pixels, [f"its last {missing} bytes are missing"])


def _drawn(
    header: Header, data: bytes, max_pixels: int, notes: list[str] | None = None, *, need: int | None = None
) -> ImageFacts:
    return _draw(header, data, max_pixels, notes or [], need=need)[0]


def _draw(
    header: Header, data: bytes, max_pixels: int, notes: list[str], *, need: int | None = None, cut: bool = False
) -> tuple[ImageFacts, Mapping[str, int]]:
    """Draw a picture, where that can be done; say so where it cannot."""
    kind = header.format
    if kind.pillow is None or header.width is None or header.height is None:
        return _facts(header, [*notes, f"not checked: {kind.name} is not decoded here"], checked=False), {}
    pixels = header.width * header.height
    try:
        answer = draw(
            kind, data, need=need or memory_needed(kind, data, pixels), pixels=max(pixels, max_pixels), cut=cut
        )
    except TooLarge as error:
        return _facts(header, [*notes, f"not checked: {error}"], checked=False), {}
    except NotAnImage as error:
        raise NotAnImage(f"{kind.name}: {error.reason}") from None
    if "error" in answer:
        raise NotAnImage(_reason(kind, answer["error"]))
    if answer["drawn"] < answer["frames"]:
        notes = [*notes, f"not checked: its frames but for the first of {answer['frames']:,}"]
    found = Header(kind, answer["width"], answer["height"])
    return _facts(found, notes), answer


def _facts(header: Header, notes: list[str], *, checked: bool = True) -> ImageFacts:
    kind = header.format
    return ImageFacts(kind.content_type, kind.ext, header.width, header.height, "; ".join(notes) or None, checked)


def _check_pixels(header: Header, limit: int) -> int:
    if header.width is None or header.height is None:
        return 0
    pixels = header.width * header.height
    if pixels > limit:
        shape = f"{header.width:,} x {header.height:,} pixels"
        raise NotAnImage(f"{header.format.name} of {shape}, more than the {limit:,} pixels allowed")
    return pixels


def _reason(kind: Format, text: str) -> str:
    if "truncated" in text.lower():
        return f"truncated {kind.name}"
    return f"damaged {kind.name} ({text})"
