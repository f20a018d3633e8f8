from __future__ import annotations

import contextlib
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


def test_a_png_whose_stream_ends_before_its_rows_do_is_cut(look: Any) -> None:
    short = png_claiming(8, 800).replace(
        png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IDAT", zlib.compress(b"\0" * 25 * 780))
    )
    assert look(short).damage == "the last 20 of 800 rows are missing"
    with pytest.raises(NotAnImage, match="truncated PNG"):
        look(png_claiming(8, 800))


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_animations_are_decoded_to_the_last_frame(look: Any, kind: str) -> None:
    frames = [Image.frombytes("RGB", (64, 48), random.Random(n).randbytes(64 * 48 * 3)) for n in range(3)]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=50)
    data = out.getvalue()
    whole = ImageFacts(f"image/{kind.lower()}", kind.lower(), 64, 48)
    assert look(data) == whole
    assert look(data, max_pixels=64 * 48 * 3) == whole
    assert look(data, max_pixels=64 * 48 * 3 - 1).damage == "not checked: its frames but for the first of 3"
    # Damage inside the last frame only.
    with pytest.raises(NotAnImage, match=r"damaged|truncated"):
        look(data[:-3000] + bytes(2900) + data[-100:])


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("PNG", 12 + 4 + 4 + 64 * 3 + 12),  # IEND, checksums, a row that no encoder can shrink, and a chunk's head
        ("JPEG", 2048),  # a row of blocks
        ("WEBP", 17),
    ],
)
def test_cut_anywhere(look: Any, kind: str, least: int) -> None:
    """What is all there but for its end is kept and said to be so; a picture that lacks more than that is none."""
    data = picture(kind, size=(64, 48))
    name = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP"}[kind]
    kept = 0
    for length in [*range(12, 60), *range(60, len(data), 97), *range(len(data) - 20, len(data))]:
        if length < len(data) - least:
            with pytest.raises(NotAnImage, match=f"truncated {name}"):
                look(data[:length])
            continue
        with contextlib.suppress(NotAnImage):
            facts = look(data[:length])
            assert facts.damage is not None
            assert "missing" in facts.damage
            kept += 1
    assert kept


@pytest.mark.parametrize(
    ("data", "damage"),
    [
        (picture("JPEG")[:-1], "its end is missing"),
        (picture("JPEG")[:-2], "its end is missing"),
        (picture("JPEG")[:-20], "its end is missing"),
        (picture("JPEG", progressive=True)[:-9], "its end is missing"),
        (picture("JPEG", mode="CMYK")[:-5], "its end is missing"),
        (picture("PNG")[:-1], "its end is missing"),
        (picture("PNG")[:-12], "its end is missing"),
        (picture("PNG")[:-15], "its end is missing"),
        (picture("PNG")[:-4] + b"\0\0\0\0", "wrong checksum of a chunk IEND"),
        (picture("PNG", mode="P")[:-30], "its end is missing; the last 1 of 48 rows are missing"),
        (picture("WEBP", lossless=True)[:-1], "its last 1 bytes are missing"),
    ],
)
def test_slight_damage_is_said_and_the_picture_is_kept(look: Any, data: bytes, damage: str) -> None:
    facts = look(data)
    assert (facts.width, facts.height, facts.damage, facts.checked) == (64, 48, damage, True)


def with_chunk(kind: bytes, data: bytes, *, checksum: int = 0, interlaced: bool = False) -> bytes:
    """A picture with a chunk behind its header; `checksum` is added to the right one."""
    chunk = bytearray(png_chunk(kind, data))
    chunk[-4:] = struct.pack(">I", (int.from_bytes(chunk[-4:]) + checksum) % 2**32)
    whole = adam7() if interlaced else picture("PNG")
    return whole[:33] + bytes(chunk) + whole[33:]


