"""What does the check of a picture cost, beside drawing it with Pillow in the same process?

    python bench/pictures.py

A picture of 1 million pixels in each format, checked and drawn in turns. Reported is the processor time a picture, with
that of the process that draws, and the ratio. Machines differ and are shared: look at the ratios.
"""

from __future__ import annotations

import io
import os
import random
import statistics
from collections.abc import Callable

from PIL import Image
from prefect_imagen.core.images import drawing, inspect

_SIDE = 1024
_ROUNDS = 9
_EACH = 10
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_KINDS = {
    "PNG": {},
    "JPEG": {"quality": 90},
    "JPEG, progressive": {"quality": 90, "progressive": True},
    "WebP": {"quality": 90},
    "WebP, lossless": {"lossless": True, "method": 0},
    "AVIF": {"speed": 9},
}


def _picture(name: str) -> bytes:
    noise = random.Random(1).randbytes(3 * 256 * 256)
    out = io.BytesIO()
    picture = Image.frombytes("RGB", (256, 256), noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    picture.save(out, name.partition(",")[0].upper(), **_KINDS[name])
    return out.getvalue()


def _plain(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def _seconds() -> float:
    """Processor time of this process and of those that draw."""
    own = os.times()
    total = own.user + own.system
    for decoder in drawing._idle._waiting.get("", []):
        with open(f"/proc/{decoder._process.pid}/stat") as stat:  # noqa: PTH123
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        total += (int(user) + int(system)) * _TICK
    return total


def _cost(act: Callable[[bytes], object], data: bytes) -> float:
    began = _seconds()
    for _ in range(_EACH):
        act(data)
    return (_seconds() - began) / _EACH * 1000


def main() -> None:
    """Measure and print."""
    print(f"{'':20}{'bytes':>10}{'check, ms':>12}{'Pillow, ms':>12}{'ratio':>8}")
    for name in _KINDS:
        data = _picture(name)
        for act in (inspect, _plain):
            act(data)
        pairs = [(_cost(inspect, data), _cost(_plain, data)) for _ in range(_ROUNDS)]
        check, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{name:20}{len(data):>10,}{check:>12.1f}{plain:>12.1f}{check / plain:>8.2f}")


if __name__ == "__main__":
    main()
