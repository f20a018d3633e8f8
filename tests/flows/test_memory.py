"""Memory does not grow with the number of images: bytes live in files, and the flow keeps nothing per item."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

_SCRIPT = textwrap.dedent(
    """
    import resource, sys
    from prefect_imagen.blocks import AimlApiCredentials, S3ImageStore
    from prefect_imagen.flows import imagen_pipeline

    base_url, endpoint, bucket, access, secret, catalog, *counts = sys.argv[1:]
    for count in counts:
        state = imagen_pipeline(
            [f"prompt number {n} of {count}" for n in range(int(count))],
            S3ImageStore(
                bucket=bucket,
                endpoint_url=endpoint,
                addressing_style="path",
                access_key_id=access,
                secret_access_key=secret,
            ),
            AimlApiCredentials(api_key="key", base_url=base_url),
            catalog,
            concurrency=16,
            return_state=True,
        )
        assert state.is_completed(), state
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
)


def _peaks(sandbox: SandboxServer, s3: LocalS3, folder: Path, prefect_api: str, *counts: int) -> list[int]:
    """The most memory, in MiB, that a process has taken until the end of each of its runs."""
    bucket = f"memory-{counts[-1]}"
    s3.create_bucket(bucket)
    arguments = [sandbox.base_url, s3.endpoint_url, bucket, s3.access_key, s3.secret_key, str(folder / "ledger.db")]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments, *map(str, counts)],
        env={**os.environ, "PREFECT_API_URL": prefect_api, "PREFECT_IMAGEN_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak ")]


@pytest.mark.parametrize(
    ("few", "many"), [(30, 110), pytest.param(200, 1000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_peak_memory_is_flat(few: int, many: int, tmp_path: Path, prefect_api: str, s3_server: LocalS3) -> None:
    with SandboxServer(pictures="fast", image_bytes=2**20, balance_usd=100_000) as sandbox:
        first, second = _peaks(sandbox, s3_server, tmp_path, prefect_api, few, many)
        assert len(sandbox.bill()["entries"]) == few + many
    print(f"peak memory: {few} items {first} MiB, {many} items {second} MiB")
    assert second - first < 50
