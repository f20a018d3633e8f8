"""How fast is `imagen_pipeline` beside loops that do the same work on the bytes, and how much memory does it take?

    python bench/throughput.py            # everything, about half an hour
    python bench/throughput.py --quick    # the same with few items, to see that it works
    python bench/throughput.py --litellm-python /path/to/python    # one that has litellm, boto3 and Pillow

All kinds work against one sandbox in its fast mode (a few pictures, drawn once), one SeaweedFS and one running Prefect
server, in turns, each round in a process of its own:

* `bare`: POST, GET, full decode, SHA-256, put, with requests and boto3 in as many threads; no ledger, no Prefect;
* `same check`: the same, the picture checked as the pipeline does it (a PNG is inflated, not drawn), for information;
* `no decode`: the same without looking at the picture, for information;
* `pipeline`: `imagen_pipeline`, from prompts to its report;
* `no heartbeats`: the same without those of Prefect, for whose thread a run waits up to a second at its end;
* `mapped`: what Prefect's tutorial leads to, three mapped tasks an image;
* `litellm`: `bare`, with the call made by LiteLLM; where it is installed;
* `bare bytes` and `pipeline bytes`: the same two where the picture is in the reply, in base64, as OpenAI sends it.

Servers get one half of the processors, the measured process the other. Reported are images a second (median, lowest and
highest of the rounds), processor time an image of the measured process, and its peak memory. Machines differ and are
shared: compare lines of one run, never runs with each other.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_KEY = "bench"
_MODEL = "google/imagen4/preview"
_BYTES_MODEL = "gpt-image-2"
_WARM_UP = 64
_GOALS = {
    "slow": "0.5 s an answer, 1 MiB an image",
    "fast": "answers at once, 150 KB an image",
    "small": "answers at once, JPEGs of 20 KB and 320 × 160 pixels, half as many in flight",
    "bytes": "0.5 s an answer, 1 MiB an image, at a URL or in the reply",
}
_KINDS_OF = {
    "slow": ("bare", "same check", "no decode", "pipeline", "mapped", "litellm"),
    "fast": ("bare", "same check", "no decode", "pipeline", "mapped", "litellm"),
    "small": ("bare", "same check", "no decode", "pipeline", "no heartbeats", "mapped", "litellm"),
    "bytes": ("bare", "bare bytes", "pipeline", "pipeline bytes"),
}

SERVED = {
    "slow": (0.5, 2**20, "png"),
    "fast": (0.0, 150_000, "png"),
    "small": (0.0, 20_000, "jpeg"),
    "bytes": (0.5, 2**20, "png"),
}
"""Seconds an answer takes, bytes and format of its image."""

_ASKED: dict[str, dict[str, Any]] = {
    "small": {
        "model": "hunyuan/hunyuan-image-v3-text-to-image",
        "parameters": {"image_size": {"width": 320, "height": 160}},
    }
}
"""What is bought, where it is not a square of 1,024 pixels from the model of the others."""

Work = dict[str, Any]
Row = dict[str, Any]


# --- what is measured, each in a process of its own -------------------------------------------------------------------


def _s3(work: Work) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=work["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id=work["access_key"],
        aws_secret_access_key=work["secret_key"],
        config=Config(max_pool_connections=work["concurrency"], request_checksum_calculation="when_required"),
    )


def _loop(work: Work, prompts: Sequence[str], look: Callable[[bytes], Any], get: Callable[[Any, str], bytes]) -> None:
    """The loop one would write if nothing could go wrong."""
    import requests

    local = threading.local()
    s3 = _s3(work)

    def one(prompt: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        data = get(local.session, prompt)
        look(data)
        digest = hashlib.sha256(data).digest()
        s3.put_object(
            Bucket=work["bucket"],
            Key=f"{work['kind']}/{digest.hex()}-{uuid.uuid4().hex}.png",
            Body=data,
            ContentType="image/png",
            ChecksumSHA256=base64.b64encode(digest).decode(),
        )

    with ThreadPoolExecutor(work["concurrency"]) as pool:
        list(pool.map(one, prompts))


def _paid(work: Work, model: str | None = None) -> Callable[[Any, str], dict[str, Any]]:
    """One call; the first picture of its reply."""

    def ask(session: Any, prompt: str) -> dict[str, Any]:
        answer = session.post(
            f"{work['base_url']}/images/generations",
            json={"model": model or work["model"], "prompt": prompt, **work["parameters"]},
            headers={"Authorization": f"Bearer {_KEY}"},
            timeout=60,
        )
        answer.raise_for_status()
        return dict(answer.json()["data"][0])

    return ask


def _post(work: Work) -> Callable[[Any, str], str]:
    paid = _paid(work)
    return lambda session, prompt: str(paid(session, prompt)["url"])


def _fetched(ask: Callable[[Any, str], str]) -> Callable[[Any, str], bytes]:
    """The picture at the URL that a call gives."""
    return lambda session, prompt: session.get(ask(session, prompt), timeout=60).content


def _inline(work: Work) -> Callable[[Any, str], bytes]:
    """The picture in the reply."""
    paid = _paid(work, _BYTES_MODEL)
    return lambda session, prompt: base64.b64decode(paid(session, prompt)["b64_json"])


def _decode(data: bytes) -> None:
    from PIL import Image

    Image.open(io.BytesIO(data)).load()


def _bare(work: Work, prompts: Sequence[str]) -> None:
    _loop(work, prompts, _decode, _fetched(_post(work)))


def _bare_bytes(work: Work, prompts: Sequence[str]) -> None:
    _loop(work, prompts, _decode, _inline(work))


def _same_check(work: Work, prompts: Sequence[str]) -> None:
    from prefect_imagen.core.images import inspect

    _loop(work, prompts, inspect, _fetched(_post(work)))


def _no_decode(work: Work, prompts: Sequence[str]) -> None:
    _loop(work, prompts, len, _fetched(_post(work)))


def _litellm(work: Work, prompts: Sequence[str]) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch its price list from the network
    import litellm

    def ask(_session: Any, prompt: str) -> str:
        answer = litellm.image_generation(
            prompt=prompt,
            model=f"openai/{work['model']}",
            api_base=work["base_url"],
            api_key=_KEY,
            timeout=60,
            extra_body=work["parameters"],
        )
        return str(answer.data[0].url)

    _loop(work, prompts, _decode, _fetched(ask))


def _pipeline(work: Work, prompts: Sequence[str]) -> None:
    _buy(work, prompts, "aimlapi", work["model"])


def _without_heartbeats(work: Work, prompts: Sequence[str]) -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        _pipeline(work, prompts)


def _pipeline_bytes(work: Work, prompts: Sequence[str]) -> None:
    _buy(work, prompts, "openai", f"openai:{_BYTES_MODEL}")


def _buy(work: Work, prompts: Sequence[str], api: Any, model: str) -> None:
    from prefect_imagen.blocks import ImageApiCredentials, S3ImageStore
    from prefect_imagen.core.request import ImageOptions
    from prefect_imagen.flows import imagen_pipeline
    from pydantic import SecretStr

    state = imagen_pipeline(
        list(prompts),
        S3ImageStore(
            bucket=work["bucket"],
            prefix="pipeline",
            endpoint_url=work["endpoint_url"],
            addressing_style="path",
            access_key_id=SecretStr(work["access_key"]),
            secret_access_key=SecretStr(work["secret_key"]),
        ),
        ImageApiCredentials(api=api, api_key=SecretStr(_KEY), base_url=work["base_url"]),
        work["catalog"],
        model=model,
        image=ImageOptions(parameters=work["parameters"]),
        concurrency=work["concurrency"],
        return_state=True,
    )
    if not state.is_completed():
        raise SystemExit(f"the pipeline ended as {state!r}")


def _mapped(work: Work, prompts: Sequence[str]) -> None:
    """Three tasks an image, as Prefect's tutorials map them; threads bounded, since Prefect's default is not."""
    import requests
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    s3, ask = _s3(work), _post(work)

    @task
    def generate(prompt: str) -> str:
        return ask(requests, prompt)

    @task
    def download(url: str) -> bytes:
        data = requests.get(url, timeout=60).content
        _decode(data)
        return data

    @task
    def upload(data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        s3.put_object(
            Bucket=work["bucket"],
            Key=f"mapped/{uuid.uuid4().hex}.png",
            Body=data,
            ContentType="image/png",
            ChecksumSHA256=base64.b64encode(digest).decode(),
        )

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=work["concurrency"]))  # type: ignore[arg-type]
    def mapped() -> None:
        upload.map(download.map(generate.map(list(prompts)))).wait()

    mapped()


def _ceiling(work: Work, prompts: Sequence[str]) -> None:
    """POST and GET, and nothing else: what sandbox and client's HTTP allow at most."""
    import requests

    local, ask = threading.local(), _post(work)

    def one(prompt: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        with local.session.get(ask(local.session, prompt), stream=True, timeout=60) as answer:
            while answer.raw.read(2**20):
                pass

    with ThreadPoolExecutor(work["concurrency"]) as pool:
        list(pool.map(one, prompts))


_KINDS: dict[str, Callable[[Work, Sequence[str]], None]] = {
    "ceiling": _ceiling,
    "bare": _bare,
    "same check": _same_check,
    "no decode": _no_decode,
    "pipeline": _pipeline,
    "no heartbeats": _without_heartbeats,
    "mapped": _mapped,
    "litellm": _litellm,
    "bare bytes": _bare_bytes,
    "pipeline bytes": _pipeline_bytes,
}


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _child(work: Work) -> None:
    """One round; a first few items warm it up and are not counted."""
    run = _KINDS[work["kind"]]
    if work["warm_up"]:
        run(work, [f"warm up {uuid.uuid4()}" for _ in range(min(_WARM_UP, work["items"]))])
    prompts = work.get("prompts") or [f"prompt {n} of {work['name']}" for n in range(work["items"])]
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    run(work, prompts)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "seconds": seconds,
        "images_per_second": work["items"] / seconds,
        "cpu_ms": (_cpu(after) - _cpu(before)) / work["items"] * 1000,
        "peak_mib": after.ru_maxrss / 1024,
    }
    print(f"\n{json.dumps(found)}")


