"""How do many machines do whose database is far away: on a work pool, on Dask, on Ray?

    python bench/hosts.py                          # as root, a quarter of an hour
    python bench/hosts.py --only dask --delay 0    # one engine, with the database beside it

Three network namespaces stand for three hosts on one wire (a bridge). In each of them the services are found at the
same loopback addresses as outside, through a relay of this bench; to and from the database it holds everything back for
half of the delay, as `tc netem` would where the kernel has it. The flow runs on the first host, workers on all of them
in turn. Every worker may have the same number of calls in flight, so the ideal is workers × calls / seconds a call.

What is executed are the examples of docs/scaling.md, with other names and numbers. After each round the bill must
agree with the ledger. Reported are images a second while all workers buy, their part of the ideal, and what an image
costs the database: round trips (each question that waits for its answer, counted by the relay), statements and commits.
`--statements` lists those that come most often, and those that take longest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services import Services, open_services

_HOSTS = 3
_WIRE = "10.213.7"
_NEW_NET = 0x40000000
_ENGINES = ("pool", "dask", "ray")
_PORTS = {"dask": 8786, "ray": 10001}
_CALLS = {"pool": "imagen_fanout(", "dask": "on_dask(", "ray": "on_ray("}

Row = dict[str, Any]


# --- hosts ------------------------------------------------------------------------------------------------------------


def _host(number: int) -> str:
    return f"imagen{number % _HOSTS + 1}"


def _address(number: int) -> str:
    return f"{_WIRE}.{number % _HOSTS + 11}"


def _on(number: int) -> tuple[str, ...]:
    """What starts a command on a host."""
    return ("ip", "netns", "exec", _host(number))


@contextmanager
def _wire() -> Iterator[None]:
    """Namespaces, each with a cable to a bridge."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    with ExitStack() as stack:
        ip("link", "add", "imagen0", "type", "bridge")
        stack.callback(ip, "link", "del", "imagen0")
        ip("addr", "add", f"{_WIRE}.1/24", "dev", "imagen0")
        ip("link", "set", "imagen0", "up")
        for number in range(_HOSTS):
            name, cable = _host(number), f"imagen-{number}"
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", cable, "master", "imagen0", "up")
            ip("-n", name, "addr", "add", f"{_address(number)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield


class _Relay:
    """Carries connections from a port of each host's loopback to the same port out here."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.round_trips = 0

    def open(self, port: int, delay: float = 0.0, *, counted: bool = False) -> None:
        """Listen on all hosts."""

        async def serve(listener: socket.socket) -> None:
            await asyncio.start_server(lambda *ends: self._carry(*ends, port, delay / 2, counted), sock=listener)

        for number in range(_HOSTS):
            asyncio.run_coroutine_threadsafe(serve(_listen(_host(number), port)), self._loop).result()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, delay: float, counted: bool
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        answered = True

        def asks() -> None:
            nonlocal answered
            self.round_trips += counted and answered
            answered = False

        def answers() -> None:
            nonlocal answered
            answered = True

        await asyncio.gather(_pump(reader, back, delay, asks), _pump(there, writer, delay, answers))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, seen: Any) -> None:
    """Pass on what comes, each piece when it has been on its way for long enough."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"-"
        while data:
            with contextlib.suppress(OSError):
                data = b""
                data = await reader.read(2**16)
            if data:
                seen()
            under_way.put_nowait((time.monotonic() + delay, data))

    reading = asyncio.ensure_future(read())
    with contextlib.suppress(OSError):
        while True:
            due, data = await under_way.get()
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    await reading
    writer.close()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket of a namespace: a socket stays in the one in which it was made."""
    made: list[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{host}") as namespace:  # noqa: PTH123 - its number is what is wanted
            if libc.setns(namespace.fileno(), _NEW_NET):
                raise OSError(ctypes.get_errno(), f"cannot enter {host}")
        made.append(socket.create_server(("127.0.0.1", port)))

    # In a thread of its own, which alone goes there.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


# --- rounds -----------------------------------------------------------------------------------------------------------


def _child(work: Row) -> None:
    """An example of the docs, on the first host."""
    from prefect_imagen.core.request import Limits

    from tests.farm import example

    text = example(_CALLS[work["engine"]]).replace("s3://my-bucket/prompts.csv", work["prompts"])
    text = text.replace('load("main")', f'load("{work["farm"]}")').replace("shards=8", f"shards={work['workers']}")
    text = text.replace('64, "requests_per_minute": 600', f'{work["concurrency"]}, "chunk_size": {work["chunk"]}')
    text = text.replace(
        "concurrency=32", f"concurrency={work['concurrency']}, limits=Limits(chunk_size={work['chunk']})"
    )
    for name in ("scheduler:8786", "head:10001"):
        text = text.replace(name, f"{_address(0)}:{_PORTS.get(work['engine'])}")
    exec(text, {"__name__": "__main__", "Limits": Limits})


def _start_workers(services: Services, engine: str, workers: int, chunks: int) -> None:
    """The engine, with so many processes that buy."""
    farm = services.farm

    def start(number: int, *command: str) -> None:
        farm.start([*_on(number), sys.executable, "-m", *command], farm.folder / _host(number))

    if engine == "pool":
        for number in range(workers):
            farm.start_worker(*_on(number), home=farm.folder / _host(number))
    elif engine == "dask":
        place = f"{_address(0)}:{_PORTS['dask']}"
        start(0, "distributed.cli.dask_scheduler", "--host", f"tcp://{place}", "--no-dashboard")
        for number in range(workers):
            more = ("--host", _address(number), "--nworkers", "1", "--nthreads", str(chunks), "--no-dashboard")
            start(number, "distributed.cli.dask_worker", f"tcp://{place}", *more)
    else:
        # One process for each processor that is promised; a node is told of as many as the workers it is to have.
        shares = [sum(1 for worker in range(workers) if worker % _HOSTS == number) for number in range(_HOSTS)]
        for number, share in enumerate(shares[:workers]):
            place = ("--head", "--port", "6379") if not number else ("--address", f"{_address(0)}:6379")
            more = (
                "--node-ip-address",
                _address(number),
                "--num-cpus",
                str(share),
                "--object-store-memory",
                "100000000",
            )
            start(number, "ray.scripts.scripts", "start", *place, *more, "--disable-usage-stats", "--block")
            _wait_for(0, 6379)
        _wait_for(0, _PORTS["ray"])


def _wait_for(number: int, port: int) -> None:
    """Wait until something listens on a host."""
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((_address(number), port), timeout=1):
            return
        time.sleep(0.2)
    raise SystemExit(f"nothing listens on {_address(number)}:{port}")


def _round(services: Services, relay: _Relay, engine: str, workers: int, options: argparse.Namespace) -> Row:
    farm = services.farm
    prompts = farm.folder / "prompts.txt"
    name, wanted = uuid.uuid4().hex, options.images * workers
    prompts.write_text("".join(f"a fox in the snow, number {n} of {name}\n" for n in range(wanted)))
    before = len(farm.sandbox.bill()["entries"])
    _start_workers(services, engine, workers, options.chunks)
    work = {"engine": engine, "farm": farm.name, "prompts": str(prompts), "workers": workers}
    work |= {"concurrency": options.concurrency, "chunk": options.chunk}
    services.query("SELECT pg_stat_statements_reset()")
    trips = relay.round_trips
    command = [*_on(0), sys.executable, __file__, "--child", json.dumps(work)]
    done = subprocess.run(
        command, env={**farm.environment, "PREFECT_IMAGEN_HOME": str(farm.folder / _host(0))}, check=False
    )
    trips = relay.round_trips - trips
    statements = services.statements()
    farm.stop_workers()
    if done.returncode:
        raise SystemExit(f"{engine} with {workers} workers failed\n{farm.log()}")
    bill = farm.sandbox.bill()["entries"][before:]
    schema = f'"{farm.name}"'
    of_run = (
        f"FROM {schema}.imagen_calls JOIN {schema}.imagen_images ON call_id = imagen_calls.id AND state = 'stored' "
        f"WHERE run_id = (SELECT id FROM {schema}.imagen_runs ORDER BY started_at DESC LIMIT 1)"
    )
    [(images, credits)] = services.query(f"SELECT count(*), sum(settled) {of_run}")
    assert len({entry["client_request_id"] for entry in bill}) == len(bill) == images == wanted, (engine, images)
    assert sum(entry["credits"] for entry in bill) == credits, engine
    # Processes start and end one after the other: the pace is that of the time in which all of them buy.
    seconds = "extract(epoch FROM {})::float"
    holders = services.query(
        f"SELECT {seconds.format('min(sent_at)')}, {seconds.format('max(ended_at)')} {of_run} GROUP BY holder_id"
    )
    begin, end = max(first for first, _ in holders), min(last for _, last in holders)
    ended = services.query(f"SELECT {seconds.format('ended_at')} {of_run}")
    together = sum(begin < at <= end for (at,) in ended)
    calls = {query: count for query, (count, _) in statements.items()}
    return {
        "engine": engine,
        "workers": workers,
        "holders": len(holders),
        "images/s": together / (end - begin),
        "seconds": end - begin,
        "ideal": workers * options.concurrency / options.latency,
        "round trips": trips / images,
        "statements": sum(calls.values()) / images,
        "commits": calls.get("COMMIT", 0) / images,
        "often": sorted(((count / images, query) for query, count in calls.items()), reverse=True)[:12],
        "locked": sorted(((total / images, query) for query, (_, total) in statements.items()), reverse=True)[:4],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="for each worker")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--concurrency", type=int, default=8, help="calls in flight of each worker")
    parser.add_argument("--chunk", type=int, default=20, help="items of a chunk")
    parser.add_argument("--chunks", type=int, default=4, help="chunks at once of a process of Dask")
    parser.add_argument("--latency", type=float, default=1.5, help="seconds an answer takes")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds of a round trip to the database")
    parser.add_argument("--only", choices=_ENGINES, action="append", help="one engine, or several")
    parser.add_argument("--statements", action="store_true", help="list the statements that come most often")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(json.loads(options.child))
        return 0
    if os.geteuid():
        raise SystemExit("network namespaces are made by root")
    os.environ["PREFECT_IMAGEN_MODEL"] = "google/imagen4/preview"
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    sandbox = {"latency": options.latency, "image_bytes": 20_000, "image_format": "jpeg"}
    with (
        tempfile.TemporaryDirectory(prefix="imagen-hosts-") as folder,
        _wire(),
        open_services(Path(folder), **sandbox) as services,
    ):
        services.farm.catalog.get_ledger()
        relay = _Relay()
        relay.open(services.postgres.port, options.delay, counted=True)
        for origin in (services.prefect.origin, services.s3.endpoint_url, services.farm.sandbox.origin):
            relay.open(urlsplit(origin).port or 80)
        each = f"{options.images} images and {options.concurrency} calls in flight"
        print(f"each worker has {each}, {options.latency:g} s a call,")
        print(f"{options.delay * 1000:g} ms to the database and back; of each image, what the database is asked")
        print(
            f"{'':6}{'workers':>9}{'images/s':>10}{'of ideal':>10}{'round trips':>13}{'statements':>12}{'commits':>9}"
        )
        for engine in options.only or _ENGINES:
            for workers in options.workers:
                rows.append(row := _round(services, relay, engine, workers, options))
                print(f"{engine:6}{workers:9}{row['images/s']:10.1f}{row['images/s'] / row['ideal']:10.2f}", end="")
                print(f"{row['round trips']:13.2f}{row['statements']:12.2f}{row['commits']:9.2f}", flush=True)
                if options.statements:
                    for count, query in row["often"]:
                        print(f"    {count:8.2f} an image  {' '.join(query.split())[:110]}")
                    for milliseconds, query in row["locked"]:
                        print(f"    {milliseconds:8.2f} ms an image  {' '.join(query.split())[:107]}")
    (options.out / "hosts.json").write_text(json.dumps(rows, indent=1))
    print(f"\nfigures: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
