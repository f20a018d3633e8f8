"""The pictures themselves: the same every time, labelled, and of the size in bytes that was asked for."""

from __future__ import annotations

import io
from dataclasses import replace
from random import Random

import pytest
from PIL import Image, ImageChops, ImageFont
from prefect_imagen.sandbox.art import MOTIFS, PALETTES, paint
from prefect_imagen.sandbox.pictures import PictureSpec, encode_picture

SPEC = PictureSpec("google/imagen4/preview", "A lighthouse at dusk", 42, 0, 512, 512)


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_same_specification_same_bytes():
    assert encode_picture(SPEC, "png") == encode_picture(replace(SPEC), "png")


@pytest.mark.parametrize(
    "change", [{"prompt": "A lighthouse at dawn"}, {"seed": 43}, {"index": 1}, {"model": "google/imagen-4.0-fast"}]
)
def test_every_part_of_the_specification_shows(change):
    other = replace(SPEC, **change)
    difference = ImageChops.difference(opened(encode_picture(SPEC, "png")), opened(encode_picture(other, "png")))
    assert difference.getbbox() is not None


def test_the_caption_is_the_prompt():
    def card(prompt: str) -> Image.Image:
        from prefect_imagen.sandbox.captions import caption

        picture = Image.new("RGB", (512, 512), (128, 128, 128))
        caption(picture, PALETTES[0], prompt, "SANDBOX")
        return picture

    first, second = card("A lighthouse at dusk"), card("A lighthouse at dawn")
    box = ImageChops.difference(first, second).getbbox()
    assert box is not None
    left, top, _, bottom = box
    # Only the last word differs: the difference is a strip of one line, in the lower part.
    assert top > 350
    assert bottom - top < 40
    assert left > 150
    lightest = max(first.crop((0, 350, 512, 512)).convert("L").getextrema())
    assert lightest > 220


def test_long_and_foreign_prompts_stay_inside_the_picture():
    for prompt in ("word " * 1500, "x" * 4000, "Ünïcödé Привет Ελληνικά 日本語 🦊 " * 10, "\n\t ", "a\x00b"):
        picture = opened(encode_picture(replace(SPEC, prompt=prompt, width=256, height=512), "png"))
        assert picture.size == (256, 512)
        # The art above the card is never written over.
        assert picture.crop((0, 0, 256, 200)).getcolors(1) is None


def test_metadata_say_what_it_is():
    png = opened(encode_picture(SPEC, "png"))
    assert png.text["Software"] == "prefect-imagen sandbox"
    assert png.text["Prompt"] == "A lighthouse at dusk"
    assert "Not a real generation" in png.text["Description"]
    for image_format in ("jpeg", "webp"):
        exif = opened(encode_picture(SPEC, image_format)).getexif()
        assert exif[0x0131] == "prefect-imagen sandbox"
        assert "SANDBOX" in exif[0x010E]


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("size", [1 << 20, 200_001, 70_004])
def test_padding(image_format, size):
    data = encode_picture(SPEC, image_format, size)
    assert 0 <= size - len(data) <= 3
    assert opened(data).size == (512, 512)
    plain = opened(encode_picture(SPEC, image_format)).convert("RGB")
    assert ImageChops.difference(opened(data).convert("RGB"), plain).getbbox() is None


@pytest.mark.parametrize("delta", range(-2, 24))
@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_padding_by_a_few_bytes_leaves_a_good_file(image_format, delta):
    spec = replace(SPEC, width=64, height=64)
    plain = len(encode_picture(spec, image_format))
    data = encode_picture(spec, image_format, plain + delta)
    assert opened(data).size == (64, 64)


def test_a_png_that_is_too_large_is_coded_with_fewer_colours():
    large = len(encode_picture(SPEC, "png"))
    data = encode_picture(SPEC, "png", large // 2)
    assert len(data) == large // 2
    assert opened(data).size == (512, 512)


@pytest.mark.parametrize("size", [(64, 64), (64, 1536), (1408, 768)])
def test_every_motif_paints_every_shape(size):
    for motif in MOTIFS:
        picture, _ = paint(*size, Random(5), motifs=(motif,))
        assert picture.size == size
        # Real contrast, not a flat field.
        low, high = picture.convert("L").getextrema()
        assert high - low > 50, motif[0].__name__


def test_without_dejavu_the_built_in_font_letters_the_picture(monkeypatch):
    from prefect_imagen.sandbox import captions

    truetype = ImageFont.truetype

    def missing(font, *arguments, **options):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return truetype(font, *arguments, **options)

    monkeypatch.setattr(ImageFont, "truetype", missing)
    captions._font.cache_clear()
    try:
        picture = Image.new("RGB", (512, 512), (128, 128, 128))
        captions.caption(picture, PALETTES[0], "A lighthouse at dusk", "SANDBOX · model · seed 1")
    finally:
        captions._font.cache_clear()
    assert max(picture.crop((0, 350, 512, 512)).convert("L").getextrema()) > 220
