"""Pictures that are made to fill the memory, or to keep a processor busy, through the whole command line."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import Terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]

MOST = 700
"""MB that the process and all it starts may take."""

IMAGES = 16


def picture(kind: str, side: int, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (side, side), (1, 2, 3, 4)[: len(Image.new(mode, (1, 1)).getbands())]).save(out, kind, **options)
    return out.getvalue()


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, some bytes of a plain picture, comes again and again."""
    data = picture("JPEG", side, "L", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * scans + b"\xff\xd9"


def _tree(pid: int) -> list[int]:
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(found for child in children for found in _tree(child))]


class Memory:
    """The most memory of each process of a tree, by the system's own account of its peak."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for pid in _tree(self._pid):
                with contextlib.suppress(OSError):
                    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                    if found:  # a process that has just ended has no memory
                        self._peaks[pid] = max(self._peaks.get(pid, 0), int(found[1]) // 1024)

    @property
    def peak(self) -> int:
        """MB of all of them together: at least as much as there was at any time."""
        return sum(self._peaks.values())


@pytest.mark.parametrize(
    ("make", "state", "reason"),  # made in the test: all processes of the tests collect them
    [
        (
            lambda: picture("WEBP", 8_000, "RGBA", lossless=True, method=0),
            "quarantined",
            "WebP of 8,000 x 8,000 pixels, more than the 16,777,216 pixels allowed",
        ),
        (lambda: picture("WEBP", 4_000, "RGBA", lossless=True, method=0), "stored", None),
        (lambda: picture("JPEG", 4_000, progressive=True), "stored", None),
        (
            lambda: many_scans(1_000, 5_000),
            "quarantined",
            "JPEG of 5,0.. scans of 1,000,000 pixels, more than are drawn",
        ),
    ],
    ids=["WebP of 64 million pixels", "WebP of 16 million", "progressive JPEG", "5,000 scans"],
)
def test_sixteen_of_them_stay_within_the_budget(
    alone: Terminal, make: Callable[[], bytes], state: str, reason: str | None
) -> None:
    encoded = base64.b64encode(make()).decode()
    alone.sandbox.set_faults([{"fault": "other_bytes", "data": encoded, "first_attempts": None}])
    alone.write("foxes.txt", "".join(f"a fox, {n}\n" for n in range(IMAGES)))
    process = alone.start("run", "foxes.txt", "--to", "images", "--offline", "--patience", "2", "--yes")
    with Memory(process.pid) as memory:
        _, err = process.communicate(timeout=300)
    assert process.returncode == (0 if state == "stored" else 1), err
    assert 50 < memory.peak < MOST
    exported = alone.run("export", "-", "--format", "jsonl")
    rows = [json.loads(line) for line in exported.out.splitlines()]
    assert {row["state"] for row in rows} == {state}
    # Where none is any good, the run may stop buying before the last ones.
    assert len(rows) == len(alone.sandbox.bill()["entries"]) <= IMAGES
    assert state == "quarantined" or len(rows) == IMAGES
    for row in rows:
        assert row["reason"] is None if reason is None else re.match(reason, row["reason"]), row["reason"]
