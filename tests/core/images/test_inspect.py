from __future__ import annotations

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prefect_imagen.core.files import SpoolUnavailable
from prefect_imagen.core.images import ImageFacts, NotAnImage, inspect


def picture(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    """A noisy picture, so that no format can shrink it to nothing."""
    noise = random.Random(7).randbytes(size[0] * size[1] * 4)
    image = Image.frombytes("RGBA", size, noise).convert("RGB").convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """A whole PNG file with next to nothing behind its dimensions."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


@pytest.fixture
def look(tmp_path: Path) -> Any:
    def run(data: bytes, **options: Any) -> ImageFacts:
        path = tmp_path / "misnamed.txt"
        path.write_bytes(data)
        return inspect(path, **options)

    return run


@pytest.mark.parametrize(
    ("data", "content_type", "ext"),
    [
        (picture("PNG"), "image/png", "png"),
        (picture("PNG", mode="P"), "image/png", "png"),
        (picture("PNG", mode="L"), "image/png", "png"),
        (picture("PNG", mode="RGBA"), "image/png", "png"),
        (picture("JPEG"), "image/jpeg", "jpg"),
        (picture("JPEG", progressive=True), "image/jpeg", "jpg"),
        (picture("JPEG", mode="CMYK"), "image/jpeg", "jpg"),
        (picture("JPEG", mode="L"), "image/jpeg", "jpg"),
        (picture("WEBP"), "image/webp", "webp"),
        (picture("WEBP", lossless=True), "image/webp", "webp"),
        (picture("WEBP", mode="RGBA", exif=b"Exif\0\0"), "image/webp", "webp"),
    ],
)
def test_pictures(look: Any, data: bytes, content_type: str, ext: str) -> None:
    assert look(data) == ImageFacts(content_type, ext, 64, 48)


def test_16_bit_png(look: Any) -> None:
    out = io.BytesIO()
    Image.frombytes("I;16", (64, 48), random.Random(1).randbytes(64 * 48 * 2)).save(out, "PNG")
    assert look(out.getvalue()) == ImageFacts("image/png", "png", 64, 48)


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_animations_are_decoded_to_the_last_frame(look: Any, kind: str) -> None:
    frames = [Image.frombytes("RGB", (64, 48), random.Random(n).randbytes(64 * 48 * 3)) for n in range(3)]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=50)
    data = out.getvalue()
    assert look(data) == ImageFacts(f"image/{kind.lower()}", kind.lower(), 64, 48)
    assert look(data, max_pixels=64 * 48 * 3).width == 64
    with pytest.raises(NotAnImage, match="in 3 frames, more than"):
        look(data, max_pixels=64 * 48 * 3 - 1)
    # Damage inside the last frame only.
    with pytest.raises(NotAnImage, match=r"damaged|truncated"):
        look(data[:-3000] + bytes(2900) + data[-100:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_cut_anywhere(look: Any, kind: str) -> None:
    data = picture(kind)
    name = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP"}[kind]
    for length in [*range(12, 60), *range(60, len(data), 97), *range(len(data) - 13, len(data))]:
        with pytest.raises(NotAnImage, match=f"truncated {name}"):
            look(data[:length])


def test_progressive_jpeg_cut_between_two_scans(look: Any) -> None:
    data = picture("JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 2
    with pytest.raises(NotAnImage, match="truncated JPEG"):
        look(data[: scans[2]])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(look: Any) -> None:
    assert look(picture("JPEG") + b"\xff\xda trailer").ext == "jpg"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>", "HTML text instead of an image"),
        (b"\xef\xbb\xbf  \n<HTML>", "HTML text instead of an image"),
        (b'{"error": "expired"}', "JSON text instead of an image"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML text instead of an image"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG text instead of an image"),
        (b"blocked by policy", "plain text instead of an image"),
        (b"\x00\x01\x02", "unknown bytes instead of an image"),
        (picture("GIF", mode="P"), "GIF instead of an image"),
        (picture("BMP"), "BMP instead of an image"),
        (picture("TIFF"), "TIFF instead of an image"),
        (picture("AVIF"), "AVIF instead of an image"),
        (b"%PDF-1.7", "PDF instead of an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG: it ends without a frame header"),
        (b"RIFF\x04\0\0\0WEBPALPH", "truncated WebP|damaged WebP: no picture chunk first"),
    ],
)
def test_what_it_is_instead(look: Any, data: bytes, reason: str) -> None:
    with pytest.raises(NotAnImage, match=f"^({reason})$"):
        look(data)


def test_checksum_of_a_png_chunk(look: Any) -> None:
    data = bytearray(picture("PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(NotAnImage, match="damaged PNG"):
        look(bytes(data))


def test_checksum_alone(look: Any) -> None:
    """Pixels that decode, under a checksum that says they are not the ones that were written."""
    data = bytearray(picture("PNG"))
    data[data.index(b"IEND") - 5] ^= 1
    with pytest.raises(NotAnImage, match="damaged PNG"):
        look(bytes(data))


class TestBombs:
    def test_png_of_50_000_by_50_000(self, look: Any) -> None:
        data = png_claiming(50_000, 50_000)
        assert len(data) < 100
        with pytest.raises(NotAnImage, match="50,000 x 50,000 pixels, more than the 64,000,000"):
            look(data)

    def test_a_wider_limit_ends_at_pillows_own(self, look: Any) -> None:
        with pytest.raises(NotAnImage, match=f"more than the {Image.MAX_IMAGE_PIXELS:,} pixels"):
            look(png_claiming(10_000, 10_000), max_pixels=10**12)

    def test_webp_is_judged_before_its_canvas_is_made(self, look: Any) -> None:
        canvas = bytes(4) + (16383 - 1).to_bytes(3, "little") * 2
        body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
        with pytest.raises(NotAnImage, match="16,383 x 16,383 pixels"):
            look(b"RIFF" + struct.pack("<I", len(body)) + body)

    def test_jpeg_of_65_500_by_65_500(self, look: Any) -> None:
        data = bytearray(picture("JPEG"))
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
        with pytest.raises(NotAnImage, match="65,500 x 65,500"):
            look(bytes(data))

    def test_exactly_the_limit(self, look: Any) -> None:
        assert look(picture("PNG"), max_pixels=64 * 48).width == 64
        with pytest.raises(NotAnImage):
            look(picture("PNG"), max_pixels=64 * 48 - 1)

    def test_no_pixels(self, look: Any) -> None:
        with pytest.raises(NotAnImage, match="0 x 10 pixels"):
            look(png_claiming(0, 10))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP"]), data=st.data())
def test_damage_is_an_answer_never_a_crash(look: Any, kind: str, data: st.DataObject) -> None:
    whole = bytearray(picture(kind, (16, 16)))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        facts = look(bytes(whole))
    except NotAnImage:
        return
    assert facts.width * facts.height <= 64_000_000


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="No such file"):
        inspect(tmp_path / "missing.png")


def test_threads(tmp_path: Path) -> None:
    for number, kind in enumerate(["PNG", "JPEG", "WEBP"]):
        (tmp_path / str(number)).write_bytes(picture(kind, (300, 200)))
        (tmp_path / f"{number}-cut").write_bytes(picture(kind, (300, 200))[:-500])

    def one(number: int) -> str:
        try:
            return inspect(tmp_path / (f"{number % 3}-cut" if number % 2 else str(number % 3))).ext
        except NotAnImage:
            return "bad"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(60)))
    assert found == ["bad" if n % 2 else ("png", "jpg", "webp")[n % 3] for n in range(60)]