def adam7() -> bytes:
    """An interlaced picture of 8 x 8 grey pixels, which a decoder must draw."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(bytes(1 + len(range(x, 8, dx))) * len(range(y, 8, dy)) for x, y, dx, dy in passes)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("interlaced", [False, True], ids=["counted", "drawn"])
@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"tIME", b"iCCP", b"gAMA"])
def test_a_wrong_checksum_beside_the_pixels(look: Any, kind: bytes, interlaced: bool) -> None:
    facts = look(with_chunk(kind, b"a\0b", checksum=1, interlaced=interlaced))
    assert facts.damage == f"wrong checksum of a chunk {kind.decode()}"


@pytest.mark.parametrize("interlaced", [False, True], ids=["counted", "drawn"])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"x" * 2_000_000)),
        (b"iTXt", b"prompt\0\0\0\0\0" + b"x" * 2_000_000),
        (b"zTXt", b"x\0\0" + zlib.compress(b"a" * 100_000_000, 1)),
        (b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 100_000_000, 1)),
        (b"iCCP", b"icc\0\0no stream"),
        (b"eXIf", b"garbage"),
    ],
    ids=["text of 2 MB", "plain text of 2 MB", "text bomb", "profile bomb", "no profile", "no EXIF"],
)
def test_odd_metadata_do_not_matter(look: Any, kind: bytes, data: bytes, interlaced: bool) -> None:
    assert look(with_chunk(kind, data, interlaced=interlaced)).damage is None


def test_progressive_jpeg_cut_between_two_scans(look: Any) -> None:
    data = picture("JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 2
    with pytest.raises(NotAnImage, match="truncated JPEG"):
        look(data[: scans[2]])


def test_a_jpeg_that_lacks_rows_is_none(look: Any) -> None:
    data = picture("JPEG", size=(640, 480))
    with pytest.raises(NotAnImage, match="truncated JPEG"):
        look(data[: len(data) * 9 // 10])


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
        (b"blocked by policy", "plain text instead of an image"),
        (b"\x00\x01\x02", "unknown bytes instead of an image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "a video or another media file instead of an image"),
        (b"<!-- x -->" * 400 + b"<html>", "plain text instead of an image"),
        (b"BM is how this text begins", "plain text instead of an image"),
        (b"%PDF-1.7", "PDF instead of an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG: it ends without a frame header"),
        (b"RIFF\x04\0\0\0WEBPALPH", "truncated WebP|damaged WebP: no picture chunk first"),
    ],
)
def test_what_it_is_instead(look: Any, data: bytes, reason: str) -> None:
    with pytest.raises(NotAnImage, match=f"^({reason})$"):
        look(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_other_formats_are_drawn(look: Any, kind: str) -> None:
    data = picture(kind, mode="P" if kind == "GIF" else "RGB")
    facts = look(data)
    assert (facts.width, facts.height, facts.damage, facts.checked) == (64, 48, None, True)
    assert facts.content_type == {"JPEG2000": "image/jp2"}.get(kind, f"image/{kind.lower()}")
    with pytest.raises(NotAnImage, match=r"truncated|damaged"):
        look(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "content_type", "ext", "size"),
    [
        (b"<?xml version='1.0'?><!-- a --><svg xmlns='x'/>", "image/svg+xml", "svg", (None, None)),
        (b"\xef\xbb\xbf\n<svg width='5'>", "image/svg+xml", "svg", (None, None)),
        (b"<!-- drawn by hand -->\n" * 500 + b"<svg width='5'>", "image/svg+xml", "svg", (None, None)),
        (b"<!DOCTYPE svg PUBLIC 'x' 'y' [<!ENTITY ns 'z'>\n]><svg a='&ns;'>", "image/svg+xml", "svg", (None, None)),
        (struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(300), "image/heic", "heic", (None, None)),
        (
            struct.pack(">I", 24)
            + b"ftypmif1\0\0\0\0mif1heix"
            + b"ispe"
            + struct.pack(">III", 0, 640, 480)
            + bytes(90),
            "image/heic",
            "heic",
            (640, 480),
        ),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90), "image/jxl", "jxl", (None, None)),
        (b"\xff\x0a" + bytes(90), "image/jxl", "jxl", (None, None)),
    ],
)
def test_formats_that_cannot_be_read_are_kept_and_said_to_be_unchecked(
    look: Any, data: bytes, content_type: str, ext: str, size: tuple[int | None, int | None]
) -> None:
    facts = look(data)
    assert (facts.content_type, facts.ext, (facts.width, facts.height), facts.checked) == (
        content_type,
        ext,
        size,
        False,
    )
    assert facts.damage is not None
    assert facts.damage.startswith("not checked: ")


def test_checksum_of_a_png_chunk(look: Any) -> None:
    data = bytearray(picture("PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(NotAnImage, match="damaged PNG"):
        look(bytes(data))


def test_checksum_alone(look: Any) -> None:
    """The checksum of the chunk is wrong, that of the pixels in it is right: they are the ones that were written."""
    data = bytearray(picture("PNG"))
    data[data.index(b"IEND") - 5] ^= 1
    assert look(bytes(data)).damage == "wrong checksum of a chunk IDAT"


def test_a_wrong_checksum_of_the_palette(look: Any) -> None:
    data = bytearray(picture("PNG", mode="P"))
    data[data.index(b"PLTE") + 4] ^= 1
    with pytest.raises(NotAnImage, match="wrong checksum of the chunk PLTE"):
        look(bytes(data))


class TestBombs:
    def test_png_of_50_000_by_50_000(self, look: Any) -> None:
        data = png_claiming(50_000, 50_000)
        assert len(data) < 100
        with pytest.raises(NotAnImage, match="50,000 x 50,000 pixels, more than the 268,435,456"):
            look(data)

    def test_a_plain_png_of_any_size_is_counted(self, look: Any) -> None:
        """It takes no memory, so a large picture that was paid for is kept whatever was asked for."""
        side = 8_400
        rows = zlib.compress((b"\0" + bytes(side // 8)) * side)
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
        assert look(data, max_pixels=1_000_000).damage is None

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
        for kind in ("JPEG", "WEBP", "AVIF"):
            assert look(picture(kind), max_pixels=64 * 48).width == 64
            with pytest.raises(NotAnImage, match="more than the 3,071 pixels allowed"):
                look(picture(kind), max_pixels=64 * 48 - 1)

    def test_scans_are_counted(self, look: Any) -> None:
        """Each of them takes a few bytes, and a decoder goes through the whole picture for it."""
        data = picture("JPEG", mode="L", progressive=True)
        last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
        assert look(data[:last] + data[last:end] * 50 + b"\xff\xd9").damage is None
        with pytest.raises(NotAnImage, match="scans of 3,072 pixels, more than are drawn"):
            look(data[:last] + data[last:end] * 500 + b"\xff\xd9")

    @pytest.mark.parametrize("pieces", [300_000, 2_000_000])
    def test_pieces_are_counted(self, look: Any, pieces: int) -> None:
        with pytest.raises(NotAnImage, match="more than 10,000 segments"):
            look(b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00" + b"\xff\x02\x00\x00" * pieces)
        with pytest.raises(NotAnImage, match="more than 200,000 chunks"):
            look(picture("PNG")[:33] + png_chunk(b"tEXt", b"") * pieces + picture("PNG")[33:])

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
    assert (facts.width or 0) * (facts.height or 0) <= 64_000_000


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="No such file"):
        inspect(tmp_path / "missing.png")


def test_threads(tmp_path: Path) -> None:
    for number, kind in enumerate(["PNG", "JPEG", "WEBP"]):
        (tmp_path / str(number)).write_bytes(picture(kind, (300, 200)))
        (tmp_path / f"{number}-cut").write_bytes(picture(kind, (300, 200))[:-30_000])

    def one(number: int) -> str:
        try:
            return inspect(tmp_path / (f"{number % 3}-cut" if number % 2 else str(number % 3))).ext
        except NotAnImage:
            return "bad"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(60)))
    assert found == ["bad" if n % 2 else ("png", "jpg", "webp")[n % 3] for n in range(60)]
