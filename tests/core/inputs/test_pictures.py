"""The form in which a picture goes into a request: as it is, or a copy by the rule of the docs."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms
from prefect_imagen.core.inputs import InputRefused, look_at, ready
from prefect_imagen.core.providers.spec import InputLimits

from .conftest import encoded, picture

LIMITS = InputLimits(bytes=60_000, side=256)
NOISE = Image.effect_noise((200, 120), 90).convert("RGB")


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_fits_is_sent_byte_for_byte(kind: str) -> None:
    data = encoded(Image.new("RGB", (256, 100), "teal"), kind)
    assert ready(data, LIMITS) == (data, f"image/{kind.lower()}")


def test_a_picture_that_lies_on_its_side_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.new("RGB", (40, 80), "white")
    upright.paste("red", (0, 0, 40, 40))
    data = encoded(upright.rotate(90, expand=True), "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)
    assert (look_at(data).width, look_at(data).height) == (40, 80)
    sent, kind = ready(data, LIMITS)
    assert (kind, opened(sent).size) == ("image/jpeg", (40, 80))
    red, green, _ = opened(sent).convert("RGB").getpixel((20, 10))  # type: ignore[misc]
    assert red > 200 > 60 > green
    assert opened(sent).getexif().get(0x0112, 1) == 1


_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored that EXIF says lies so (EXIF 2.32, tag 0x0112)."""


@pytest.mark.parametrize("lies", [0, 1, *_STORED, 9])
@pytest.mark.parametrize("side", [256, 40])
def test_a_picture_that_lies_in_any_way_is_sent_upright(lies: int, side: int) -> None:
    upright = Image.new("RGB", (40, 80), "white")
    upright.paste("red", (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = lies
    stored = upright.transpose(_STORED[lies]) if lies in _STORED else upright
    data = encoded(stored, "PNG", exif=exif.tobytes())
    assert (look_at(data).width, look_at(data).height) == (40, 80)
    sent = opened(ready(data, InputLimits(side=side))[0])
    assert sent.size == ((40, 80) if side > 80 else (20, 40))
    corner = sent.convert("RGB").getpixel((5, 5))
    assert corner == (255, 0, 0)
    assert sent.getexif().get(0x0112, 1) in (0, 1, 9)


def test_a_photograph_of_a_camera_goes_in_in_a_smaller_copy() -> None:
    data = encoded(Image.new("RGB", (6000, 4000), "teal"), "JPEG")
    assert (look_at(data).width, look_at(data).height) == (6000, 4000)
    sent, kind = ready(data, InputLimits())
    assert (kind, opened(sent).size) == ("image/jpeg", (4096, 2731))


def test_colours_of_another_profile_become_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and green primaries in each other's place, under another name.
    swapped = srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    sent, kind = ready(encoded(red, "PNG", icc_profile=swapped), LIMITS)
    assert (kind, opened(sent).info.get("icc_profile")) == ("image/png", None)
    assert opened(sent).convert("RGB").getpixel((8, 8)) == pytest.approx((30, 200, 30), abs=3)
    as_it_is = encoded(red, "PNG", icc_profile=srgb)
    assert ready(as_it_is, LIMITS)[0] == as_it_is
    # A profile that is none of these colours says nothing.
    odd = encoded(red, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    assert ready(odd, LIMITS)[0] == odd


def test_what_is_too_large_becomes_smaller() -> None:
    sent, kind = ready(encoded(Image.new("RGB", (1000, 500), "navy"), "PNG"), LIMITS)
    assert (kind, opened(sent).size) == ("image/png", (256, 128))
    heavy = encoded(NOISE, "PNG")
    assert len(heavy) > LIMITS.bytes
    sent, kind = ready(heavy, LIMITS)
    assert (kind, len(sent) <= LIMITS.bytes) == ("image/jpeg", True)
    clear = NOISE.convert("RGBA")
    clear.putalpha(120)
    sent, kind = ready(encoded(clear, "PNG"), LIMITS)
    assert (kind, opened(sent).mode, len(sent) <= LIMITS.bytes) == ("image/png", "RGBA", True)
    assert opened(ready(heavy, LIMITS, lossless=True)[0]).format == "PNG"


def test_a_colour_that_is_clear_stays_clear() -> None:
    palette = Image.new("P", (600, 300), 1)
    palette.putpalette([255, 255, 255, 0, 128, 128])
    palette.paste(0, (0, 0, 300, 300))
    sent, kind = ready(encoded(palette, "PNG", transparency=0), LIMITS)
    small = opened(sent)
    assert (kind, small.mode, small.size) == ("image/png", "RGBA", (256, 128))
    assert (small.getpixel((10, 10))[3], small.getpixel((250, 10))[3]) == (0, 255)  # type: ignore[index]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF", "AVIF"])
def test_a_format_that_the_model_does_not_take_becomes_png(kind: str) -> None:
    sent, content_type = ready(encoded(Image.new("RGB", (30, 20), "olive"), kind), LIMITS)
    assert (content_type, opened(sent).size) == ("image/png", (30, 20))


def test_cmyk_becomes_rgb() -> None:
    sent, kind = ready(encoded(Image.new("CMYK", (30, 20), (0, 255, 255, 0)), "JPEG"), LIMITS)
    assert (kind, opened(sent).mode) == ("image/jpeg", "RGB")


def test_a_profile_that_is_none_says_nothing() -> None:
    sent, kind = ready(encoded(NOISE.convert("CMYK").resize((40, 40)), "JPEG", icc_profile=b"no profile" * 20), LIMITS)
    assert (kind, opened(sent).mode) == ("image/jpeg", "RGB")


def test_a_copy_is_the_same_each_time() -> None:
    data = encoded(NOISE.resize((600, 360)), "JPEG")
    assert ready(data, LIMITS) == ready(data, LIMITS)


def test_what_says_that_it_is_huge_is_refused_unseen() -> None:
    data = bytearray(picture(1))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(InputRefused, match="pixels"):
        look_at(bytes(data))
