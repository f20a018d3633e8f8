"""Runs that are spread over processes: by shards on a work pool, and by Dask. The bill is one, whoever buys."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect_imagen.blocks import AimlApiCredentials
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.request import Limits, UnknownPolicy
from prefect_imagen.core.run.report import RunReport
from prefect_imagen.flows import imagen_fanout, imagen_pipeline, imagen_repair
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3
from pydantic import SecretStr

from ..farm import Farm, example, kill, open_farm


@pytest.fixture
def farm(
    prefect_api: str,
    s3_server: LocalS3,
    sandbox: SandboxServer,
    postgres_server: Callable[[str], str],
    tmp_path: Path,
    imagen_home: Path,
) -> Iterator[Farm]:
    sandbox.clear_faults()
    sandbox.reset()
    with open_farm(tmp_path, prefect_api, s3_server, sandbox, postgres_server("postgres")) as farm:
        yield farm


def test_shards_on_two_workers_make_one_run(farm: Farm) -> None:
    """By the example of the docs, with this farm's names and a budget."""
    farm.start_worker()
    farm.start_worker()
    prompts = [f"a fox of the farm, number {n}" for n in range(40)] + ["a fox of the farm, number 3"]
    source = farm.folder / "prompts.txt"
    source.write_text("\n".join(prompts))
    text = example("imagen_fanout(").replace("s3://my-bucket/prompts.csv", str(source))
    text = text.replace('load("main")', f'load("{farm.name}")').replace("shards=8", "shards=2")
    # Few at once, so that neither worker is done before the other has started.
    text = text.replace('"concurrency": 64', '"concurrency": 8')
    names: dict[str, Any] = {}
    exec(text.replace("\nimagen_fanout(", "\nreport = imagen_fanout("), names)
    report = names["report"]
    assert report.complete, farm.log()
    assert (report.rows, report.items, report.states["delivered"]) == (41, 40, 40)
    assert len(farm.billed()) == len(set(farm.billed())) == 40
    assert farm.account.billed == farm.sandbox.bill()["credits"]
    ledger = farm.catalog.get_ledger()
    assert len(ledger.catalog.rows(run_id=report.run_id)) == 40
    holders = {row["holder_id"] for row in _rows(farm, "SELECT DISTINCT holder_id FROM imagen_calls")}
    assert len(holders) == 2
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
    shards = [run for run in runs if (run.parameters or {}).get("run_id") == report.run_id]
    assert len(shards) == 2
    # By reference only: no key, no password, no prompt.
    assert {shard.parameters["store"] for shard in shards} == {f"s3-image-store/{farm.name}"}
    assert "key-of-the-farm" not in str(shards)
    assert "fox" not in str(shards)


def _rows(farm: Farm, query: str) -> list[dict[str, Any]]:
    import sqlalchemy as sa

    with farm.catalog.get_ledger().read() as connection:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def test_what_cannot_be_sent_off_is_refused_before_anything_is_planned(
    prefect_api: str, sandbox: SandboxServer, tmp_path: Path, imagen_home: Path
) -> None:
    credentials = AimlApiCredentials(api_key=SecretStr("key"), base_url=sandbox.base_url)
    with pytest.raises(BadInput, match="unsaved block cannot travel"):
        imagen_fanout(["a fox"], str(tmp_path / "out"), credentials)
    with pytest.raises(ParameterTypeError, match="colour"):
        imagen_fanout(["a fox"], str(tmp_path / "out"), request={"colour": 1})


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_worker_killed_in_the_middle_of_two_thousand(farm: Farm) -> None:
    """Its shard is started again elsewhere: nothing is bought twice, and only what was in flight is unknown."""
    count, in_flight = 2000, 16
    first, _ = farm.start_worker(), farm.start_worker()

    def kill_first() -> None:
        deadline = time.monotonic() + 600
        while len(farm.billed()) < count * 0.3 and time.monotonic() < deadline:
            time.sleep(0.2)
        kill(first)
        farm.start_worker()

    killer = threading.Thread(target=kill_first)
    killer.start()
    prompts = [f"one of many foxes, number {n}" for n in range(count)]
    report = farm.run(prompts, shards=2, silence=20, options={"concurrency": in_flight})
    killer.join()
    states = Counter(report.states)
    billed = farm.billed()
    assert states["delivered"] + states["unknown"] == count, (report, farm.log())
    assert states["unknown"] <= in_flight
    assert states["delivered"] <= len(billed) <= count
    assert len(billed) == len(set(billed))
    imagen_repair(
        farm.store, farm.credentials, farm.catalog, unknown=UnknownPolicy.RETRY, concurrency=8, return_state=True
    )
    after = farm.catalog.get_ledger().runs.progress(report.run_id)
    assert after.items["delivered"] == count
    assert farm.account.billed <= farm.sandbox.bill()["credits"] <= farm.account.billed_at_most


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_shards_leave_unknown_is_asked_about_or_given_up(farm: Farm) -> None:
    farm.start_worker()
    farm.start_worker()
    foxes, owls = [f"an unknown fox, number {n}" for n in range(8)], [f"an unknown owl, number {n}" for n in range(8)]
    farm.sandbox.set_faults([{"fault": "server_error", "every": 4}])
    held = farm.run(foxes, shards=2, options={"concurrency": 4})
    assert (held.states["delivered"], held.states["unknown"]) == (6, 2), farm.log()
    given_up = farm.run(owls, shards=2, options={"concurrency": 4, "unknown": "fail"})
    assert (given_up.states["delivered"], given_up.states["unknown"], given_up.states["failed"]) == (6, 0, 2)
    farm.sandbox.clear_faults()
    # The API's log knows that nothing was billed: nobody has to decide.
    assert farm.run(foxes, shards=2, options={"concurrency": 4}).complete, farm.log()
    assert farm.run(owls, shards=2, options={"concurrency": 4}).complete, farm.log()
    assert len(farm.billed()) == 16
    assert farm.account.billed == farm.sandbox.bill()["credits"]


