"""What a file is, told from its bytes alone: format, declared dimensions, whether its end is there.

Extensions and content types of image APIs are wrong often enough to be worthless as evidence, and a decoder should
not be handed a file whose header already says that it will fill the memory. Layouts: PNG (W3C, third edition),
JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ..errors import ImagenError


@dataclass(eq=False, repr=False)
class NotAnImage(ImagenError):
    """A file is not a whole, decodable PNG, JPEG or WebP image. `reason` names what it is instead."""

    reason: str


@dataclass(frozen=True, slots=True)
class Format:
    """One of the accepted formats: its name, the name Pillow knows it by, media type and extension."""

    name: str
    pillow: str
    content_type: str
    ext: str


_PNG = Format("PNG", "PNG", "image/png", "png")
_JPEG = Format("JPEG", "JPEG", "image/jpeg", "jpg")
_WEBP = Format("WebP", "WEBP", "image/webp", "webp")

# A marker that opens a segment or ends the picture. Not one: FF 00 and FF D0-D7, which belong to coded data, and the
# fill bytes FF FF. So a search skips coded data and finds what follows it.
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes promise: format, and width and height in pixels."""

    format: Format
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read format and dimensions, and check that the file is there to its end.

    Raises:
        NotAnImage: The bytes are something else, or an image of another format, or cut, or damaged.
    """
    if not data:
        raise NotAnImage("empty file")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, read = _PNG, _png
    elif data.startswith(b"\xff\xd8\xff"):
        kind, read = _JPEG, _jpeg
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind, read = _WEBP, _webp
    else:
        raise NotAnImage(f"{_what_else(data)} instead of an image")
    try:
        width, height = read(data)
    except (struct.error, IndexError):
        raise NotAnImage(f"truncated {kind.name}") from None
    if not (width and height):
        raise NotAnImage(f"damaged {kind.name}: {width} x {height} pixels")
    return Header(kind, width, height)


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise NotAnImage("damaged PNG: no header chunk" if len(data) >= 16 else "truncated PNG")
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        at += length + 12
        if at > len(data):
            raise NotAnImage("truncated PNG")
        if kind == b"IEND":
            return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            if size is None:
                raise NotAnImage("damaged JPEG: it ends without a frame header")
            return size
        (length,) = struct.unpack_from(">H", data, at)
        # C0 to CF are frame headers, but for Huffman tables (C4), extensions (C8) and arithmetic conditioning (CC).
        if size is None and 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
        at += length
    raise NotAnImage("truncated JPEG")


def _webp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise NotAnImage("truncated WebP")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise NotAnImage("damaged WebP: no picture chunk first")


def _what_else(data: bytes) -> str:
    """A human name for bytes that are none of the three formats."""
    for magic, name in (
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"%PDF", "PDF"),
        (b"\x1f\x8b", "gzip data"),
        (b"PK\x03\x04", "ZIP archive"),
    ):
        if data.startswith(magic):
            return name
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    head = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML text"
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        return "SVG text"
    if head.startswith(b"<?xml"):
        return "XML text"
    if head.startswith((b"{", b"[")):
        return "JSON text"
    if not head.translate(None, bytes(range(0x20, 0x7F)) + b"\t\r\n"):
        return "plain text"
    return "unknown bytes"
