"""XMP in a file's own format, put in and taken out without touching any other byte.

PNG: an `iTXt` chunk behind the header. JPEG: an APP1 segment behind the first APP0 and EXIF segments, which have to be
first. WebP: a chunk `XMP ` at the end, a flag in `VP8X`, and that chunk itself where the file had only the picture.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from ..images.signature import NotAnImage, read_header
from .errors import MarkRefused, UnreadableXmp
from .look import JPEG_XMP, PNG_XMP, Part, kind_of, look, parts, xmp_of
from .xmp import original_sha256, read

_LONGEST_SEGMENT = 65_533
_PNG_FIELDS = b"\0\0\0\0"  # not compressed; no language, no translated keyword
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10


def splice(data: bytes, packet: bytes) -> bytes:
    """A copy of a picture with an XMP packet in it.

    Args:
        data: A whole PNG, JPEG or WebP file without C2PA and without XMP.

    Raises:
        MarkRefused: It is something else, or has a mark already, or the packet does not fit.
    """
    seen = look(data)
    if seen.kind is None:
        raise MarkRefused("it is no PNG, JPEG or WebP file")
    if seen.c2pa:
        raise MarkRefused("it is signed (C2PA), and XMP put into it would break the signature: use a sidecar")
    if seen.xmp is not None:
        raise MarkRefused("it has XMP of its own, which is not changed: use a sidecar")
    if seen.kind == "png":
        content = PNG_XMP + _PNG_FIELDS + packet
        chunk = struct.pack(">I", len(content)) + b"iTXt" + content
        return _insert(data, _behind_header(data), chunk + struct.pack(">I", zlib.crc32(chunk[4:])))
    if seen.kind == "jpeg":
        content = JPEG_XMP + packet
        if len(content) > _LONGEST_SEGMENT:
            raise MarkRefused(
                f"{len(packet):,} bytes of XMP do not fit into a JPEG: use a sidecar, or leave out the prompt"
            )
        return _insert(data, _behind_first(data), b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content)
    return _into_webp(data, packet)


def unsplice(data: bytes) -> bytes | None:
    """The original of a file that `splice` made; None where it is none, or where its bytes changed since.

    The mark names the hash of the original, and only what has that hash is returned.
    """
    kind = kind_of(data)
    if kind is None:
        return None
    for part in parts(data, kind):
        packet = xmp_of(data, part, kind)
        if packet is None:
            continue
        try:
            wanted = original_sha256(read(packet))
        except UnreadableXmp:
            return None
        without = data[: part.begin] + data[part.end :]
        candidates = [without] if kind != "webp" else _without_xmp(data, part)
        return next((one for one in candidates if hashlib.sha256(one).hexdigest() == wanted), None)
    return None


def _insert(data: bytes, at: int, addition: bytes) -> bytes:
    return b"".join((memoryview(data)[:at], addition, memoryview(data)[at:]))


def _behind_header(data: bytes) -> int:
    for part in parts(data, "png"):
        if part.name == b"IHDR":
            return part.end
    raise MarkRefused("its header chunk is not where it belongs: use a sidecar")


def _behind_first(data: bytes) -> int:
    at = 2
    for part in parts(data, "jpeg"):
        exif = part.name == b"\xe1" and data.startswith(b"Exif\0", part.content)
        if part.name != b"\xe0" and not exif:
            break
        at = part.end
    return at


def _into_webp(data: bytes, packet: bytes) -> bytes:
    end = 8 + int.from_bytes(data[4:8], "little")
    found = list(parts(data, "webp"))
    if not found or found[-1].end != end:
        raise MarkRefused("its chunks do not fill the file: use a sidecar")
    first = found[0]
    if first.name == b"VP8X":
        head = data[12 : first.content] + bytes([data[first.content] | _XMP_FLAG]) + data[first.content + 1 : first.end]
        rest = data[first.end : end]
    else:
        head, rest = _vp8x(data, first), data[12:end]
    body = b"WEBP" + head + rest + b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body + data[end:]


def _vp8x(data: bytes, picture: Part) -> bytes:
    """The header chunk of a file that had only its picture."""
    try:
        header = read_header(data)
    except NotAnImage as error:
        raise MarkRefused(f"it is damaged: {error.reason}") from None
    if header.width is None or header.height is None:
        raise MarkRefused("its size cannot be read")
    has_alpha = picture.name == b"VP8L" and data[picture.content + 4] >> 4 & 1
    flags = _XMP_FLAG | (_ALPHA_FLAG if has_alpha else 0)
    size = (header.width - 1).to_bytes(3, "little") + (header.height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<IB3x", 10, flags) + size


def _without_xmp(data: bytes, xmp: Part) -> list[bytes]:
    """What a WebP file may have been before: with its header chunk, with the flag as it is, or without the chunk."""
    first = next(parts(data, "webp"))
    kept = data[first.end : xmp.begin]
    flags = data[first.content]
    headers = [
        data[12 : first.content] + bytes([flags & ~_XMP_FLAG]) + data[first.content + 1 : first.end],
        b"",
        data[12 : first.end],
    ]
    behind = data[xmp.end :]
    return [b"RIFF" + struct.pack("<I", 4 + len(head) + len(kept)) + b"WEBP" + head + kept + behind for head in headers]
