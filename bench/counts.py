"""What an image costs in things that can be counted, and whether a change made it more.

    python bench/counts.py                    # this tree beside the figures in bench/counts.json
    python bench/counts.py --against COMMIT   # this tree beside a commit, both counted now
    python bench/counts.py --write            # keep this tree's figures in bench/counts.json

Seconds depend on the machine and on who else uses it; counts do not. A run of few images and a run of many are counted,
one call at a time, and the difference is divided by the images in between: what a run costs once is not in it. Each
write to the ledger has a transaction of its own, since which of them share one depends on the machine. The sandbox
answers at once; images of 20 KB go to SeaweedFS, the ledger is SQLite. Fails (exit 1) if any figure is more than 5 %
above the one that it is compared with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

KEPT = Path(__file__).with_name("counts.json")
ROOT = Path(__file__).resolve().parent.parent
MOST = 1.05
FEW, MANY = 100, 300
_PARTS = ("core", "blocks", "tasks", "flows", "cli", "sandbox", "deployments")

# What comes a few times a run does not grow by the image. How many writes share a commit, and how often a flow run is
# told of its progress, depends on the time that they take.
_BY_CHANCE = {"commits": 0.4, "requests to Prefect": 0.1}

Counts = dict[str, float]


# --- counted, in a process of its own ---------------------------------------------------------------------------------


def _counted(owner: Any, name: str, counts: Counter[str], kind: Callable[..., str]) -> None:
    """Count the calls of a function."""
    plain = getattr(owner, name)

    @wraps(plain)
    def counting(*args: Any, **kwargs: Any) -> Any:
        counts[kind(*args, **kwargs)] += 1
        return plain(*args, **kwargs)

    setattr(owner, name, counting)


def _child(work: dict[str, Any]) -> None:
    """One run of the command line; what it did, as JSON on the last line."""
    from concurrent.futures import ThreadPoolExecutor

    import httpx
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from urllib3.connectionpool import HTTPConnectionPool

    counts: Counter[str] = Counter()

    @event.listens_for(Engine, "before_cursor_execute")
    def _statement(*_: Any) -> None:
        counts["SQL statements"] += 1

    @event.listens_for(Engine, "commit")
    def _commit(*_: Any) -> None:
        counts["commits"] += 1

    def request(pool: Any, *place: Any, **named: Any) -> str:
        if f":{pool.port}" not in work["origin"]:
            return "requests to S3"
        url = str(named.get("wire_target") or named.get("url") or place[1])  # as it is sent
        return "requests to the API" if url.startswith("/v1/") else "requests for pictures"

    _counted(HTTPConnectionPool, "urlopen", counts, request)
    for flush in ("fsync", "fdatasync"):
        _counted(os, flush, counts, lambda *_: "flushes of files")
    _counted(ThreadPoolExecutor, "submit", counts, lambda *_, **__: "hand-overs to threads")
    for client in (httpx.Client, httpx.AsyncClient):
        _counted(client, "send", counts, lambda *_, **__: "requests to Prefect")

    from prefect_imagen.cli import main
    from prefect_imagen.core.ledger import writer

    writer._MAX_GROUP = 1  # which writes meet in a transaction is chance, one call at a time: each has its own here
    events = itertools.count()
    if work["profile"]:

        def tick(*_: Any) -> None:
            next(events)

        threading.setprofile(tick)
        sys.setprofile(tick)
    code = main(work["command"])
    sys.setprofile(None)
    if code:
        raise SystemExit(code)
    if work["profile"]:
        counts["Python calls"] = next(events) // 2  # each returns
    print(f"\n{json.dumps(counts)}", flush=True)


# --- the trees and their services -------------------------------------------------------------------------------------


@contextmanager
def _tree_at(commit: str, folder: Path) -> Iterator[Path]:
    """The tree of a commit, for as long as it is needed."""
    tree = folder / "tree"
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _importable(tree: Path, folder: Path) -> Path:
    """A folder from which the tree is imported, before what is installed."""
    package = folder / "import" / "prefect_imagen"
    package.mkdir(parents=True)
    for file in (tree / "prefect_imagen").iterdir():
        (package / file.name).symlink_to(file)
    for part in _PARTS:
        (package / part).symlink_to(tree / part)
    return package.parent


class _Bench:
    """The services, and runs against them."""

    def __init__(self, folder: Path, sandbox: Any, s3: Any, prefect_url: str) -> None:
        self._folder, self._sandbox, self._s3, self._prefect_url = folder, sandbox, s3, prefect_url
        self._rounds = 0

    def _run(self, path: Path, images: int, *, with_prefect: bool) -> Counter[str]:
        self._rounds += 1
        home = self._folder / f"round-{self._rounds}"
        home.mkdir()
        prompts = home / "prompts.txt"
        prompts.write_text("".join(f"a fox in the snow, number {n} of round {self._rounds}\n" for n in range(images)))
        destination = f"s3://bench/round-{self._rounds}"
        command = ["run", str(prompts), "--to", destination, "--endpoint-url", self._s3.endpoint_url, "--yes"]
        command += ["--concurrency", "1", "--chunk-size", "50", "--model", "google/imagen4/preview"]
        command += ["--catalog", str(home / "ledger.db")]
        environment = {
            **os.environ,
            "PYTHONPATH": str(path),
            "AIMLAPI_API_KEY": "bench",
            "AIMLAPI_BASE_URL": self._sandbox.base_url,
            "AWS_ACCESS_KEY_ID": self._s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self._s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "PREFECT_IMAGEN_HOME": str(home),
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_LOGGING_LEVEL": "ERROR",
        }
        environment.pop("PREFECT_API_URL", None)
        before = 0
        if with_prefect:
            environment["PREFECT_API_URL"] = self._prefect_url
            before = self._task_runs()
        work = {"origin": self._sandbox.origin, "command": command, "profile": not with_prefect}
        done = subprocess.run(
            [sys.executable, "-P", __file__, "--child", json.dumps(work)],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        counts = Counter(json.loads(done.stdout.strip().splitlines()[-1]))
        if with_prefect:
            counts["task runs"] = self._task_runs() - before
        return counts

    def _task_runs(self) -> int:
        """Task runs that the server knows; it learns of them a little after they end."""
        seen = -1
        while True:
            request = urllib.request.Request(
                f"{self._prefect_url}/task_runs/count", data=b"{}", headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = int(answer.read())
            if found == seen:
                return found
            seen = found
            time.sleep(3)

    def per_image(self, path: Path, done: Callable[[], None]) -> Counts:
        """What one more image costs."""
        found: Counts = {}
        for with_prefect in (False, True):
            few, many = (self._counts_of(path, images, with_prefect, done) for images in (FEW, MANY))
            wanted = {"requests to Prefect", "task runs"} if with_prefect else {*few, *many}
            found |= {name: round((many[name] - few[name]) / (MANY - FEW), 3) for name in sorted(wanted)}
        return found

    def _counts_of(self, path: Path, images: int, with_prefect: bool, done: Callable[[], None]) -> Counter[str]:
        counts = self._run(path, images, with_prefect=with_prefect)
        done()
        return counts


@contextmanager
def _services(folder: Path) -> Iterator[_Bench]:
    from prefect_imagen.cli.prefect_server import LocalPrefect
    from prefect_imagen.sandbox import SandboxServer
    from prefect_imagen.sandbox.local_s3 import LocalS3

    os.environ.update(PREFECT_HOME=str(folder / "prefect"), DO_NOT_TRACK="1")
    server = LocalPrefect(folder / "prefect.log").start()
    try:
        with LocalS3(folder / "s3") as s3, SandboxServer(pictures="fast", image_bytes=20_000, port=0) as sandbox:
            s3.create_bucket("bench")
            server.wait()
            yield _Bench(folder, sandbox, s3, f"{server.origin}/api")
    finally:
        server.stop()


def _compare(counts: Counts, before: Counts, name: str) -> bool:
    """Print both; whether nothing has grown."""
    table = Table("for each image", name, "this tree", "ratio")
    grown = False
    for what in sorted({*counts, *before}):
        old, new = before.get(what, 0.0), counts.get(what, 0.0)
        ratio = new / old if old else (1.0 if not new else float("inf"))
        worse = ratio > MOST and new - old > _BY_CHANCE.get(what, 0.02)
        grown |= worse
        table.add_row(what, f"{old:,.3f}", f"{new:,.3f}", f"{ratio:.2f}{' more' if worse else ''}")
    Console(width=100).print(table)
    return not grown


def main() -> int:
    """Count and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", help="count this commit, too, and compare with it")
    parser.add_argument("--write", action="store_true", help="keep the figures in bench/counts.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(json.loads(options.child))
        return 0
    with tempfile.TemporaryDirectory(prefix="imagen-counts-") as name, _services(Path(name)) as bench:
        folder = Path(name)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("counting", total=8 if options.against else 4)
            counts = bench.per_image(_importable(ROOT, folder / "this"), lambda: progress.advance(task))
            if options.against:
                with _tree_at(options.against, folder) as tree:
                    before = bench.per_image(_importable(tree, folder / "that"), lambda: progress.advance(task))
            else:
                before = json.loads(KEPT.read_text())
    if options.write:
        KEPT.write_text(json.dumps(counts, indent=2, sort_keys=True) + "\n")
    return 0 if _compare(counts, before, options.against or "kept") or options.write else 1


if __name__ == "__main__":
    sys.exit(main())
