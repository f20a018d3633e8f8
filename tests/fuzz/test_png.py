"""The check of PNGs against Pillow: what one accepts the other can draw, and nothing makes it fail in another way."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from random import Random

from PIL import Image
from prefect_imagen.core.images import ImageFacts, NotAnImage, inspect
from prefect_imagen.core.images.png import SIGNATURE, read_png

from .conftest import Tries

_SECONDS = 5.0
"""For one small file. It is a matter of milliseconds; more would be a way to stop a run."""

Chunk = tuple[bytes, bytes]


_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _passes(width: int, height: int, bits: int, interlaced: int) -> Iterator[tuple[int, int]]:
    """How many rows of how many bytes of pixels there are."""
    for left, top, across, down in _ADAM7 if interlaced else [(0, 0, 1, 1)]:
        wide, high = len(range(left, width, across)), len(range(top, height, down))
        if wide:
            yield high, (wide * bits + 7) // 8


def _rows(chance: Random, width: int, height: int, bits: int, interlaced: int) -> bytes:
    return b"".join(
        bytes([chance.randrange(5)]) + (chance.randbytes(size) if chance.random() < 0.7 else bytes(size))
        for high, size in _passes(width, height, bits, interlaced)
        for _ in range(high)
    )


def _chunks(chance: Random) -> list[Chunk]:
    """A picture that is whole."""
    colour, depths, channels = chance.choice(
        [(0, (1, 2, 4, 8, 16), 1), (2, (8, 16), 3), (3, (1, 2, 4, 8), 1), (4, (8, 16), 2), (6, (8, 16), 4)]
    )
    depth, interlaced = chance.choice(depths), chance.random() < 0.2
    width, height = chance.randint(1, 40), chance.randint(1, 40)
    stream = zlib.compress(_rows(chance, width, height, depth * channels, interlaced), chance.choice([0, 1, 6, 9]))
    cuts = sorted(chance.randint(0, len(stream)) for _ in range(chance.randint(0, 3)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    palette = [(b"PLTE", chance.randbytes(3 * 2**depth))] if colour == 3 else []
    beside = [
        (b"tEXt", b"Software\0x"),
        (b"zTXt", b"a\0\0" + zlib.compress(b"b" * 1000)),
        (b"iTXt", chance.randbytes(20)),
        (b"iCCP", b"icc\0\0" + chance.randbytes(9)),
        (b"eXIf", chance.randbytes(12)),
        (b"tIME", chance.randbytes(7)),
        (b"gAMA", chance.randbytes(4)),
        (b"caBX", chance.randbytes(30)),
        (b"tRNS", chance.randbytes(chance.choice([1, 2, 6, 7]))),
    ]
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return [
        head,
        *chance.sample(beside, chance.randint(0, 2)),
        *palette,
        *((b"IDAT", part) for part in parts),
        *chance.sample(beside, chance.randint(0, 1)),
        (b"IEND", b""),
    ]


def _file(chunks: list[Chunk]) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _damaged(chance: Random, chunks: list[Chunk]) -> bytes:
    """The picture after what can happen to a file, on its way or by design."""
    chunks = list(chunks)
    for _ in range(chance.randint(0, 2)):
        place = chance.randrange(len(chunks))
        kind, data = chunks[place]
        match chance.randrange(6):
            case 0:
                del chunks[place]
            case 1:
                chunks.insert(place, chunks[place])
            case 2:
                chunks.insert(chance.randrange(len(chunks) + 1), chunks.pop(place))
            case 3 if data:
                at = chance.randrange(len(data))
                chunks[place] = kind, data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 4 if data:
                chunks[place] = kind, data[: chance.randrange(len(data))]
            case 5:
                chunks[place] = kind, data + chance.randbytes(chance.randint(1, 9))
        if not chunks:
            return SIGNATURE
    file = bytearray(_file(chunks))
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        file[chance.randrange(8, len(file))] = chance.randrange(256)
    if chance.random() < 0.2:
        del file[chance.randrange(8, len(file)) :]
    if chance.random() < 0.1:
        file += chance.randbytes(chance.randint(1, 40))
    return bytes(file)


def _looked_at(data: bytes) -> ImageFacts | None:
    began = time.thread_time()
    try:
        facts = inspect(data)
    except NotAnImage:
        facts = None
    assert time.thread_time() - began < _SECONDS
    return facts


def _drawn(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            return image.size
    except Exception:  # whatever a decoder raises, it has not drawn the picture
        return None


def test_a_whole_picture_is_accepted_and_said_to_be_whole(tries: Tries) -> None:
    for seed, chance in tries(300):
        data = _file(_chunks(chance))
        facts = _looked_at(data)
        assert facts is not None, seed
        assert facts.damage in (None, "a chunk tRNS of a wrong length"), seed
        assert (facts.width, facts.height) == _drawn(read_png(data).lean()), seed


def test_what_is_accepted_can_be_drawn_and_what_can_be_drawn_is_accepted(tries: Tries) -> None:
    accepted = refused = 0
    for seed, chance in tries(1_500):
        data = _damaged(chance, _chunks(chance))
        facts = _looked_at(data)
        if facts is None:
            refused += 1
            # Pillow stops at the last pixel and does not look at what is behind it, as a damaged stream's checksum.
            assert _drawn(data) is None or not _whole(data), seed
            continue
        accepted += 1
        if facts.damage is None:
            assert _drawn(read_png(data).lean()) == (facts.width, facts.height), seed
    assert accepted > 100 or accepted + refused < 1_000
    assert refused > 100 or accepted + refused < 1_000


def _whole(data: bytes) -> bool:
    """Whether a header comes first, and all chunks have the right checksums, and so have all the pixels."""
    at, stream, kind = 8, b"", b""
    while kind != b"IEND" and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(kind + body)) or (at == 8) != (kind == b"IHDR"):
            return False
        stream += body if kind == b"IDAT" else b""
        at += length + 12
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    passes = _passes(width, height, depth * _CHANNELS.get(colour, 1), interlaced)
    try:
        rows = zlib.decompress(stream)
    except zlib.error:
        return False
    return kind == b"IEND" and len(rows) >= sum(high * (1 + size) for high, size in passes)
