"""The structure of a JPEG, read without decoding: its size, its scans, whether its end is there (ITU-T T.81, annex B).

A progressive JPEG is drawn anew by each of its scans, and a scan of a plain picture takes a few bytes. So it is counted
first how often a decoder would go through the picture.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_SEGMENTS = 10_000
"""Segments that are looked at. A picture has some dozens, and some hundreds where large metadata are cut in pieces."""

# A marker that opens a segment or ends the picture. Not one: FF 00 and FF D0-D7, which belong to coded data, and the
# fill bytes FF FF. So a search skips coded data and finds what follows it.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)
_END = 0xD9
_SCAN = 0xDA
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_COEFFICIENTS = 64


def _is_frame(marker: int) -> bool:
    """C0 to CF are frame headers, but for Huffman tables (C4), extensions (C8) and arithmetic conditioning (CC)."""
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment's length, from the start to the end marker, which is the last."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, at = data[found.start() + 1], found.end()
        yield marker, at
        if marker == _END or at + 2 > len(data):
            return
        at += int.from_bytes(data[at : at + 2])
    raise ValueError(f"more than {MOST_SEGMENTS:,} segments")


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first frame header has them; None if there is none."""
    try:
        for marker, at in _segments(data):
            if _is_frame(marker):
                height, width = struct.unpack_from(">HH", data, at + 3)
                return width, height
    except ValueError:
        return None
    return None


@dataclass(slots=True)
class Scans:
    """How a JPEG is coded.

    Attributes:
        number: Of its scans.
        ended: Whether its end marker is there.
        complete: Whether its scans, the last one whole, give every coefficient of every component to the last bit.
    """

    number: int = 0
    ended: bool = False
    progressive: bool = False
    _components: set[int] = field(default_factory=set)
    _known: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        if not self.progressive:
            return self._components <= {component for component, _ in self._known}
        wanted = ((component, at) for component in self._components for at in range(_COEFFICIENTS))
        return all(self._known.get(place) == 0 for place in wanted)

    def add_frame(self, data: bytes, marker: int, at: int) -> None:
        """Take in a frame header: which components there are."""
        self.progressive = marker in _PROGRESSIVE
        self._components = {data[at + 8 + 3 * number] for number in range(data[at + 7])}

    def add_scan(self, data: bytes, at: int) -> None:
        """Take in a scan header: what it says of which component."""
        self.number += 1
        count = data[at + 2]
        at_range = at + 3 + 2 * count
        first, last, bits = data[at_range], data[at_range + 1], data[at_range + 2]
        for number in range(count):
            component = data[at + 3 + 2 * number]
            for coefficient in range(first, min(last, _COEFFICIENTS - 1) + 1) if self.progressive else (0,):
                self._known[component, coefficient] = bits & 15 if self.progressive else 0


def read_scans(data: bytes) -> Scans:
    """Go through the headers of a JPEG.

    Raises:
        ValueError: They are not those of a JPEG that anybody would write.
    """
    scans = Scans()
    framed = False
    try:
        for marker, at in _segments(data):
            if marker == _END:
                scans.ended = True
            elif marker == _SCAN:
                scans.add_scan(data, at)
            elif _is_frame(marker):
                if framed:
                    raise ValueError("several frames")
                framed = True
                scans.add_frame(data, marker, at)
    except IndexError:
        pass  # cut within a header: then nothing ended it
    return scans