def _seconds_of_buying(farm: Farm, sandbox: SandboxServer, prompts: list[str], shards: int) -> float:
    """From the first to the last paid call on the provider's bill: how long processes take to start is not in it."""
    before = len(sandbox.bill()["entries"])
    assert farm.run(prompts, shards=shards, options={"concurrency": 8}).complete, farm.log()
    times = [datetime.fromisoformat(entry["at"]) for entry in sandbox.bill()["entries"][before:]]
    assert len(times) == len(prompts)
    return (max(times) - min(times)).total_seconds()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_workers_take_half_the_time(farm: Farm) -> None:
    """Against a slow API, with the same calls in flight each."""
    with SandboxServer(pictures="fast", image_bytes=20_000, latency=5.0, balance_usd=100_000) as slow:
        farm.credentials = AimlApiCredentials(api_key=SecretStr("key-of-the-farm"), base_url=slow.base_url)
        farm.credentials.save(farm.name, overwrite=True)
        farm.start_worker()
        one = _seconds_of_buying(farm, slow, [f"slow fox, number {n}" for n in range(400)], 1)
        farm.start_worker()
        two = _seconds_of_buying(farm, slow, [f"slow owl, number {n}" for n in range(400)], 2)
    print(f"one worker {one:.0f} s, two {two:.0f} s: {two / one:.2f}")
    assert two <= 0.55 * one, (one, two)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_dask_workers_make_the_same_bill_and_catalog_as_threads(farm: Farm) -> None:
    """The example of the docs on a cluster of two processes, then the same prompts in threads of this one."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    source = farm.folder / "prompts.txt"
    source.write_text("\n".join(f"a fox of dask, number {n}" for n in range(24)))
    text = example("on_dask(").replace("s3://my-bucket/prompts.csv", str(source))
    text = text.replace('load("main")', f'load("{farm.name}")')
    text = text.replace("concurrency=32", 'concurrency=4, limits=Limits(chunk_size=6), edition="dask"')
    names: dict[str, Any] = {"__name__": "__main__", "Limits": Limits}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=4, processes=True, dashboard_address=None) as cluster:
        exec(text.replace("tcp://scheduler:8786", cluster.scheduler_address), names)
    report = names["report"]
    assert report.complete
    threads = imagen_pipeline(
        str(source),
        farm.store,
        farm.credentials,
        farm.catalog,
        edition="threads",
        concurrency=4,
        limits=Limits(chunk_size=6),
        return_state=True,
    ).result()
    bill = farm.sandbox.bill()["entries"]
    assert len(bill) == 48
    assert report.account.billed == threads.account.billed == sum(entry["credits"] for entry in bill) // 2
    ledger = farm.catalog.get_ledger()

    def seen(run: RunReport) -> list[Any]:
        told = ("prompt", "state", "model", "content_type", "cost_credits", "width", "height")
        return [[row[name] for name in told] for row in ledger.catalog.rows(run_id=run.run_id)]

    assert seen(report) == seen(threads)
    holders = _rows(farm, f"SELECT DISTINCT holder_id FROM imagen_calls WHERE run_id = '{report.run_id}'")
    assert len(holders) == 2
