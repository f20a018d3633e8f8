"""A work pool with process workers, its blocks, and one ledger on PostgreSQL: what a fan-out needs."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, S3ImageStore
from prefect_imagen.core.ledger import CostSummary
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.run.report import RunReport
from prefect_imagen.flows import imagen_fanout
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3
from pydantic import SecretStr

from .inside import command, prefect
from .prefect_site import end_of_log, report_of, s3_block, start_logged, worker_command, worker_environment

_DEPLOYMENT = """
deployments:
  - name: imagen-shard
    entrypoint: prefect_imagen.flows.fanout.imagen_shard
    pull: []
    work_pool: { name: NAME }
"""


@dataclass
class Farm:
    """A work pool with process workers; blocks that are saved; one ledger on PostgreSQL."""

    name: str
    folder: Path
    sandbox: SandboxServer
    store: S3ImageStore
    credentials: AimlApiCredentials
    catalog: ImageCatalog
    environment: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *arguments: str) -> None:
        """Carry out a command of Prefect."""
        code, out, err = command(["--no-prompt", *arguments], self.environment, self.folder, prefect)
        assert code == 0, out + err

    def start_worker(self, *before: str, home: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker for one shard at a time.

        Args:
            before: A command that is to start it.
            home: Folder of its spool; the farm's without one.
        """
        return self.start([*before, *worker_command(self.name, "--limit", "1")], home)

    def start(self, command: Sequence[str], home: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a process that ends with the farm; what it prints goes to the farm's log."""
        environment = self.environment if home is None else {**self.environment, "PREFECT_IMAGEN_HOME": str(home)}
        self.workers.append(start_logged(command, self.folder, environment))
        return self.workers[-1]

    def stop_workers(self) -> None:
        """End all that was started, at once."""
        while self.workers:
            kill(self.workers.pop())

    def run(self, prompts: Sequence[str] | str, options: Mapping[str, Any] | None = None, **more: Any) -> RunReport:
        """Fan out with options by the names of their flags."""
        state = imagen_fanout(
            prompts,  # type: ignore[arg-type]
            self.store,
            self.credentials,
            self.catalog,
            RunRequest.by_flag(options or {}),
            deployment="imagen_shard/imagen-shard",
            return_state=True,
            **more,
        )
        return report_of(state.result(raise_on_failure=False))

    @property
    def account(self) -> CostSummary:
        """What the ledger says of the money."""
        return self.catalog.get_ledger().costs.of()

    def billed(self) -> list[str]:
        """Ids of the calls on the provider's bill."""
        return [entry["client_request_id"] for entry in self.sandbox.bill()["entries"]]

    def log(self) -> str:
        """The end of what the workers print."""
        return end_of_log(self.folder)


def example(call: str) -> str:
    """The example of docs/scaling.md in which something is called."""
    page = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (found,) = [text for text in re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if call in text]
    return str(found)


def kill(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and the runs it has started, as a machine that loses its power does."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
    worker.wait()


@contextmanager
def open_farm(folder: Path, prefect_api: str, s3: LocalS3, sandbox: SandboxServer, postgres: str) -> Iterator[Farm]:
    """A farm with a bucket, a schema and a pool of its own.

    Args:
        folder: For logs and homes.
        prefect_api: URL of a server, the one that this process uses.
        s3: A running one.
        sandbox: A running one.
        postgres: URL of a database.
    """
    name = f"farm{uuid.uuid4().hex[:8]}"
    s3.create_bucket(name)
    store = s3_block(s3, name)
    credentials = AimlApiCredentials(api_key=SecretStr("key-of-the-farm"), base_url=sandbox.base_url)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    separator = "&" if "?" in postgres else "?"
    catalog = ImageCatalog(url=SecretStr(f"{postgres}{separator}options=-csearch_path%3D{name}"))
    for block in (store, credentials, catalog):
        block.save(name)
    farm = Farm(name, folder, sandbox, store, credentials, catalog, worker_environment(folder, prefect_api))
    farm.command("work-pool", "create", name, "--type", "process")
    (folder / "prefect.yaml").write_text(_DEPLOYMENT.replace("NAME", name))
    farm.command("deploy", "--all")
    try:
        yield farm
    finally:
        farm.stop_workers()
