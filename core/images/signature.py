"""What a file is, told from its first bytes alone: its format and the size that it declares.

Extensions and content types of image APIs are wrong often enough to be worthless as evidence, and a decoder should
not be handed a file whose header already says that it will fill the memory. Layouts: PNG (W3C, third edition), JPEG
(ITU-T T.81, annex B), WebP (RFC 9649), GIF89a, BMP (BITMAPINFOHEADER), TIFF 6.0, HEIF (ISO/IEC 23008-12, the property
`ispe`), JPEG 2000 (ISO/IEC 15444-1, the box `ihdr`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ImagenError
from .jpeg import frame_size


@dataclass(eq=False, repr=False)
class NotAnImage(ImagenError):
    """A file is no picture that can be shown. `reason` names what it is instead, or what is wrong with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures.

    Attributes:
        name: For people.
        pillow: The name Pillow knows it by; None where it cannot be decoded here.
        content_type: Its media type.
        ext: The ending of file names.
        bytes_per_pixel: Most memory that its decoder takes a pixel, as measured, all its copies together.
    """

    name: str
    pillow: str | None
    content_type: str
    ext: str
    bytes_per_pixel: int = 0


PNG = Format("PNG", "PNG", "image/png", "png", 14)
JPEG = Format("JPEG", "JPEG", "image/jpeg", "jpg", 13)
WEBP = Format("WebP", "WEBP", "image/webp", "webp", 18)
GIF = Format("GIF", "GIF", "image/gif", "gif", 14)
BMP = Format("BMP", "BMP", "image/bmp", "bmp", 10)
TIFF = Format("TIFF", "TIFF", "image/tiff", "tiff", 18)
AVIF = Format("AVIF", "AVIF", "image/avif", "avif", 16)
HEIC = Format("HEIC", None, "image/heic", "heic")
JPEG_2000 = Format("JPEG 2000", "JPEG2000", "image/jp2", "jp2", 32)
JPEG_XL = Format("JPEG XL", None, "image/jxl", "jxl")
SVG = Format("SVG", None, "image/svg+xml", "svg")
ICO = Format("ICO", None, "image/vnd.microsoft.icon", "ico")
PSD = Format("PSD", None, "image/vnd.adobe.photoshop", "psd")
EXR = Format("OpenEXR", None, "image/x-exr", "exr")

EXTENSIONS = tuple(
    kind.ext for kind in (PNG, JPEG, WEBP, AVIF, GIF, HEIC, SVG, TIFF, BMP, JPEG_2000, JPEG_XL, ICO, PSD, EXR)
)
"""All endings that a stored picture can have, the usual ones first."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes promise. Width and height are None where only a decoder could tell."""

    format: Format
    width: int | None
    height: int | None


def read_header(data: bytes) -> Header:
    """Read format and size.

    Raises:
        NotAnImage: The bytes are something else, or end within the header, or the size is zero.
    """
    if not data:
        raise NotAnImage("empty file")
    kind = _format(data)
    if kind is None:
        raise NotAnImage(f"{_what_else(data)} instead of an image")
    try:
        size = _SIZES[kind](data) if kind in _SIZES else None
    except (struct.error, IndexError):
        raise NotAnImage(f"truncated {kind.name}") from None
    if size is None:
        return Header(kind, None, None)
    if not (size[0] and size[1]):
        raise NotAnImage(f"damaged {kind.name}: {size[0]} x {size[1]} pixels")
    return Header(kind, *size)


_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x0a", JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\0\0\1\0", ICO),
    (b"8BPS\0\1", PSD),
    (b"\x76\x2f\x31\x01", EXR),
)
# Possessive, so that no text takes longer than its length.
_SVG = re.compile(
    rb"(?:<\?xml[^>]*+>|<!--(?>.*?-->)|<!DOCTYPE\s++svg\b[^\[>]*+(?:\[[^\]]*+\]\s*+)?+>|\s++)*+<(?:svg:)?svg[\s>/]",
    re.DOTALL | re.IGNORECASE,
)


def _format(data: bytes) -> Format | None:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[:2] == b"BM" and data[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"):
        return BMP
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4]), 256)]
        if b"avif" in brands or b"avis" in brands:
            return AVIF
        if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")):
            return HEIC
    if _SVG.match(data[:65_536].removeprefix(b"\xef\xbb\xbf")):
        return SVG
    return None


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise NotAnImage("damaged PNG: no header chunk" if len(data) >= 16 else "truncated PNG")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size = frame_size(data)
    if size is None:
        raise NotAnImage(
            "damaged JPEG: it ends without a frame header" if b"\xff\xd9" in data[2:] else "truncated JPEG"
        )
    return size


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if len(data) < 30:
        raise NotAnImage("truncated WebP")
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise NotAnImage("damaged WebP: no picture chunk first")


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height: the rows go downwards


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:1] == b"I" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return None  # BigTIFF
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    sides: dict[int, int] = {}
    for entry in range(entries):
        tag, kind = struct.unpack_from(f"{order}HH", data, at + 2 + 12 * entry)
        if tag in (256, 257):
            (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, at + 10 + 12 * entry)
    return (sides[256], sides[257]) if len(sides) == 2 else None


def _heif_size(data: bytes) -> tuple[int, int] | None:
    """The largest of the sizes that are declared: a picture may be put together from tiles, and have thumbnails."""
    found = (struct.unpack_from(">II", data, at.end() + 4) for at in re.finditer(rb"ispe", data[:65_536]))
    return max(found, key=lambda size: int(size[0] * size[1]), default=None)


def _jp2_size(data: bytes) -> tuple[int, int] | None:
    at = data.find(b"ihdr", 0, 65_536)
    if at < 0:
        return None
    height, width = struct.unpack_from(">II", data, at + 4)
    return width, height


def _psd_size(data: bytes) -> tuple[int, int]:
    height, width = struct.unpack_from(">II", data, 14)
    return width, height


_SIZES: dict[Format, Callable[[bytes], tuple[int, int] | None]] = {
    PNG: _png_size,
    JPEG: _jpeg_size,
    WEBP: _webp_size,
    GIF: _gif_size,
    BMP: _bmp_size,
    TIFF: _tiff_size,
    AVIF: _heif_size,
    HEIC: _heif_size,
    JPEG_2000: _jp2_size,
    PSD: _psd_size,
}


def _what_else(data: bytes) -> str:
    """A human name for bytes that are no picture."""
    for magic, name in ((b"%PDF", "PDF"), (b"\x1f\x8b", "gzip data"), (b"PK\x03\x04", "ZIP archive")):
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return "a video or another media file"
    head = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML text"
    if head.startswith(b"<?xml"):
        return "XML text"
    if head.startswith((b"{", b"[")):
        return "JSON text"
    if not head.translate(None, bytes(range(0x20, 0x7F)) + b"\t\r\n"):
        return "plain text"
    return "unknown bytes"
