"""How the review page does on a catalog of 100,000 pictures: what a person waits for, and what it takes.

    python bench/review.py                   # 100,000 pictures, some minutes
    python bench/review.py --pictures 5000   # quickly

A ledger with that many stored images is filled directly, on SQLite; the pictures are some hundred files that many
images share. The page runs in a process of its own, Chromium looks at it. Measured are, each the median of
several: from the navigation to the first thumbnail that is painted, from a key to the frame that shows the next picture
in focus, the jump to the end, the number of DOM nodes, Chromium's heap, the server's memory, and thumbnails a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.sync_api import Page, sync_playwright
from prefect_imagen.core.ledger import ImageFilter, Ledger, RunSpec
from prefect_imagen.core.ledger.schema import calls, images, items, run_items
from prefect_imagen.core.review.ahead import make_thumbnails

_FILES = 200
_BATCH = 5000
_WIDTH, _HEIGHT = 1280, 800
_PAINTED = """
() => new Promise(done => {
  const tile = document.querySelector('[aria-current="true"] img');
  const look = () => {
    const now = document.querySelector('[aria-current="true"] img');
    if (now && now.complete && now.naturalWidth) requestAnimationFrame(() => done(performance.now()));
    else setTimeout(look, 2);
  };
  look();
})
"""
_KEY = """
(key) => new Promise(done => {
  const begun = performance.now();
  document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  requestAnimationFrame(() => {
    const tile = document.querySelector('[aria-current="true"]');
    const look = () => {
      if (tile.querySelector('img').complete) done(performance.now() - begun);
      else requestAnimationFrame(look);
    };
    look();
  });
})
"""


def _draw(folder: Path) -> list[tuple[str, str, int]]:
    """Pictures of 1024 x 1024, JPEG and PNG by turns: key, hash and size of each."""
    made = []
    folder.mkdir()
    base = Image.effect_mandelbrot((1024, 1024), (-2, -1.5, 1, 1.5), 40)
    for number in range(_FILES):
        turned = [ImageChops.offset(base, number * step, number * 2 * step) for step in (3, 5, 7)]
        key = f"{number}.{'jpg' if number % 2 else 'png'}"
        Image.merge("RGB", turned).save(folder / key, quality=90, compress_level=1)
        data = (folder / key).read_bytes()
        made.append((key, hashlib.sha256(data).hexdigest(), len(data)))
    return made


def _fill(catalog: Path, folder: Path, count: int) -> None:
    """A ledger with so many stored images."""
    files = _draw(folder)
    ledger = Ledger(str(catalog))
    ledger.runs.start(RunSpec("bench", "google/imagen4/preview", destination=folder.as_uri()))
    begun = datetime.now(UTC) - timedelta(days=1)

    def rows(number: int) -> tuple[dict[str, Any], ...]:
        key, sha256, size = files[number % _FILES]
        item, call = f"{number:064x}", f"pi-{number:032x}"
        at = begun + timedelta(milliseconds=number)
        return (
            {
                "id": item,
                "model": "google/imagen4/preview",
                "prompt": f"Product photo number {number} on a wooden table, soft morning light",
                "parameters": {"aspect_ratio": "1:1"},
                "edition": "",
                "repeat": 0,
                "kind": "image",
                "state": "delivered",
                "created_at": at,
                "updated_at": at,
            },
            {
                "run_id": "bench",
                "position": number,
                "item_id": item,
                "source": "prompts.csv",
                "line": number + 2,
                "row": {"product": f"number {number}"},
                "choices": {},
                "owned": False,
            },
            {
                "id": call,
                "item_id": item,
                "number": 1,
                "run_id": "bench",
                "holder_id": "bench",
                "outcome": "answered",
                "billed": True,
                "reserved": 106_000,
                "settled": 104_000,
                "cost_source": "reply",
                "wire_model": "google/imagen4/preview",
                "contract": "bench",
                "requested": 1,
                "returned": 1,
                "sent_at": at,
                "ended_at": at,
            },
            {
                "call_id": call,
                "idx": 0,
                "item_id": item,
                "state": "stored",
                "attempts": 1,
                "content_type": "image/jpeg" if number % 2 else "image/png",
                "width": 1024,
                "height": 1024,
                "bytes": size,
                "sha256": sha256,
                "destination": folder.as_uri(),
                "key": key,
                "uri": f"{folder.as_uri()}/{key}",
                "requested_at": at,
                "stored_at": at,
            },
        )

    for first in range(0, count, _BATCH):
        batch = [rows(number) for number in range(first, min(count, first + _BATCH))]

        def operation(connection: Any, batch: list[tuple[dict[str, Any], ...]] = batch) -> None:
            for table, values in zip((items, run_items, calls, images), zip(*batch, strict=True), strict=True):
                connection.execute(table.insert(), list(values))

        ledger.write(operation)
    ledger.close()


def _make_thumbnails(home: Path) -> None:
    """Make the thumbnails of all files, and say how quickly."""
    os.environ["PREFECT_IMAGEN_HOME"] = str(home / "home")
    ledger = Ledger(str(home / "ledger.db"))
    some = tuple(row["image_id"] for row in ledger.review.page(ImageFilter(), columns=("image_id",), limit=_FILES))
    begun = time.perf_counter()
    done = make_thumbnails(ledger, ImageFilter(image_ids=some))
    print(f"thumbnails a second: {done.made / (time.perf_counter() - begun):.0f}", flush=True)
    ledger.close()


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def _start(environment: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    command = [str(Path(sys.executable).with_name("prefect-imagen")), "review", "--no-open", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


def _look(page: Page, url: str) -> dict[str, float]:
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector('[aria-current="true"][data-image-id]', state="attached")
    focus = time.perf_counter() - begun
    page.evaluate(_PAINTED)
    painted = time.perf_counter() - begun
    while page.evaluate("Imagen.desk.ids.filter(Boolean).length < Imagen.desk.grid.total"):
        time.sleep(0.05)
    whole = time.perf_counter() - begun
    return {"first tile, s": focus, "first picture painted, s": painted, "all ids known, s": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as name:
        home = Path(name)
        environment = {
            **os.environ,
            "PREFECT_IMAGEN_HOME": str(home / "home"),
            "PREFECT_IMAGEN_CATALOG": str(home / "ledger.db"),
            "PREFECT_IMAGEN_REVIEWER": "bench",
        }
        begun = time.perf_counter()
        _fill(home / "ledger.db", home / "pictures", arguments.pictures)
        print(f"{arguments.pictures:,} pictures in a ledger of {(home / 'ledger.db').stat().st_size / 1e6:.0f} MB, "
              f"made in {time.perf_counter() - begun:.0f} s", flush=True)  # fmt: skip
        _make_thumbnails(home)
        process, url = _start(environment)
        try:
            _measure(url, process.pid, arguments.rounds)
        finally:
            process.terminate()
            process.wait(20)


def _measure(url: str, pid: int, rounds: int) -> None:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--enable-precise-memory-info", "--js-flags=--expose-gc"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        looks: list[dict[str, float]] = []
        for _ in range(rounds):
            page = browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT}).new_page()
            looks.append(_look(page, url))
            if len(looks) < rounds:
                page.context.close()
        for name in looks[0]:
            print(f"{name}: {statistics.median(look[name] for look in looks):.2f}", flush=True)
        keys = [page.evaluate(_KEY, "ArrowRight") for _ in range(100)]
        print(f"key to next picture, ms: {statistics.median(keys):.1f}, slowest of 100 {max(keys):.1f}")
        verdicts = [page.evaluate(_KEY, "p") for _ in range(100)]
        print(f"verdict to next picture, ms: {statistics.median(verdicts):.1f}, slowest of 100 {max(verdicts):.1f}")
        begun = time.perf_counter()
        page.keyboard.press("End")
        page.evaluate(_PAINTED)
        print(f"jump to the end, s: {time.perf_counter() - begun:.2f}")
        nodes = page.evaluate("document.querySelectorAll('*').length")
        heap = page.evaluate("() => { gc(); return performance.memory.usedJSHeapSize / 1e6 }")
        print(f"load average of the machine meanwhile: {os.getloadavg()[0]:.1f}")
        print(f"DOM nodes: {nodes}; heap of the page, MB: {heap:.1f}; memory of the server, MB: {_memory(pid):.0f}")
        browser.close()


if __name__ == "__main__":
    main()
