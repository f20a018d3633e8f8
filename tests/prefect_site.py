"""What a place where flows run has in common: the block of its bucket, and the settings of its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect_imagen.blocks import S3ImageStore
from prefect_imagen.core.run.report import IncompleteRun, RunReport
from prefect_imagen.sandbox.local_s3 import LocalS3
from pydantic import SecretStr

BIN = Path(sys.executable).parent


def s3_block(s3: LocalS3, bucket: str, prefix: str = "") -> S3ImageStore:
    """The block of a bucket of a local S3; it is not saved."""
    return S3ImageStore(
        bucket=bucket,
        prefix=prefix,
        endpoint_url=s3.endpoint_url,
        addressing_style="path",
        access_key_id=SecretStr(s3.access_key),
        secret_access_key=SecretStr(s3.secret_key),
    )


def worker_environment(folder: Path, api: str) -> dict[str, str]:
    """Settings of workers, and of commands beside them, whose homes are in a folder.

    Args:
        folder: Where.
        api: URL of the server that they ask for work.
    """
    return {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_LOGGING_LEVEL"},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_IMAGEN_HOME": str(folder / "imagen"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


def worker_command(pool: str, *more: str) -> list[str]:
    """The command that starts a process worker for a pool."""
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", *more]


def start_logged(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own; what it prints goes to `worker.log` in the folder, see `end_of_log`."""
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end_of_log(folder: Path) -> str:
    """The end of what the workers print."""
    log = folder / "worker.log"
    return log.read_text(errors="replace")[-4000:] if log.exists() else ""


def report_of(result: object) -> RunReport:
    """The report in a flow run's result, also where the run left something open; any other error is raised."""
    if isinstance(result, IncompleteRun):
        return result.report
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, RunReport)
    return result
