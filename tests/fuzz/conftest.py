"""Random inputs for parsers that face strangers: so many by default, and for FUZZ_SECONDS seconds with `make fuzz`."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

Tries = Callable[[int], Iterator[tuple[int, Random]]]


@pytest.fixture
def tries() -> Tries:
    """Seeds and generators: `for seed, chance in tries(300)`. A failure names its seed, where FUZZ_SEED begins."""

    def made(count: int) -> Iterator[tuple[int, Random]]:
        seconds = float(os.environ.get("FUZZ_SECONDS", "0"))
        first = int(os.environ.get("FUZZ_SEED", "0"))
        until, number = time.monotonic() + seconds, 0
        for number in itertools.count():
            if time.monotonic() >= until if seconds else number >= count:
                break
            yield first + number, Random(first + number)
        print(f"{number:,} inputs")

    return made