# --- the services that are measured ----------------------------------------------------------------------------------


class _Bench:
    """Sandbox, S3 and Prefect server on their half of the processors."""

    def __init__(self, folder: Path, litellm_python: str | None) -> None:
        self.folder = folder
        self._litellm_python = litellm_python
        cores = sorted(os.sched_getaffinity(0))
        half = max(1, len(cores) // 2)
        self._cores, self.server_cores, self.client_cores = cores, cores[:half], cores[half:] or cores
        self._stack = ExitStack()
        self._work: Work = {}

    def __enter__(self) -> _Bench:
        from prefect_imagen.cli.prefect_server import LocalPrefect
        from prefect_imagen.sandbox.local_s3 import LocalS3

        os.environ.update(
            PREFECT_HOME=str(self.folder / "prefect"),
            PREFECT_IMAGEN_HOME=str(self.folder / "imagen"),
            PREFECT_LOGGING_LEVEL="ERROR",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )
        os.sched_setaffinity(0, self.server_cores)
        server = LocalPrefect(self.folder / "prefect.log").start()
        self._stack.callback(server.stop)
        s3 = self._stack.enter_context(LocalS3(self.folder / "s3"))
        s3.create_bucket("bench")
        server.wait()
        self._work = {
            "endpoint_url": s3.endpoint_url,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "bucket": "bench",
            "catalog": str(self.folder / "ledger.db"),
            "warm_up": True,
        }
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        os.sched_setaffinity(0, self._cores)

    def sandbox(self, latency: float, image_bytes: int, image_format: Any = "png") -> Any:
        from prefect_imagen.sandbox import SandboxServer

        os.sched_setaffinity(0, self.server_cores)
        return SandboxServer(
            pictures="fast",
            image_bytes=image_bytes,
            image_format=image_format,
            latency=latency,
            balance_usd=10_000_000,
            port=0,
        )

    def can(self, kind: str) -> bool:
        return kind != "litellm" or self._litellm_python is not None

    def round(self, kind: str, base_url: str, items: int, concurrency: int, **more: Any) -> Row:
        """Run one round on the clients' half; its figures."""
        python = self._litellm_python if kind == "litellm" else sys.executable
        work = {"kind": kind, "base_url": base_url, "items": items, "concurrency": concurrency, **self._work, **more}
        work = {"model": _MODEL, "parameters": {}, **work}
        work.setdefault("name", uuid.uuid4().hex)
        os.sched_setaffinity(0, self.client_cores)
        done = subprocess.run(
            [str(python), __file__, "--child", "-"],
            input=json.dumps(work),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found: Row = json.loads(done.stdout.strip().splitlines()[-1])
        return found


# --- the sections -----------------------------------------------------------------------------------------------------


def _speed(bench: _Bench, name: str, options: argparse.Namespace) -> dict[str, list[Row]]:
    latency, size, image_format = SERVED[name]
    concurrency = options.concurrency // 2 if name == "small" else options.concurrency
    kinds = [kind for kind in _KINDS_OF[name] if bench.can(kind)]
    results: dict[str, list[Row]] = {kind: [] for kind in kinds}
    with bench.sandbox(latency, size, image_format) as sandbox:
        asked = _ASKED.get(name, {})
        ceiling = bench.round("ceiling", sandbox.base_url, options.items, 2 * concurrency, **asked)
        for _ in range(options.rounds):
            for kind, rounds in results.items():
                # The mapped flow keeps every image in memory: as many as it takes to measure it.
                items = min(options.items, 200) if kind == "mapped" else options.items
                url = sandbox.url("openai" if kind.endswith("bytes") else "aimlapi")
                rounds.append(bench.round(kind, url, items, concurrency, **asked))
    print(f"\n{_GOALS[name]}; {options.items:,} items, {concurrency} in flight, {options.rounds} rounds")
    print(f"the sandbox alone, asked by {2 * concurrency} threads: {ceiling['images_per_second']:.0f} images/s")
    print(f"{'':15}{'images/s':>10}{'low':>8}{'high':>8}{'CPU ms/image':>14}{'peak MiB':>10}{'of bare':>9}")
    bare = _median(results["bare"], "images_per_second")
    for kind, rounds in results.items():
        speeds = [found["images_per_second"] for found in rounds]
        median = statistics.median(speeds)
        cpu, peak = _median(rounds, "cpu_ms"), max(found["peak_mib"] for found in rounds)
        print(
            f"{kind:15}{median:10.1f}{min(speeds):8.1f}{max(speeds):8.1f}{cpu:14.1f}{peak:10.0f}{median / bare:9.2f}",
            flush=True,
        )
    for kind, other in itertools.product(("pipeline", "no heartbeats"), ("bare", "same check")):
        pairs = list(zip(results.get(other, ()), results.get(kind, ()), strict=False))
        if pairs:
            ratios = ", ".join(f"{b['images_per_second'] / a['images_per_second']:.2f}" for a, b in pairs)
            extra = ", ".join(f"{b['cpu_ms'] - a['cpu_ms']:+.1f}" for a, b in pairs)
            print(f"{kind} / {other}, round by round: {ratios}; its CPU beyond that, ms an image: {extra}")
    for other in ("mapped", "pipeline bytes"):
        if other in results:
            beside = _median(results["pipeline"], "images_per_second") / _median(results[other], "images_per_second")
            print(f"{f'pipeline / {other}:':33}{beside:.2f}")
    return results


def _median(rounds: list[Row], name: str) -> float:
    return statistics.median(found[name] for found in rounds)


def _memory(bench: _Bench, options: argparse.Namespace) -> None:
    """Peak memory of few and of many items, then the long run once more: nothing is bought."""
    few, many, owned = (200, 1_000, 500) if options.quick else (1_000, 20_000, 10_000)
    with bench.sandbox(0.0, 20_000) as sandbox:
        peaks = {}
        for items in (few, many):
            found = bench.round("pipeline", sandbox.base_url, items, 64, name="memory", warm_up=False)
            peaks[items] = found["peak_mib"]
            print(f"peak memory, {items:6,} items of 20 KB: {found['peak_mib']:.0f} MiB", flush=True)
        print(f"difference: {peaks[many] - peaks[few]:+.0f} MiB")
        billed = len(sandbox.bill()["entries"])
        one = bench.round("pipeline", sandbox.base_url, 1, 64, name="memory", warm_up=False)
        again = bench.round("pipeline", sandbox.base_url, owned, 64, name="memory", warm_up=False)
        beyond = again["seconds"] - one["seconds"]
        print(
            f"a finished run of {owned:,} items again: {again['seconds']:.1f} s, {beyond:.1f} s more than one of 1 item"
        )
        print(f"paid calls of that: {len(sandbox.bill()['entries']) - billed}", flush=True)


def _plan(folder: Path, options: argparse.Namespace) -> None:
    prompts = 2_000 if options.quick else 100_000
    source = folder / "prompts.txt"
    with source.open("w") as file:
        file.writelines(f"a fox in a hat, picture number {n} of a long series\n" for n in range(prompts))
    command = [sys.executable, "-m", "prefect_imagen.cli", "plan", str(source), "--json"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    assert process.returncode == 0, told
    print(
        f"plan of {prompts:,} prompts: {seconds:.1f} s ({_cpu(usage):.1f} s of a processor), "
        f"{usage.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def _plot(results: dict[str, dict[str, list[Row]]], path: Path) -> None:
    """Bars of the medians with a line from lowest to highest, a group a scenario."""
    from PIL import Image, ImageDraw, ImageFont

    colours = {
        "bare": "#7a8794",
        "same check": "#98a4ae",
        "no decode": "#b9c2ca",
        "pipeline": "#1f6feb",
        "no heartbeats": "#6ba4f5",
        "mapped": "#d97706",
        "litellm": "#7c3aed",
        "bare bytes": "#98a4ae",
        "pipeline bytes": "#0b8043",
    }
    bars = [(name, kind, rounds) for name, kinds in results.items() for kind, rounds in kinds.items()]
    height, left, width = 34, 190, 900
    page = Image.new("RGB", (width, 60 + height * len(bars) + 46 * len(results)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=15)
    most = max(found["images_per_second"] for _, _, rounds in bars for found in rounds)
    scale = (width - left - 110) / most
    draw.text((20, 16), "Images a second: median, with the lowest and highest round", "#111111", font)
    top, last = 50, ""
    for name, kind, rounds in bars:
        if name != last:
            draw.text((20, top + 10), _GOALS[name], "#444444", font)
            top, last = top + 40, name
        speeds = [found["images_per_second"] for found in rounds]
        median = statistics.median(speeds)
        draw.text((40, top + 6), kind, "#111111", font)
        draw.rectangle((left, top + 4, left + median * scale, top + height - 8), colours[kind])
        middle = top + height / 2 - 2
        draw.line((left + min(speeds) * scale, middle, left + max(speeds) * scale, middle), "#111111", 2)
        draw.text((left + max(speeds) * scale + 10, top + 6), f"{median:.1f}", "#111111", font)
        top += height
    page.save(path)


def main() -> None:
    """Run everything that is asked for."""
    if sys.argv[1:2] == ["--child"]:
        _child(json.load(sys.stdin))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, help="1,200; 120 with --quick")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, help="3; 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="few items: shows that it works, not how fast")
    parser.add_argument("--only", choices=[*_GOALS, "memory", "plan"], action="append", help="one section, or several")
    parser.add_argument("--litellm-python", metavar="PATH", help="a Python that has litellm, boto3 and Pillow")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for figures and plot")
    options = parser.parse_args()
    options.items = options.items or (120 if options.quick else 1200)
    options.rounds = options.rounds or (1 if options.quick else 3)
    sections = options.only or [*_GOALS, "memory", "plan"]
    if options.litellm_python is None:
        print("LiteLLM is not measured: name a Python that has it with --litellm-python")
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, list[Row]]] = {}
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as name:
        with _Bench(Path(name), options.litellm_python) as bench:
            print(f"servers on processors {bench.server_cores}, clients on {bench.client_cores}", flush=True)
            for section in _GOALS:
                if section in sections:
                    results[section] = _speed(bench, section, options)
            if "memory" in sections:
                _memory(bench, options)
        if "plan" in sections:
            _plan(Path(name), options)
    if results:
        (options.out / "throughput.json").write_text(json.dumps(results, indent=1))
        _plot(results, options.out / "throughput.png")
        print(f"\nfigures and plot: {options.out}")


if __name__ == "__main__":
    main()
