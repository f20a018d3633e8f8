"""Where a picture's file says what it is: C2PA, XMP and IPTC, found by a walk over the parts of the file.

Only headers of parts are read, never pixels, and at most so many of them: what is looked for stands near the beginning
of a JPEG and between few chunks of a PNG or WebP. Places: C2PA 2.2, "Embedding manifests" (PNG `caBX`, JPEG APP11, RIFF
`C2PA`); XMP part 3 (PNG `iTXt`, JPEG APP1, RIFF `XMP `); IPTC-IIM in APP13 of a JPEG.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["png", "jpeg", "webp"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_XMP = b"XML:com.adobe.xmp\0"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
LARGEST_PACKET = 2**20
"""Bytes of the largest XMP packet that is read: a bomb, or a long one of somebody else, is no mark."""

_PARTS = 20_000
"""Chunks of a PNG that are looked at, its pixels included: more than any encoder makes of what is worth looking at."""

_CHUNK = struct.Struct(">I4s")
_JPEG_IIM = b"Photoshop 3.0\x00"
_IIM_RESOURCE = b"8BIM\x04\x04"
_PNG_IIM = b"Raw profile type iptc\0"
# Of the description box in the first superbox: a manifest store of C2PA, not other JUMBF (JPEG 360, JPEG Snack).
_C2PA_STORE = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
_JUMBF_HEADER = 8 + 4 + len(_C2PA_STORE)
_SOS, _EOI = 0xDA, 0xD9


class Part(NamedTuple):
    """A chunk or segment: its name, where it begins and ends with its own header, and where its content is."""

    name: bytes
    begin: int
    content: int
    content_end: int
    end: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a file carries.

    Attributes:
        kind: Its format; None for none of the three.
        c2pa: Whether there is a C2PA manifest store.
        c2pa_bytes: Its size.
        xmp: The XMP packet.
        iptc: Whether there is an IPTC-IIM record, the older form of IPTC's properties.
    """

    kind: Kind | None = None
    c2pa: bool = False
    c2pa_bytes: int = 0
    xmp: bytes | None = None
    iptc: bool = False


def kind_of(data: bytes) -> Kind | None:
    """The format of a file by its first bytes."""
    if data.startswith(PNG_SIGNATURE):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None


def look(data: bytes) -> Look:
    """Look for what a file says of its origin. Never fails: of a damaged file, what stands before the damage counts.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (8, 8)).save(file, "PNG")
        >>> look(file.getvalue())
        Look(kind='png', c2pa=False, c2pa_bytes=0, xmp=None, iptc=False)
    """
    kind = kind_of(data)
    if kind is None:
        return Look()
    size = 0
    xmp: bytes | None = None
    iptc = False
    for part in parts(data, kind):
        name, begin, end = part.name, part.content, part.content_end
        if kind == "jpeg" and name == b"\xeb":
            size += _app11(data, part, begun=size > 0)
        elif name in (b"caBX", b"C2PA") and kind != "jpeg":
            size += end - begin
        elif xmp is None and (packet := xmp_of(data, part, kind)) is not None:
            xmp = packet
        elif kind == "jpeg" and name == b"\xed" and data.startswith(_JPEG_IIM, begin):
            iptc = iptc or data.find(_IIM_RESOURCE, begin, end) >= 0
        elif name in (b"zTXt", b"tEXt", b"iTXt") and data.startswith(_PNG_IIM, begin):
            iptc = True
    return Look(kind, size > 0, size, xmp, iptc)


def _app11(data: bytes, part: Part, *, begun: bool) -> int:
    """Bytes of a C2PA store in an APP11 segment: `JP`, instance, packet number, then the box or more of it."""
    begin, end = part.content, part.content_end
    if data[begin : begin + 2] != b"JP" or end - begin < 16:
        return 0
    if data[begin + 4 : begin + 8] == b"\0\0\0\1":
        store = data[begin + 8 : begin + 8 + _JUMBF_HEADER]
        return end - begin - 8 if store[4:8] == b"jumb" and store[12:] == _C2PA_STORE else 0
    return end - begin - 16 if begun else 0  # box length and type are repeated


def xmp_of(data: bytes, part: Part, kind: Kind) -> bytes | None:
    """The XMP packet in a part; None where it holds none, or one that is too long."""
    if kind == "jpeg":
        if part.name != b"\xe1" or not data.startswith(JPEG_XMP, part.content):
            return None
        return data[part.content + len(JPEG_XMP) : part.content_end]
    if part.content_end - part.content > LARGEST_PACKET:
        return None
    if kind == "webp":
        return data[part.content : part.content_end] if part.name == b"XMP " else None
    if part.name != b"iTXt" or not data.startswith(PNG_XMP, part.content):
        return None
    return _text(data[part.content + len(PNG_XMP) : part.content_end])


def _text(content: bytes) -> bytes | None:
    """The text of an `iTXt` chunk behind its keyword."""
    compressed = content[:1] == b"\1"
    _, separator, rest = content[2:].partition(b"\0")
    _, second, text = rest.partition(b"\0")
    if not (separator and second):
        return None
    if not compressed:
        return text
    try:
        stream = zlib.decompressobj()
        packet = stream.decompress(text, LARGEST_PACKET)
    except zlib.error:
        return None
    return packet if stream.eof else None


def parts(data: bytes, kind: Kind) -> Iterator[Part]:
    """The parts of a file in their order, up to the first that does not fit, and without the pixels of a PNG.

    Of a JPEG, those before its pixels.
    """
    walk = {"png": _chunks, "jpeg": _segments, "webp": _riff}[kind]
    for part in walk(data):
        if part.end > len(data):
            return
        yield part


def _chunks(data: bytes) -> Iterator[Part]:
    at, last = len(PNG_SIGNATURE), len(data) - 12
    for _ in range(_PARTS):
        if at > last:
            return
        length, name = _CHUNK.unpack_from(data, at)
        if name != b"IDAT":
            yield Part(name, at, at + 8, at + 8 + length, at + 12 + length)
        if name == b"IEND":
            return
        at += 12 + length


def _segments(data: bytes) -> Iterator[Part]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (_SOS, _EOI):
            return
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield Part(data[at + 1 : at + 2], at, at + 4, at + 2 + length, at + 2 + length)
        at += 2 + length


def _riff(data: bytes) -> Iterator[Part]:
    limit = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = 12
    while at + 8 <= limit:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Part(data[at : at + 4], at, at + 8, at + 8 + length, at + 8 + length + length % 2)
        at += 8 + length + length % 2
