"""Whether every pixel of a PNG is there and intact, found out without drawing one.

What can be wrong with a PNG's pixels shows in its compressed stream: a damaged stream does not inflate or has another
Adler-32, a short one gives fewer bytes than its rows need, and a row begins with one of five filter types (PNG, W3C,
third edition, clauses 7, 9 and 10). Undoing the filters can then not fail, whatever the bytes are: every value is a
valid pixel. So inflating is the whole proof, and drawing, most of a decoder's time, can be left out. ISA-L inflates a
good three times as fast as zlib; without it zlib serves.

What is not pixels (texts, profiles, times) cannot spoil them: a fault there is said, and the picture is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zlib
else:
    try:
        from isal import isal_zlib as zlib
    except ImportError:  # no wheel for this machine
        import zlib

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_FILTERS = bytes(range(5))
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_INPUT = 64 * 1024
_OUTPUT = 256 * 1024
"""Bytes inflated at once: they stay in the processor's cache, and a bomb does not get far."""

MOST_CHUNKS = 200_000
"""Chunks that are looked at: a file of 64 MB whose pixels are cut into pieces of 8 KB has 8,000."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    data: memoryview
    intact: bool  # whether its checksum is the one that stands behind it

    @property
    def critical(self) -> bool:
        return self.kind[:1].isupper()


@dataclass(frozen=True, slots=True)
class Png:
    """The parts of a PNG.

    Attributes:
        damage: What is wrong beside the pixels; empty if nothing is.
        cut: Whether the file ends before its end chunk does.
    """

    _chunks: tuple[_Chunk, ...]
    damage: tuple[str, ...]
    cut: bool

    @property
    def animated(self) -> bool:
        """Whether there is more than one frame."""
        return any(chunk.kind in _ANIMATION for chunk in self._chunks)

    @property
    def empty(self) -> bool:
        """Whether there are no pixels at all."""
        return all(chunk.kind != b"IDAT" for chunk in self._chunks)

    def rows(self) -> Rows | None:
        """The rows of its pixels, counted by inflating them. None where a decoder must be the judge: the picture is
        animated, interlaced, or built in a way that decoders may differ on."""
        stream = _stream(self._chunks)
        return _count(stream) if stream is not None else None

    def lean(self) -> bytes:
        """The same picture with nothing that is not needed to draw it, and with right checksums."""
        needed = {b"tRNS", *_ANIMATION}
        kept = [chunk for chunk in self._chunks if chunk.kind in needed or (chunk.critical and chunk.kind != b"IEND")]
        parts: list[bytes | memoryview] = [SIGNATURE]
        for kind, data in [*((chunk.kind, chunk.data) for chunk in kept), (b"IEND", memoryview(b""))]:
            parts += (struct.pack(">I", len(data)), kind, data, struct.pack(">I", _crc(kind, data)))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Rows:
    """What inflating the pixels gave.

    Attributes:
        wanted: Rows that the header promises.
        found: Rows that are there.
        whole: Whether the stream ends where its last row does, with its own checksum right.
        sound: Whether nothing but the end is missing.
    """

    wanted: int
    found: int
    whole: bool
    sound: bool


def read_png(data: bytes) -> Png:
    """Take a PNG apart, and compare the checksums of its chunks.

    Raises:
        ValueError: More chunks than anybody would write, or a checksum that decides on pixels is wrong.
    """
    chunks: list[_Chunk] = []
    damage: dict[str, None] = {}
    ended = False
    for chunk, whole in _read(memoryview(data)):
        if not whole:
            # Pixels that are there can be shown; half a text cannot be read.
            if chunk.kind == b"IDAT":
                chunks.append(chunk)
            break
        if not chunk.intact:
            kind = chunk.kind.decode("ascii", "replace") if chunk.kind.isalpha() else "?"
            if chunk.critical and chunk.kind not in (b"IHDR", b"IDAT", b"IEND"):
                raise ValueError(f"wrong checksum of the chunk {kind}")
            damage[f"wrong checksum of a chunk {kind}"] = None
            if not chunk.critical:
                continue
        if chunk.kind == b"tRNS" and chunks and not _is_usual(chunk, _colour(chunks[0])):
            # Browsers leave it out, some decoders give up over it.
            damage["a chunk tRNS of a wrong length"] = None
            continue
        chunks.append(chunk)
        ended = chunk.kind == b"IEND"
        if ended:
            break
    return Png(tuple(chunks), tuple(damage), not ended)


def _read(view: memoryview) -> Iterator[tuple[_Chunk, bool]]:
    """Each chunk, and whether all of it is there."""
    at = len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(view):
            return
        length, kind = struct.unpack_from(">I4s", view, at)
        data = view[at + 8 : at + 8 + length]
        at += length + 12
        if at > len(view):
            yield _Chunk(kind, data, intact=True), False
            return
        (checksum,) = struct.unpack_from(">I", view, at - 4)
        yield _Chunk(kind, data, intact=checksum == _crc(kind, data)), True
    raise ValueError(f"more than {MOST_CHUNKS:,} chunks")


def _crc(kind: bytes, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(kind))


@dataclass(frozen=True, slots=True)
class _Stream:
    row_bytes: int  # the filter type included
    height: int
    parts: list[memoryview]


def _stream(chunks: tuple[_Chunk, ...]) -> _Stream | None:
    """Where the compressed pixels are and how many there must be; None for anything out of the ordinary."""
    if not chunks or chunks[0].kind != b"IHDR" or len(chunks[0].data) != 13:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0].data)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace:
        return None
    parts: list[memoryview] = []
    seen: list[bytes] = []
    for chunk in chunks:
        if chunk.kind in _ANIMATION or (chunk.critical and chunk.kind not in _CRITICAL):
            return None
        if chunk.kind == b"IDAT":
            if parts and seen[-1] != b"IDAT":
                return None
            parts.append(chunk.data)
        seen.append(chunk.kind)
        if not _is_usual(chunk, colour):
            return None
    if seen.count(b"IHDR") != 1 or seen.count(b"PLTE") > 1:
        return None
    if colour == _PALETTE and b"PLTE" not in seen[: seen.index(b"IDAT") if parts else 0]:
        return None
    return _Stream(1 + (width * _CHANNELS[colour] * depth + 7) // 8, height, parts)


def _colour(header: _Chunk) -> int:
    return header.data[9] if len(header.data) == 13 else -1


def _is_usual(chunk: _Chunk, colour: int) -> bool:
    """Whether palette and transparency, which a decoder reads before the pixels, are as long as they must be."""
    length = len(chunk.data)
    if chunk.kind == b"PLTE":
        return 0 < length <= 768 and length % 3 == 0
    if chunk.kind == b"tRNS":
        return 0 < length <= 256 if colour == _PALETTE else length == {0: 2, 2: 6}.get(colour)
    return True


def _count(picture: _Stream) -> Rows | None:
    """Inflate the pixels. None where the stream holds what no encoder writes."""
    expected = picture.row_bytes * picture.height
    stream = zlib.decompressobj()
    size = 0

    def rows(*, whole: bool, sound: bool) -> Rows:
        return Rows(picture.height, size // picture.row_bytes, whole, sound)

    try:
        for part in picture.parts:
            for begin in range(0, len(part), _INPUT):
                if stream.eof:
                    return None  # something behind the end of the stream
                more: bytes | memoryview = part[begin : begin + _INPUT]
                full = True
                while more or full:
                    inflated = stream.decompress(more, _OUTPUT)
                    if inflated[-size % picture.row_bytes :: picture.row_bytes].translate(None, _FILTERS):
                        return None
                    size += len(inflated)
                    if size > expected:
                        return None
                    more, full = stream.unconsumed_tail, len(inflated) == _OUTPUT
    except zlib.error:
        return rows(whole=False, sound=False)
    if stream.eof and stream.unused_data:
        return None
    return rows(whole=bool(stream.eof) and size == expected, sound=True)
