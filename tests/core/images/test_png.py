"""What is counted as sound, every decoder can draw; what cannot be judged so, a decoder is asked about."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from prefect_imagen.core.images import drawing, inspect, png
from prefect_imagen.core.images.png import read_png

Chunk = tuple[bytes, bytes]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(params=["isal.isal_zlib", "zlib"], autouse=True)
def inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: ModuleType = pytest.importorskip(request.param)
    monkeypatch.setattr(png, "zlib", module)
    return module


def assembled(*chunks: Chunk) -> bytes:
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> Chunk:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


END: Chunk = (b"IEND", b"")
ROWS = bytes(25 * 8)  # 8 rows of a filter type and 8 RGB pixels


def eight(*chunks: Chunk) -> bytes:
    """An 8 x 8 RGB picture with these chunks between header and end."""
    return assembled(header(8, 8), *chunks, END)


def pixels_are_sound(data: bytes) -> bool:
    picture = read_png(data)
    rows = picture.rows()
    return rows is not None and rows.whole and rows.found == rows.wanted and not (picture.cut or picture.damage)


def draws(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def saved(mode: str, size: tuple[int, int] = (67, 45), **options: Any) -> bytes:
    noise = bytes(n * 7919 % 251 for n in range(size[0] * size[1] * 4))
    image = Image.frombytes("RGBA", size, noise)
    image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_kind_of_pixel(mode: str) -> None:
    assert pixels_are_sound(saved(mode))
    assert pixels_are_sound(saved(mode, size=(1, 1)))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits(bits: int) -> None:
    assert pixels_are_sound(saved("P", bits=bits))


@pytest.mark.parametrize("options", [{"compress_level": 0}, {"optimize": True}, {"icc_profile": b"x" * 3000}])
def test_ways_to_write(options: dict[str, Any]) -> None:
    assert pixels_are_sound(saved("RGB", size=(400, 300), **options))


def test_rows_that_end_within_what_is_inflated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("RGB", size=(101, 77))
    for output in (1, 2, 303, 304, 305, 1000):
        monkeypatch.setattr(png, "_OUTPUT", output)
        monkeypatch.setattr(png, "_INPUT", 3 * output)
        assert pixels_are_sound(data), output


def test_a_stream_over_several_chunks() -> None:
    stream = zlib.compress(ROWS)
    assert pixels_are_sound(eight((b"IDAT", stream[:5]), (b"IDAT", b""), (b"IDAT", stream[5:])))
    assert pixels_are_sound(eight((b"tEXt", b"a\0b"), (b"IDAT", stream), (b"tEXt", b"c\0d")))


def test_sound_pixels_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr(drawing, "_ask", no)
    facts = inspect(saved("RGBA", size=(30, 20)))
    assert (facts.content_type, facts.width, facts.height) == ("image/png", 30, 20)


WRONG_ADLER = zlib.compress(ROWS)[:-1] + bytes([zlib.compress(ROWS)[-1] ^ 1])


@pytest.mark.parametrize(
    "data",
    [
        eight((b"IDAT", zlib.compress(ROWS[:-1]))),
        eight((b"IDAT", zlib.compress(ROWS + b"\0"))),
        eight((b"IDAT", zlib.compress(ROWS)[:-5])),
        eight((b"IDAT", zlib.compress(ROWS) + b"more")),
        eight((b"IDAT", zlib.compress(ROWS)), (b"IDAT", b"more")),
        eight((b"IDAT", WRONG_ADLER)),
        eight((b"IDAT", zlib.compress(b"\5" + ROWS[1:]))),
        eight((b"IDAT", zlib.compress(ROWS[:-25] + b"\5" + ROWS[:24]))),
        eight((b"IDAT", b"not a stream")),
        eight(),
        eight((b"IDAT", zlib.compress(ROWS)[:5]), (b"tEXt", b"a\0b"), (b"IDAT", zlib.compress(ROWS)[5:])),
        eight((b"XYZW", b""), (b"IDAT", zlib.compress(ROWS))),
        eight((b"acTL", struct.pack(">II", 1, 0)), (b"IDAT", zlib.compress(ROWS))),
        assembled(header(8, 8, interlace=1), (b"IDAT", zlib.compress(ROWS)), END),
        assembled(header(8, 8, depth=3), (b"IDAT", zlib.compress(ROWS)), END),
        assembled(header(24, 8, colour=3), (b"IDAT", zlib.compress(ROWS)), END),
        assembled(header(24, 8, colour=3), (b"IDAT", zlib.compress(ROWS)), (b"PLTE", b"rgb"), END),
        eight((b"IDAT", zlib.compress(ROWS)))[:-12],
    ],
    ids=[
        "a byte too few",
        "a byte too many",
        "stream cut",
        "stream with something behind",
        "chunk with something behind",
        "wrong Adler-32",
        "filter type of the first row",
        "filter type of the last row",
        "no stream",
        "no pixels",
        "torn apart",
        "unknown critical chunk",
        "animated",
        "interlaced",
        "no such depth",
        "no palette",
        "palette too late",
        "no end",
    ],
)
def test_what_is_not_judged(data: bytes) -> None:
    assert not pixels_are_sound(data)


def test_a_bomb_is_left_at_the_first_byte_too_many(inflater: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = 0

    class Counting:
        def __init__(self) -> None:
            self._stream = inflater.decompressobj()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def decompress(self, data: Any, most: int) -> bytes:
            nonlocal inflated
            rows: bytes = self._stream.decompress(data, most)
            inflated += len(rows)
            return rows

    bomb = eight((b"IDAT", zlib.compress(bytes(50_000_000))))
    stand_in = ModuleType("counting")
    vars(stand_in).update(decompressobj=Counting, error=inflater.error, crc32=inflater.crc32)
    monkeypatch.setattr(png, "zlib", stand_in)
    assert not pixels_are_sound(bomb)
    assert 0 < inflated <= 2**20


@given(data=st.data())
def test_what_is_accepted_can_be_drawn(data: st.DataObject) -> None:
    """Damage of any kind whose chunk checksums are right all the same: what a checksum would find is not at stake."""
    rows = b"".join(
        bytes([data.draw(st.integers(0, 4))]) + data.draw(st.binary(min_size=24, max_size=24)) for _ in "12345678"
    )
    stream = bytearray(zlib.compress(rows, data.draw(st.sampled_from([0, 1, 9]))))
    damage: Callable[[], None] | None = data.draw(
        st.sampled_from(
            [
                None,
                lambda: stream.__setitem__(data.draw(st.integers(0, len(stream) - 1)), data.draw(st.integers(0, 255))),
                lambda: stream.__delitem__(data.draw(st.integers(0, len(stream) - 1))),
                lambda: stream.insert(data.draw(st.integers(0, len(stream))), data.draw(st.integers(0, 255))),
                lambda: stream.__setitem__(slice(data.draw(st.integers(0, len(stream))), None), b""),
            ]
        )
    )
    before = bytes(stream)
    if damage is not None:
        damage()
    picture = eight((b"IDAT", bytes(stream)))
    sound = pixels_are_sound(picture)
    if bytes(stream) == before:
        assert sound
    if sound:
        assert draws(picture)
        assert len(zlib.decompress(stream)) == len(rows), "zlib says otherwise"
