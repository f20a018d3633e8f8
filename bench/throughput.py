"""How fast is `imagen_pipeline` beside a bare loop that does the same work on the bytes?

    python bench/throughput.py --items 600 --latency 0.5 --image-bytes 1048576 --concurrency 64 --rounds 3

In one run and in turns, against the same sandbox (pictures drawn once) and the same SeaweedFS:

* `bare`: POST, GET, full decode, SHA-256, put, with requests and boto3 in as many threads; no ledger, no Prefect;
* `pipeline`: `imagen_pipeline` through a Prefect server that was running before.

Prints images a second (median, lowest and highest of the rounds), processor time an image of the client's process, and
peak memory. Machines differ and are shared: compare the two lines of one run, never runs with each other.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config
from PIL import Image
from prefect_imagen.cli.prefect_server import LocalPrefect
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

_KEY = "bench"


def _bare(work: dict[str, Any], prompts: list[str]) -> None:
    """The loop one would write if nothing could go wrong."""
    local = threading.local()
    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=work["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id=work["access_key"],
        aws_secret_access_key=work["secret_key"],
        config=Config(max_pool_connections=work["concurrency"], request_checksum_calculation="when_required"),
    )

    def one(prompt: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        answer = local.session.post(
            f"{work['base_url']}/images/generations",
            json={"model": "google/imagen4/preview", "prompt": prompt},
            headers={"Authorization": f"Bearer {_KEY}"},
            timeout=60,
        )
        answer.raise_for_status()
        data = local.session.get(answer.json()["data"][0]["url"], timeout=60).content
        Image.open(io.BytesIO(data)).load()
        digest = hashlib.sha256(data).digest()
        s3.put_object(
            Bucket=work["bucket"],
            Key=f"bare/{digest.hex()}-{prompt}",
            Body=data,
            ContentType="image/png",
            ChecksumSHA256=base64.b64encode(digest).decode(),
        )

    with ThreadPoolExecutor(work["concurrency"]) as pool:
        list(pool.map(one, prompts))


def _pipeline(work: dict[str, Any], prompts: list[str]) -> None:
    from prefect_imagen.blocks import AimlApiCredentials, S3ImageStore
    from prefect_imagen.flows import imagen_pipeline
    from pydantic import SecretStr

    state = imagen_pipeline(
        prompts,
        S3ImageStore(
            bucket=work["bucket"],
            prefix="pipeline",
            endpoint_url=work["endpoint_url"],
            addressing_style="path",
            access_key_id=SecretStr(work["access_key"]),
            secret_access_key=SecretStr(work["secret_key"]),
        ),
        AimlApiCredentials(api_key=SecretStr(_KEY), base_url=work["base_url"]),
        work["catalog"],
        concurrency=work["concurrency"],
        return_state=True,
    )
    if not state.is_completed():
        raise SystemExit(f"the pipeline ended as {state!r}")


def _measure(kind: str, work: dict[str, Any]) -> None:
    """One round, in a process of its own; the first few items warm it up and are not counted."""
    run = {"bare": _bare, "pipeline": _pipeline}[kind]
    run(work, [f"warm up {work['round']} {n}" for n in range(work["concurrency"])])
    prompts = [f"round {work['round']} prompt {n}" for n in range(work["items"])]
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    run(work, prompts)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    json.dump(
        {
            "images_per_second": work["items"] / seconds,
            "cpu_ms": cpu / work["items"] * 1000,
            "peak_mib": after.ru_maxrss / 1024,
        },
        sys.stdout,
    )


def _round(kind: str, work: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", kind, json.dumps(work)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run the rounds and print the table."""
    if sys.argv[1:2] == ["--child"]:
        _measure(sys.argv[2], json.loads(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds the API takes")
    parser.add_argument("--image-bytes", type=int, default=2**20)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"bare": [], "pipeline": []}
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as name:
        folder = Path(name)
        os.environ.update(
            PREFECT_HOME=str(folder / "prefect"),
            PREFECT_IMAGEN_HOME=str(folder / "imagen"),
            PREFECT_LOGGING_LEVEL="ERROR",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )
        sandbox = SandboxServer(
            pictures="fast", image_bytes=options.image_bytes, latency=options.latency, balance_usd=1_000_000
        )
        server = LocalPrefect(folder / "prefect.log").start()
        try:
            with sandbox, LocalS3(folder / "s3") as s3:
                server.wait()
                s3.create_bucket("bench")
                for number in range(options.rounds):
                    work = {
                        "round": number,
                        "items": options.items,
                        "concurrency": options.concurrency,
                        "base_url": sandbox.base_url,
                        "endpoint_url": s3.endpoint_url,
                        "access_key": s3.access_key,
                        "secret_key": s3.secret_key,
                        "bucket": "bench",
                        "catalog": str(folder / "ledger.db"),
                    }
                    for kind, rounds in results.items():
                        rounds.append(_round(kind, work))
        finally:
            server.stop()
    print(
        f"{options.items} items of {options.image_bytes:,} bytes, {options.latency} s, {options.concurrency} in flight"
    )
    print(f"{'':10}{'images/s':>10}{'low':>8}{'high':>8}{'CPU ms/image':>14}{'peak MiB':>10}")
    medians = {}
    for kind, rounds in results.items():
        speeds = [found["images_per_second"] for found in rounds]
        medians[kind] = statistics.median(speeds)
        cpu = statistics.median(found["cpu_ms"] for found in rounds)
        peak = max(found["peak_mib"] for found in rounds)
        print(f"{kind:10}{medians[kind]:10.1f}{min(speeds):8.1f}{max(speeds):8.1f}{cpu:14.1f}{peak:10.0f}")
    print(f"pipeline / bare: {medians['pipeline'] / medians['bare']:.2f}")


if __name__ == "__main__":
    main()
