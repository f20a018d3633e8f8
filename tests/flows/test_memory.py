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

    base_url, endpoint, bucket, access, secret, catalog, count = sys.argv[1:]
    state = imagen_pipeline(
        [f"prompt number {n}" for n in range(int(count))],
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
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
)


def _peak_mib(sandbox: SandboxServer, s3: LocalS3, folder: Path, prefect_api: str, count: int) -> int:
    bucket = f"memory-{count}"
    s3.create_bucket(bucket)
    arguments = [sandbox.base_url, s3.endpoint_url, bucket, s3.access_key, s3.secret_key, str(folder / f"{count}.db")]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments, str(count)],
        env={**os.environ, "PREFECT_API_URL": prefect_api, "PREFECT_IMAGEN_HOME": str(folder / f"home-{count}")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("few", "many"), [(40, 160), pytest.param(200, 1000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_peak_memory_is_flat(few: int, many: int, tmp_path: Path, prefect_api: str) -> None:
    with (
        SandboxServer(pictures="fast", image_bytes=2**20, balance_usd=100_000) as sandbox,
        LocalS3(tmp_path / "s3") as s3,
    ):
        first = _peak_mib(sandbox, s3, tmp_path, prefect_api, few)
        second = _peak_mib(sandbox, s3, tmp_path, prefect_api, many)
        assert len(sandbox.bill()["entries"]) == few + many
    print(f"peak memory: {few} items {first} MiB, {many} items {second} MiB")
    assert second - first < 50
