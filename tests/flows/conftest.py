"""The whole chain on real parts: the sandbox over HTTP, SeaweedFS, a Prefect server, SQLite."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun, MissingResult
from prefect_imagen.blocks import AimlApiCredentials, ImageCatalog, S3ImageStore
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.providers import Endpoint
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.run.checks import check_request, prepare
from prefect_imagen.core.run.chunks import Threads
from prefect_imagen.core.run.report import RunReport, make_report
from prefect_imagen.core.run.run import Run
from prefect_imagen.flows import imagen_pipeline
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3
from pydantic import SecretStr

from ..bill import check_bill
from ..prefect_site import report_of, s3_block

PARTI = Path(__file__).parents[1] / "data" / "PartiPrompts.tsv"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(pictures="fast", image_bytes=20_000, balance_usd=100_000) as server:
        yield server


def flow_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of `imagen_pipeline` from options by the names of their flags."""
    request = RunRequest.by_flag(options)
    return {name: getattr(request, name) for name in RunRequest.model_fields}


@dataclass
class FlowHarness:
    """One ledger, one bucket, one sandbox: what a test runs the flow with, and what it asks afterwards.

    Attributes:
        in_prefect: Whether `run` is the flow; otherwise the same steps without Prefect, as the command line takes them.
    """

    sandbox: SandboxServer
    s3: LocalS3
    bucket: str
    database: Path
    defaults: dict[str, Any]
    in_prefect: bool = True

    @property
    def store(self) -> S3ImageStore:
        return s3_block(self.s3, self.bucket, "out")

    @property
    def catalog(self) -> ImageCatalog:
        return ImageCatalog(url=SecretStr(str(self.database)))

    @property
    def ledger(self) -> Ledger:
        return self.catalog.get_ledger()

    @property
    def credentials(self) -> AimlApiCredentials:
        return AimlApiCredentials(api_key=SecretStr("key-of-the-tests"), base_url=self.sandbox.base_url)

    def state(self, prompts: Any, **parameters: Any) -> State[Any]:
        """Run the flow with options by the names of their flags."""
        return imagen_pipeline(
            prompts,
            self.store,
            self.credentials,
            self.catalog,
            return_state=True,
            **flow_options({**self.defaults, **parameters}),
        )

    def run(self, prompts: Any, **parameters: Any) -> RunReport:
        """Run the flow, or the run alone, and return its report, however it ended."""
        if self.in_prefect:
            return self.report(self.state(prompts, **parameters))
        request = RunRequest.by_flag({**self.defaults, **parameters})
        client, store = self.credentials.get_client(request.model), self.store.get_store()
        checked = check_request(prompts, request, Endpoint.of(client), ledger=lambda: self.ledger, store=store)
        prepared = prepare(request, client=client, ledger=self.ledger, store=store, checked=checked)
        run = Run.open(prepared, str(uuid.uuid4()))
        try:
            planned = run.plan()
            with Threads(run.process) as threads:
                return run.complete(threads, planned.items)
        finally:
            run.close()
            client.close()

    def report(self, state: State[Any]) -> RunReport:
        """The report of a flow run that has ended."""
        try:
            result = state.result(raise_on_failure=False)
        except MissingResult as error:
            result = error
        if isinstance(result, FailedRun | MissingResult):
            # A busy server that was told of the end twice: its second answer has no result. The ledger has it.
            run = self.ledger.runs.get(str(state.state_details.flow_run_id))
            assert run["outcome"] == state.name
            return make_report(self.ledger, run["id"], outcome=run["outcome"], message=state.message or "")
        return report_of(result)

    def billed(self) -> list[str]:
        """Client request ids of the sandbox's bill."""
        return [entry["client_request_id"] for entry in self.sandbox.bill()["entries"]]

    def objects(self) -> set[str]:
        """Image objects in the bucket."""
        client = self.s3.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        found = {item["Key"] for page in pages for item in page.get("Contents", [])}
        return {key for key in found if not key.rpartition("/")[2].startswith(".")}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the catalog as any SQLite client would."""
        with sqlite3.connect(self.database) as connection:
            rows = connection.execute(sql).fetchall()
        connection.close()
        return rows

    def assert_sum_closes(self) -> None:
        """Every billed call is on the ledger as billed or unknown, credit for credit, and nothing else is."""
        check_bill(self.ledger, self.sandbox)


@pytest.fixture
def alone(
    s3_server: LocalS3, sandbox: SandboxServer, tmp_path: Path, imagen_home: Path, short_pauses: None
) -> Iterator[FlowHarness]:
    """Runs without Prefect; the sum closes in the end."""
    sandbox.clear_faults()
    sandbox.reset()
    bucket = f"test-{tmp_path.name.lower().replace('_', '-')[:40].strip('-')}-{abs(hash(str(tmp_path))) % 10**6}"
    s3_server.create_bucket(bucket)
    options = {"concurrency": 16, "patience": 20.0}
    harness = FlowHarness(sandbox, s3_server, bucket, tmp_path / "ledger.db", options, in_prefect=False)
    yield harness
    sandbox.clear_faults()
    harness.assert_sum_closes()


@pytest.fixture
def harness(prefect_api: str, alone: FlowHarness) -> FlowHarness:
    """Runs as flow runs; the sum closes in the end."""
    alone.in_prefect = True
    return alone


@pytest.fixture(params=["alone", pytest.param("in Prefect", marks=pytest.mark.long)])
def either(request: pytest.FixtureRequest) -> FlowHarness:
    """Runs without Prefect, and, in the long tests, the same ones as flow runs."""
    found: FlowHarness = request.getfixturevalue("alone" if request.param == "alone" else "harness")
    return found


@pytest.fixture
def parti(tmp_path: Path) -> Callable[[int], Path]:
    """The first N rows of PartiPrompts."""

    def head(count: int) -> Path:
        lines = PARTI.read_text(encoding="utf-8").splitlines(keepends=True)
        path = tmp_path / f"parti-{count}.tsv"
        path.write_text("".join(lines[: count + 1]), encoding="utf-8")
        return path

    return head
