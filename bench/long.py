"""Does a long run go on as it began? One fan-out over two processes, watched from its first image to its last.

    python bench/long.py                   # 100,000 images, about half an hour on two cores
    python bench/long.py --images 5000     # to see that it works

JPEGs of 1,024 × 1,024 pixels and about 90 KB, answers at once, SeaweedFS, the ledger on PostgreSQL, a running Prefect
server, and two workers of a pool with a shard each: what is slow is this machine and what is kept of each image. Every
ten seconds it notes images in the ledger, memory of each process, files and bytes in the spool, size of the database
and task runs; every two minutes, pictures in the bucket. At the end bill, ledger and bucket must agree. It prints a
table by tenths of the run and the statements that took the database longest, then and now, and leaves figures and a
plot in `bench-results/`. Fails (exit 1) where something is not as docs/scaling.md says.

The first 1,000 images are warm-up, and what is bought after the first shard has ended is not compared, because one
process is not two.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image, ImageDraw, ImageFont
from services import Services, open_services, task_runs
from throughput import SERVED

_MODEL = "google/imagen4/preview"
_SHARDS = 2
_WARM_UP = 1_000
_CHUNK = 200
_MOST = 0.10
"""Part by which the end may differ from the beginning."""
_OF_THE_RUN = 10
"""Task runs that do not depend on the number of chunks, at most."""
_OBJECTS_EVERY = 120.0

Sample = dict[str, float]


class _Watch:
    """Notes how a run does, in a thread."""

    def __init__(self, services: Services, every: float) -> None:
        self._services, self._every = services, every
        self._began = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._objects_due = _OBJECTS_EVERY
        self.samples: list[Sample] = []
        self.statements: list[tuple[float, dict[str, tuple[int, float]]]] = []

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._end.wait(self._every):
            # A server that is too busy to say how it does is asked again next time.
            with contextlib.suppress(OSError, psycopg.Error, ClientError, BotoCoreError):
                self.samples.append(self._look())
                self.statements.append((self.samples[-1]["images"], self._services.statements()))

    def _look(self) -> Sample:
        services, farm = self._services, self._services.farm
        [(images, size)] = services.query(
            f"SELECT n_tup_ins, pg_database_size(current_database()) FROM pg_stat_user_tables "
            f"WHERE schemaname = '{farm.name}' AND relname = 'imagen_images'"
        ) or [(0, 0)]
        spool = spooled(farm.folder)
        sample: Sample = {
            "seconds": time.monotonic() - self._began,
            "images": images,
            "database": size,
            "spool files": len(spool),
            "spool bytes": sum(spool),
            "task runs": task_runs(f"{services.prefect.origin}/api"),
            **self._memory(),
        }
        if sample["seconds"] >= self._objects_due:
            sample["pictures"] = stored(services)
            self._objects_due = sample["seconds"] + _OBJECTS_EVERY
        return sample

    def _memory(self) -> Sample:
        """MiB of the processes that work for the run."""
        found: Sample = {"fan-out": _resident(psutil.Process())}
        for number, worker in enumerate(self._services.farm.workers, 1):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(worker.pid)
                found[f"worker {number}"] = _resident(process)
                shards = process.children()
                if shards:
                    found[f"shard {number}"] = _resident(shards[0])
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "prefect_imagen.cli.prefect_process" in process.cmdline():
                    found["Prefect server"] = _resident(process)
        return found


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def spooled(folder: Path) -> list[int]:
    """Sizes of the files in the workers' spools."""
    found = []
    for path in (folder / "worker-home").glob("spool/*/*/*"):
        with contextlib.suppress(OSError):  # stored and removed meanwhile
            found.append(path.stat().st_size)
    return found


def stored(services: Services) -> int:
    """Pictures in the bucket."""
    pages = services.s3.client().get_paginator("list_objects_v2").paginate(Bucket=services.farm.name)
    return sum(entry["Key"].endswith(".jpg") for page in pages for entry in page.get("Contents", ()))


