"""Draws the sandbox's pictures: a motif in grey tones, coloured through a palette.

A motif is drawn in one channel at twice the size and then reduced, which smooths all edges in a quarter of the time
of drawing in colour. The palette maps the 256 tones to colours. A 1024×1024 picture takes about ten
milliseconds of one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw

_OVERSAMPLING = 2


class Palette(NamedTuple):
    """Colours from the darkest tone to the lightest, as 24-bit numbers (0xRRGGBB)."""

    stops: tuple[int, ...]

    def color(self, tone: int) -> tuple[int, int, int]:
        """The colour of a tone (0 to 255), by linear interpolation between the stops."""
        position = tone / 255 * (len(self.stops) - 1)
        low = min(int(position), len(self.stops) - 2)
        part = position - low
        return tuple(  # type: ignore[return-value]
            round(((self.stops[low] >> shift) & 255) * (1 - part) + ((self.stops[low + 1] >> shift) & 255) * part)
            for shift in (16, 8, 0)
        )


PALETTES: tuple[Palette, ...] = (
    Palette((0x1B1033, 0x4A1F5C, 0x9B2F6B, 0xE8596B, 0xF9A875, 0xFFEBC6)),  # dusk
    Palette((0x04202C, 0x0A4958, 0x128287, 0x4CBFA6, 0xA9E5BB, 0xFCF6D8)),  # lagoon
    Palette((0x1A0A0F, 0x551A1B, 0xA3311F, 0xE3662A, 0xF6B04A, 0xFFF1CC)),  # ember
    Palette((0x0B1533, 0x1E3A70, 0x3A72B0, 0x74AEDA, 0xBBDDF0, 0xF6FBFF)),  # glacier
    Palette((0x150F3D, 0x3B2480, 0x7A45C2, 0xC46FD8, 0xF3A6D0, 0xFFE9EC)),  # orchid
    Palette((0x070B1F, 0x16245A, 0x29489B, 0x5B6FD6, 0xE3A9C5, 0xFFE9B8)),  # midnight
    Palette((0x12352F, 0x1F6B57, 0x5FA052, 0xC5C14A, 0xF7D95E, 0xFFF8DB)),  # citrus
    Palette((0x060F2A, 0x123B5D, 0x13777C, 0x3FBF8D, 0xB4E88F, 0xFDFBD0)),  # aurora
)


class _Canvas(NamedTuple):
    """A grey drawing of `width` × `height` pixels, and the random numbers that shape it."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    chance: Random

    @property
    def unit(self) -> float:
        """The shorter side, in pixels."""
        return min(self.width, self.height)

    def disc(self, x: float, y: float, radius: float, tone: int) -> None:
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)

    def rings(self, x: float, y: float, radius: float, tones: Sequence[int]) -> None:
        for place, tone in enumerate(tones):
            self.disc(x, y, radius * (1 - place / len(tones)), tone)

    def below(self, line: Sequence[tuple[float, float]], tone: int) -> None:
        """Fill everything under a line that runs from the left edge to the right one."""
        self.draw.polygon([*line, (self.width, self.height), (0, self.height)], fill=tone)


def _ridge(chance: Random, start: float, end: float, roughness: float, depth: int = 8) -> list[float]:
    """A mountain ridge by midpoint displacement: 2**depth + 1 heights between `start` and `end`."""
    heights = [start, end]
    for _ in range(depth):
        refined = [heights[0]]
        for left, right in pairwise(heights):
            refined += [(left + right) / 2 + chance.uniform(-roughness, roughness), right]
        heights = refined
        roughness *= 0.52
    return heights


def _dunes(on: _Canvas) -> None:
    chance = on.chance
    radius = on.unit * chance.uniform(0.12, 0.2)
    x, y = on.width * chance.uniform(0.2, 0.8), on.height * chance.uniform(0.2, 0.34)
    for halo, tone in ((2.1, 176), (1.6, 196), (1.25, 216), (1.0, 252)):
        on.disc(x, y, radius * halo, tone)
    layers = chance.randint(5, 7)
    for layer in range(layers):
        far = 1 - layer / (layers - 1)
        middle = on.height * (0.4 + 0.42 * layer / layers)
        sway = on.height * (0.03 + 0.05 * (1 - far))
        waves = [
            (chance.uniform(0.6, 1.5), chance.uniform(0, math.tau), 1.0),
            (chance.uniform(1.8, 3.4), chance.uniform(0, math.tau), 0.35),
        ]
        line = [
            (
                px,
                middle + sway * sum(a * math.sin(f * math.tau * px / on.width + p) for f, p, a in waves),
            )
            for px in range(0, on.width + 17, 16)
        ]
        on.below(line, round(20 + 130 * far))


