"""The caption on every sandbox picture: the prompt, and a line that says that the sandbox made it.

The font is DejaVu (Latin, Greek, Cyrillic, Arabic and many symbols) if the system has it, else the font of Pillow
(Latin). A character that is not in the font is drawn as a box; the metadata of the picture has the whole text.
"""

from __future__ import annotations

import textwrap
from functools import cache
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from .art import Palette

_TEXT_FONTS = ("DejaVuSans.ttf", "DejaVuSansCondensed.ttf")
_STRONG_FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSansCondensed-Bold.ttf")
_SIZES = (0.044, 0.036, 0.030, 0.025, 0.021)
_HIGHEST_CARD = 0.42
_FILLED = 0.92  # of a line, by the mean width of a text's characters: some lines are wider than the mean

_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def _font(size: int, strong: bool) -> _Font:
    for name in _STRONG_FONTS if strong else _TEXT_FONTS:
        try:
            # Raqm would shape Arabic better, but not every Pillow has it, and pixels must not depend on it.
            return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _fit(text: str, unit: int, width: float, height: float) -> tuple[_Font, int, list[str]]:
    """The largest type in which a text fits into `width` × `height` pixels; cut with an ellipsis where none does."""
    text = " ".join(text.split())
    for share in _SIZES:
        size = max(8, round(unit * share))
        font, pitch = _font(size, False), round(size * 1.32)
        mean = font.getlength(text) / max(1, len(text))
        characters = max(1, int(width * _FILLED / mean)) if mean else 1
        lines = textwrap.wrap(text, characters) or [""]
        room = max(1, int(height // pitch))
        if len(lines) <= room:
            return font, pitch, lines
    return font, pitch, textwrap.wrap(text, characters, max_lines=room, placeholder="…")


def caption(picture: Image.Image, palette: Palette, text: str, origin: str) -> None:
    """Draw a caption on a picture, on a dark card at its lower edge.

    Args:
        picture: RGB image of any size; under about 200 pixels a side the text can no longer be read.
        palette: The picture's palette; the card has its darkest colour, the text its lightest.
        text: The prompt; white space is normalized, and a text that does not fit is cut with an ellipsis.
        origin: The line that says what made the picture.
    """
    width, height = picture.size
    unit = min(width, height)
    margin = max(2, round(unit * 0.028))
    padding = max(3, round(unit * 0.03))
    inner = width - 2 * (margin + padding)
    small = max(7, round(unit * 0.0185))
    origin_font = _font(small, True)
    while small > 5 and origin_font.getlength(origin) > inner:
        small -= 1
        origin_font = _font(small, True)
    origin_height = round(small * 1.9)
    font, pitch, lines = _fit(text, unit, inner, height * _HIGHEST_CARD - 2 * padding - origin_height)

    card_height = len(lines) * pitch + origin_height + round(1.6 * padding)
    top = max(margin, height - margin - card_height)
    box = (margin, top, width - margin, height - margin)
    dark, light = palette.color(0), palette.color(255)
    behind = picture.crop(box)
    card = Image.blend(behind, Image.new("RGB", behind.size, dark), 0.84)
    mask = Image.new("L", behind.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, behind.width - 1, behind.height - 1), radius=unit * 0.02, fill=255)
    picture.paste(card, box, mask)

    draw = ImageDraw.Draw(picture)
    left, y = margin + padding, top + round(0.7 * padding)
    for line in lines:
        draw.text((left, y), line, font=font, fill=light)
        y += pitch
    draw.text((left, y + round(small * 0.55)), origin, font=origin_font, fill=palette.color(190))