def _pace(services: Services) -> tuple[list[float], int]:
    """Images a second by tenths of the time in which all shards worked, after the warm-up; and how many that were."""
    farm = services.farm
    calls = services.query(
        f'SELECT holder_id, extract(epoch FROM ended_at)::float FROM "{farm.name}".imagen_calls ORDER BY 2'
    )
    last: dict[str, float] = {}
    for holder, at in calls:
        last[holder] = at
    steady = [at for _, at in calls[min(_WARM_UP, len(calls) // 5) :] if at <= min(last.values())]
    tenth = len(steady) // 10
    marks = [steady[n * tenth] for n in range(10)] + [steady[10 * tenth - 1]]
    return [tenth / (later - earlier) for earlier, later in itertools.pairwise(marks)], len(steady)


def _mean(samples: Sequence[Sample], name: str) -> float:
    values = [sample[name] for sample in samples if name in sample]
    return sum(values) / len(values) if values else math.nan


def _parts(samples: Sequence[Sample], images: int) -> list[list[Sample]]:
    """Samples by tenths of the run."""
    parts: list[list[Sample]] = [[] for _ in range(10)]
    for sample in samples:
        if sample["images"]:
            parts[min(9, int(sample["images"] * 10 / images))].append(sample)
    return parts


def _slow_statements(watch: _Watch, images: int) -> None:
    """What took the database longest, and how long once each took in the second tenth and in the last."""
    marks = [
        next((found for seen, found in watch.statements if seen >= images * part), {}) for part in (0.1, 0.2, 0.85)
    ]
    first, second, third = marks
    last = watch.statements[-1][1]
    print(f"\n{'seconds in all':>14}{'times':>9}{'ms each, second tenth':>23}{'at the end':>12}  statement")
    for query, (count, total) in sorted(last.items(), key=lambda item: -item[1][1])[:8]:
        early = _each(first.get(query, (0, 0.0)), second.get(query, (0, 0.0)))
        late = _each(third.get(query, (0, 0.0)), (count, total))
        print(f"{total / 1000:14.1f}{count:9,}{early:23.3f}{late:12.3f}  {' '.join(query.split())[:110]}")


def _each(before: tuple[int, float], after: tuple[int, float]) -> float:
    calls = after[0] - before[0]
    return (after[1] - before[1]) / calls if calls else math.nan


def _report(services: Services, watch: _Watch, images: int, empty: int, seconds: float) -> tuple[dict[str, Any], bool]:
    """Print what was seen; figures, and whether all is as it should be."""
    farm = services.farm
    pace, steady = _pace(services)
    parts = _parts(watch.samples, images)
    memory = sorted({n for sample in watch.samples for n in sample if n.startswith(("shard", "fan", "Prefect"))})
    print(f"\n{'tenth':>5}{'images/s':>10}{'spool files':>13}{'task runs':>11}{'MB database':>13}", end="")
    print("".join(f"{f'{name}, MiB':>21}" for name in memory))
    for number, part in enumerate(parts):
        print(f"{number + 1:5}{pace[number]:10.1f}{_mean(part, 'spool files'):13.0f}", end="")
        print(f"{max((s['task runs'] for s in part), default=0):11,}", end="")
        print(f"{max((s['database'] for s in part), default=0) / 1e6:13.1f}", end="")
        print("".join(f"{_mean(part, name):21.0f}" for name in memory))
    _slow_statements(watch, images)
    [(items, bought, kept, credits)] = services.query(
        f"SELECT (SELECT count(*) FROM \"{farm.name}\".imagen_items WHERE state = 'delivered'), "
        f'(SELECT count(*) FROM "{farm.name}".imagen_calls), '
        f"(SELECT count(*) FROM \"{farm.name}\".imagen_images WHERE state = 'stored'), "
        f'(SELECT sum(settled) FROM "{farm.name}".imagen_calls)'
    )
    [(size,)] = services.query("SELECT pg_database_size(current_database())")
    bill = farm.sandbox.bill()
    chunks = _SHARDS * math.ceil(images / _SHARDS / _CHUNK)
    runs = task_runs(f"{services.prefect.origin}/api")
    grown = {name: _mean(parts[9], name) / _mean(parts[1], name) - 1 for name in memory}
    slower = pace[9] / pace[0] - 1
    checks = {
        f"bill, calls, items and images of the ledger: {len(bill['entries']):,}, {bought:,}, {items:,}, {kept:,}": (
            len(bill["entries"]) == bought == items == kept == images and bill["credits"] == credits
        ),
        f"pictures in the bucket: {(objects := stored(services)):,}": objects == images,
        f"files left in the spool: {(left := len(spooled(farm.folder)))}": left == 0,
        f"task runs: {runs:,}; five a chunk of {_CHUNK} are {5 * chunks:,}": 0 <= runs - 5 * chunks <= _OF_THE_RUN,
        f"images/s, last tenth beside the first of {steady:,}: {pace[9]:.1f}, {pace[0]:.1f} ({slower:+.1%})": (
            slower >= -_MOST
        ),
        **{
            f"{name}: {_mean(parts[9], name):.0f} MiB in the last tenth, {part:+.1%} on the second": part <= _MOST
            for name, part in grown.items()
        },
    }
    print(f"\n{images:,} images in {seconds / 60:.1f} minutes: {images / seconds:.1f}/s, start and end included")
    print(f"the ledger on PostgreSQL: {(size - empty) / images / 1000:.1f} KB an image")
    for what, is_so in checks.items():
        print(f"{'ok  ' if is_so else 'FAIL'} {what}")
    figures = {"images": images, "seconds": seconds, "pace": pace, "samples": watch.samples}
    return figures | {"bytes an image": (size - empty) / images}, all(checks.values())


def _plot(figures: dict[str, Any], path: Path) -> None:
    """A panel for each thing that could grow, over the time of the run."""
    samples: list[Sample] = figures["samples"]
    for before, after in itertools.pairwise(samples):
        after["images/s"] = (after["images"] - before["images"]) / (after["seconds"] - before["seconds"])
    panels = {
        "images a second": ["images/s"],
        "memory, MiB": sorted({n for s in samples for n in s if n.startswith(("shard", "fan", "Prefect"))}),
        "files in the spool": ["spool files"],
        "size of the database, bytes": ["database"],
        "task runs": ["task runs"],
        "pictures in the bucket": ["pictures"],
    }
    colours = ("#1f6feb", "#d97706", "#0b8043", "#7c3aed")
    width, height, left, right = 900, 150, 110, 170
    page = Image.new("RGB", (width, 50 + (height + 40) * len(panels)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    draw.text((20, 14), f"{figures['images']:,} images, {samples[-1]['seconds'] / 60:.1f} minutes", "#111111", font)
    across = (width - left - right) / samples[-1]["seconds"]
    for number, (title, names) in enumerate(panels.items()):
        top = 70 + number * (height + 40)
        most = max((s[name] for s in samples for name in names if name in s), default=0) or 1
        draw.text((left, top - 22), title, "#444444", font)
        draw.line([(left, top), (left, top + height), (width - right, top + height)], "#98a4ae")
        draw.text((20, top - 6), f"{most:,.0f}", "#444444", font)
        draw.text((20, top + height - 12), "0", "#444444", font)
        for place, (name, colour) in enumerate(zip(names, colours, strict=False)):
            seen = [s for s in samples if name in s]
            line = [(left + s["seconds"] * across, top + height * (1 - s[name] / most)) for s in seen]
            if len(line) > 1:
                draw.line(line, colour, 2)
            draw.text((width - right + 10, top + 18 * place), name, colour, font)
    page.save(path)


def main() -> int:
    """Run, watch, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=16, help="calls in flight of each of the two processes")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two looks")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for figures and plot")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    latency, size, image_format = SERVED["small"]
    with tempfile.TemporaryDirectory(prefix="imagen-long-") as name:
        folder = Path(name)
        prompts = folder / "prompts.txt"
        prompts.write_text("".join(f"a fox in the snow, number {n} of a long run\n" for n in range(options.images)))
        with open_services(folder, latency=latency, image_bytes=size, image_format=image_format) as services:
            farm = services.farm
            for _ in range(_SHARDS):
                farm.start_worker()
            farm.catalog.get_ledger()
            [(empty,)] = services.query("SELECT pg_database_size(current_database())")
            began = time.monotonic()
            with _Watch(services, options.every) as watch:
                flags = {"concurrency": options.concurrency, "chunk_size": _CHUNK, "model": _MODEL}
                report = farm.run(str(prompts), flags, shards=_SHARDS)
            seconds = time.monotonic() - began
            if not report.complete:
                print(f"the run is not complete: {report}\n{farm.log()}", file=sys.stderr)
            figures, is_fine = _report(services, watch, options.images, empty, seconds)
    (options.out / "long.json").write_text(json.dumps(figures, indent=1))
    _plot(figures, options.out / "long.png")
    print(f"\nfigures and plot: {options.out}")
    return 0 if is_fine and report.complete else 1


if __name__ == "__main__":
    sys.exit(main())