def _peaks(on: _Canvas) -> None:
    chance = on.chance
    for _ in range(130):
        size = on.unit * chance.uniform(0.0008, 0.0028)
        on.disc(chance.uniform(0, on.width), chance.uniform(0, on.height * 0.6), size, chance.randint(190, 255))
    moon = on.unit * chance.uniform(0.08, 0.14)
    x, y = on.width * chance.uniform(0.18, 0.82), on.height * chance.uniform(0.16, 0.3)
    on.disc(x, y, moon, 248)
    layers = 5
    for layer in range(layers):
        part = layer / (layers - 1)
        base = on.height * (0.46 + 0.34 * part)
        rise = on.height * (0.2 - 0.1 * part)
        heights = _ridge(chance, base + chance.uniform(-rise, rise) / 2, base + chance.uniform(-rise, rise) / 2, rise)
        step = on.width / (len(heights) - 1)
        on.below([(place * step, height) for place, height in enumerate(heights)], round(172 - 150 * part))


def _arcs(on: _Canvas) -> None:
    chance = on.chance
    cell = on.unit / chance.choice((2, 3, 3))
    bands = chance.choice((5, 6, 7))
    shift = chance.uniform(0, 40)
    tones = [round(34 + shift + (210 - shift) * place / (bands - 1)) for place in range(bands)]
    for row in range(math.ceil(on.height / (cell * 0.62)) + 1):
        for column in range(math.ceil(on.width / cell) + 1):
            # Scales of a fish: each row half a cell aside, painted from the top down so that rows overlap.
            x = (column + (row % 2) / 2) * cell
            order = tones if chance.random() < 0.7 else tones[::-1]
            on.rings(x, row * cell * 0.62, cell * 0.62, order)


def _bloom(on: _Canvas) -> None:
    chance = on.chance
    x, y = on.width / 2, on.height * 0.44
    petals = chance.choice((8, 10, 12, 14))
    twist = chance.uniform(0, math.tau)
    layers = 5
    for layer in range(layers):
        length = on.unit * (0.62 - 0.105 * layer)
        spread = math.pi / petals * chance.uniform(0.8, 1.05)
        tone = round(70 + 165 * layer / (layers - 1))
        for petal in range(petals):
            angle = twist + (petal + layer / 2) * math.tau / petals
            outline = []
            for step in range(25):
                part = step / 24
                swell = spread * math.sin(math.pi * part**1.2)
                # Out along one side of the petal, back along the other.
                outline.append((angle - swell, length * part))
            back = [(2 * angle - a, r) for a, r in reversed(outline)]
            points = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in outline + back]
            on.draw.polygon(points, fill=tone - 18 * (petal % 2))
    on.rings(x, y, on.unit * 0.07, (250, 205, 245))


_Motif: TypeAlias = tuple[Callable[[_Canvas], None], tuple[int, int]]

MOTIFS: tuple[_Motif, ...] = (
    (_dunes, (120, 226)),
    (_peaks, (18, 150)),
    (_arcs, (40, 90)),
    (_bloom, (22, 84)),
)
"""The painter of each motif, and the tones of its background at the top and at the bottom."""


def paint(width: int, height: int, chance: Random, motifs: Sequence[_Motif] = MOTIFS) -> tuple[Image.Image, Palette]:
    """Paint one picture.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        chance: Decides everything: the same state gives the same pixels.
        motifs: One of them is painted.

    Returns:
        An RGB image, and the palette it was coloured with.
    """
    palette = chance.choice(PALETTES)
    painter, (top, bottom) = chance.choice(motifs)
    wide, high = width * _OVERSAMPLING, height * _OVERSAMPLING
    tones = Image.new("L", (wide, high), top)
    if top != bottom:
        column = Image.new("L", (1, high))
        column.putdata([round(top + (bottom - top) * row / high) for row in range(high)])
        tones = column.resize((wide, high), Image.Resampling.NEAREST)
    painter(_Canvas(ImageDraw.Draw(tones), wide, high, chance))
    tones = tones.reduce(_OVERSAMPLING)
    tones = Image.blend(tones, _light(width, height, chance), 0.16)
    tones.putpalette([channel for tone in range(256) for channel in palette.color(tone)])
    return tones.convert("RGB"), palette


def _light(width: int, height: int, chance: Random) -> Image.Image:
    """A soft gradient over the whole picture, from a random side."""
    corners = [chance.randint(150, 255), chance.randint(90, 200), chance.randint(60, 170), chance.randint(0, 90)]
    chance.shuffle(corners)
    seed = Image.new("L", (2, 2))
    seed.putdata(corners)
    return seed.resize((width, height), Image.Resampling.BILINEAR)
