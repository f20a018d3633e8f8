"""An office that runs deployments: Prefect server, process worker, S3, the sandbox, and blocks saved by our command."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prefect_imagen.cli import main
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from ..asking import ask
from ..inside import command, prefect
from ..prefect_site import BIN, end_of_log, start_logged, worker_command, worker_environment
from ..waiting import until

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
KEY = "sk-office-never-to-be-seen-4711"
BUCKET = "my-images"
NIGHTLY = "s3://my-images/prompts/nightly.csv"
_FLOW_OF = {"repair": "imagen_repair", "review-chain": "imagen_review_chain"}
"""Flows of deployments, but for those of `imagen_pipeline`."""
OVER = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass
class Office:
    """One Prefect server with everything around it, and what a person does there."""

    api: str
    folder: Path
    sandbox: SandboxServer
    s3: LocalS3
    server_database: str
    _workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def database(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **worker_environment(self.folder, self.api),
            "PREFECT_IMAGEN_CATALOG": str(self.database),
            "AIMLAPI_BASE_URL": self.sandbox.base_url,
            # For prompts in S3; the store block has keys of its own.
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def shell(self, command: str, **environment: str) -> str:
        """Run a line as a person types it, in the repository's folder."""
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert KEY not in done.stdout + done.stderr
        return done.stdout

    def imagen(self, arguments: str, **environment: str) -> None:
        """Carry out a command of ours, in the repository's folder."""
        self.command(arguments, main, environment)

    def command(self, arguments: str, program: Callable[[list[str]], int], environment: Mapping[str, str]) -> str:
        code, out, err = command(arguments.split(), {**self.environment, **environment}, ROOT, program)
        assert code == 0, f"{arguments}\n{out}\n{err}"
        assert KEY not in out + err
        return out

    def set_up(self) -> None:
        """Save the blocks, make the pool, deploy everything."""
        self.imagen(
            f"blocks create --to s3://{BUCKET}/out --endpoint-url {self.s3.endpoint_url} --save-s3-keys",
            AIMLAPI_API_KEY=KEY,
        )
        self.command("work-pool create imagen --type process --overwrite", prefect, {})
        given = f"--prompts {NIGHTLY} --budget-usd 5 --timezone Europe/Berlin --activate"
        self.imagen(f"deploy init {self.file.parent} {given}")
        # What starts by itself while the tests look: the nights alone.
        text = self.file.read_text(encoding="utf-8")
        self.file.write_text(re.sub(r"(slug: (?!nightly\n).*\n +active: )true", r"\1false", text), encoding="utf-8")
        self.deploy(self.file)

    def start_runs_at_once(self) -> None:
        """Let the worker start each run with one process, in place of three after each other that all import Prefect.

        The others look for the code of a flow, which is installed here. The farm of the fan-out starts runs as Prefect
        does without this.
        """
        pool = self.get("/work_pools/imagen")["base_job_template"]
        pool["variables"]["properties"]["command"]["default"] = f"{sys.executable} -m prefect.engine"
        httpx.patch(f"{self.api}/work_pools/imagen", json={"base_job_template": pool}).raise_for_status()

    @property
    def file(self) -> Path:
        """The deployments, as `deploy init` wrote them."""
        return self.folder / "deploy" / "prefect.yaml"

    def deploy(self, file: Path) -> str:
        return self.command(f"--no-prompt deploy --all --prefect-file {file}", prefect, {})

    def prompts(self, key: str, text: str) -> Mapping[str, Any]:
        """Put a file of prompts into the bucket; returns S3's answer."""
        answer: Mapping[str, Any] = self.s3.client().put_object(Bucket=BUCKET, Key=key, Body=text.encode())
        return answer

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        self._workers.append(start_logged(worker_command("imagen"), self.folder, {**self.environment, **environment}))
        return self._workers[-1]

    def restart_worker(self) -> None:
        """Kill the worker with what it runs, and start another one."""
        worker = self._workers.pop()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        self.start_worker()

    def stop(self) -> None:
        self._stack.close()
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)  # asked to end, it waits for the runs it has started
            worker.wait()

    # --- asking Prefect -----------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        return ask(f"{self.api}{path}")

    def deployment(self, name: str) -> Any:
        return self.get(f"/deployments/name/{_FLOW_OF.get(name, 'imagen_pipeline')}/{name}")

    def runs(self, deployment: str) -> list[Any]:
        """Flow runs of a deployment, the oldest first; no future ones of its schedule."""
        found: list[Any] = ask(
            f"{self.api}/flow_runs/filter",
            {"sort": "EXPECTED_START_TIME_ASC", "deployments": {"name": {"any_": [deployment]}}},
        )
        return [run for run in found if not run["auto_scheduled"] or run["state"]["type"] != "SCHEDULED"]

    def create_run(self, deployment: str, **parameters: Any) -> str:
        path = f"{self.api}/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return str(ask(path, {"parameters": parameters})["id"])

    def run(self, run_id: str) -> Any:
        return self.get(f"/flow_runs/{run_id}")

    def emit(self, *, event_id: str, payload: Mapping[str, Any], resource: str = "prefect-imagen.request.1") -> None:
        """A request as it comes from outside, by plain HTTP."""
        event = {
            "id": event_id,
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "prefect-imagen.requested",
            "resource": {"prefect.resource.id": resource},
            "payload": payload,
        }
        ask(f"{self.api}/events", [event])

    def request(self, payload: Mapping[str, Any], *, times: int = 1) -> None:
        """Emit an event so many times, and wait for its run.

        A busy server on SQLite answers even its own automation with 503, and does not try again: then another one is
        emitted.
        """
        wanted = len(self.runs("on-event")) + 1
        while len(self.runs("on-event")) < wanted:
            failed, event_id = self._failed_actions(), str(uuid.uuid4())
            for _ in range(times):
                self.emit(event_id=event_id, payload=payload)
            until(partial(self._has_acted, wanted, failed), "a run of the event", details=self.log)

    def _has_acted(self, runs: int, failed: int) -> bool:
        return len(self.runs("on-event")) >= runs or self._failed_actions() > failed

    def _failed_actions(self) -> int:
        named = {"event": {"name": ["prefect.automation.action.failed"]}}
        return int(ask(f"{self.api}/events/filter", {"filter": named})["total"])

    def cancel(self, run_id: str) -> None:
        """End a run that has not begun."""
        ask(f"{self.api}/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLED"}, "force": True})

    def wait(self, run_id: str, *, seconds: float = 180) -> Any:
        """The run, once it is over."""
        run: Any = {}

        def is_over() -> bool:
            run.update(self.run(run_id))
            return run["state"]["type"] in OVER

        until(
            is_over, f"the end of flow run {run_id}", seconds=seconds, pause=0.3,
            details=lambda: f"{run.get('state')}\n{self.log()}",
        )  # fmt: skip
        return run

    def when_suspended(self, run_id: str, *, bought: int = 0) -> Ledger:
        """The ledger, once a flow run is suspended and at least so much is bought."""
        run: Any = {}

        def is_suspended() -> bool:
            run.update(self.run(run_id))
            assert run["state"]["type"] not in OVER, f"{run['state']}\n{self.log()}"
            if run["state"]["name"] != "Suspended" or len(self.sandbox.bill()["entries"]) < bought:
                return False
            # Its process saves the form a moment later, and is not needed after that.
            form = run["state"]["state_details"]["run_input_keyset"]["schema"]
            return httpx.get(f"{self.api}/flow_runs/{run_id}/input/{form}").is_success

        until(is_suspended, f"flow run {run_id} to be suspended", seconds=180, pause=0.3, details=self.log)
        return self._stack.enter_context(contextlib.closing(Ledger(str(self.database), create=False)))

    def log(self) -> str:
        return end_of_log(self.folder)

    def server_rows(self) -> Iterator[tuple[str, str]]:
        """Every row of every table of Prefect's server, as the table's name and a text."""
        engine = sa.create_engine(self.server_database)
        try:
            with engine.connect() as connection:
                for table in sa.inspect(connection).get_table_names():
                    for row in connection.execute(sa.text(f'SELECT * FROM "{table}"')):
                        yield table, repr(tuple(row))
        finally:
            engine.dispose()

    # --- asking the account -------------------------------------------------------------------------------------------

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def assert_nothing_bought_twice(self) -> None:
        """The provider billed each item once at most, and the ledger knows of every billed call."""
        billed = {entry["client_request_id"] for entry in self.sandbox.bill()["entries"]}
        calls = dict(self.query("SELECT id, item_id FROM imagen_calls"))
        assert billed <= set(calls)
        bought = [calls[call] for call in billed]
        assert len(bought) == len(set(bought))


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def prefect_server(folder: Path, port: int | None = None, **environment: str) -> Iterator[str]:
    """A Prefect server of a test's own; gives its API's URL. The same folder and port again make the same server."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as out:
        server = subprocess.Popen(
            [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "PREFECT_HOME": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
        return False

    try:
        until(answers, "the answer of a Prefect server", details=log.read_text)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def open_office(api: str, folder: Path, server_database: str, **sandbox: Any) -> Iterator[Office]:
    """An office at a server; no worker yet."""
    settings = {"pictures": "fast", "image_bytes": 20_000, **sandbox}
    folder.mkdir(parents=True, exist_ok=True)
    with SandboxServer(**settings) as provider, LocalS3(folder / "s3") as s3:
        s3.create_bucket(BUCKET)
        s3.client().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        office = Office(api, folder, provider, s3, server_database)
        try:
            office.set_up()
            yield office
        finally:
            office.stop()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The office at a server on each kind of database, with a worker."""
    folder = tmp_path_factory.mktemp("office")
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            api = request.getfixturevalue("prefect_api")
            database = f"sqlite:///{Path(os.environ['PREFECT_HOME']).parent}/server/prefect.db"
        else:
            import psycopg

            postgres = request.getfixturevalue("postgres_server")
            with psycopg.connect(postgres("postgres"), autocommit=True) as connection:
                connection.execute("DROP DATABASE IF EXISTS prefect")
                connection.execute("CREATE DATABASE prefect")
            database = postgres("prefect").replace("postgresql://", "postgresql+psycopg://", 1)
            url = postgres("prefect").replace("postgresql://", "postgresql+asyncpg://", 1)
            server = prefect_server(
                folder / "server",
                PREFECT_SERVER_DATABASE_CONNECTION_URL=url,
                PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="2",
            )
            api = stack.enter_context(server)
        office = stack.enter_context(open_office(api, folder, database))
        office.start_runs_at_once()
        office.start_worker()
        yield office
