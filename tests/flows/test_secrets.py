"""No secret is anywhere but where the user put it: not in Prefect's database, logs and artifacts, not on our disk."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect.client.orchestration import get_client
from prefect_imagen.blocks import ImageCatalog
from prefect_imagen.blocks.references import references
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.run.report import IncompleteRun
from prefect_imagen.flows import imagen_pipeline
from prefect_imagen.tasks.runtime import RunConfig
from pydantic import SecretStr

from ..bill import check_bill
from .conftest import FlowHarness

KEY = "key-of-the-tests"


def _files_with(needles: tuple[bytes, ...], *folders: Path) -> list[tuple[Path, bytes]]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                found += [(path, needle) for needle in needles if needle in content]
    return found


def test_a_run_leaves_no_secret_behind(
    harness: FlowHarness, imagen_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.sandbox.set_faults(
        [{"fault": "server_error", "every": 4}, {"fault": "download_404", "first_attempts": None}]
    )
    state = harness.state(["a {red|blue|green} fox", "a dog"], set={"enhance_prompt": False})
    result = state.result(raise_on_failure=False)
    assert isinstance(result, IncompleteRun)
    secrets = (KEY.encode(), harness.s3.secret_key.encode())

    home = Path(os.environ["PREFECT_HOME"]).parent
    # Write-ahead logs into the database files, so that their text is looked at, too.
    for database in (home / "server" / "prefect.db", harness.database):
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()
    assert _files_with(secrets, home, imagen_home) == []
    assert not any(needle in harness.database.read_bytes() for needle in secrets)

    printed = capfd.readouterr()
    for text in (printed.out, printed.err, str(result), repr(result), str(state), repr(result.report.as_dict())):
        assert KEY not in text
        assert harness.s3.secret_key not in text
    assert not any(needle in pickle.dumps(result) for needle in secrets)


def test_parameters_at_the_server_hold_no_secret(harness: FlowHarness) -> None:
    harness.run(["a quiet fox"])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert runs
    for run in runs:
        text = run.model_dump_json()
        assert KEY not in text
        assert harness.s3.secret_key not in text


def test_what_a_distributed_runner_ships_holds_no_secret(harness: FlowHarness) -> None:
    with references(harness.credentials, harness.store, harness.catalog) as (credentials, store, catalog):
        shipped = cloudpickle.dumps(RunConfig(credentials, store, catalog, RunRequest()))
    assert KEY.encode() not in shipped
    assert harness.s3.secret_key.encode() not in shipped


PASSWORD = "a-password-of-the-database"


def _prefects_own() -> Path:
    """Prefect's database and result storage, with what was written ahead in them."""
    home = Path(os.environ["PREFECT_HOME"]).parent
    with sqlite3.connect(home / "server" / "prefect.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()
    return home


def _spoken(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(pickle.dumps(error))


def test_a_database_that_is_away_keeps_its_password(harness: FlowHarness, capfd: pytest.CaptureFixture[str]) -> None:
    catalog = ImageCatalog(url=SecretStr(f"postgresql://app:{PASSWORD}@127.0.0.1:9/imagen"))
    state = imagen_pipeline(["a fox"], harness.store, harness.credentials, catalog, return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, BaseException)
    printed = capfd.readouterr()
    for text in (_spoken(error), str(state), printed.out, printed.err, repr(catalog)):
        assert PASSWORD not in text
        assert KEY not in text
    assert _files_with((PASSWORD.encode(),), _prefects_own()) == []


def test_a_run_on_postgres_leaves_no_password_behind(
    harness: FlowHarness, own_postgres: Any, imagen_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = own_postgres.url().replace("app@", f"app:{PASSWORD}@")
    catalog = ImageCatalog(url=SecretStr(address))
    harness.sandbox.set_faults([{"fault": "server_error", "every": 3}])
    state = imagen_pipeline(
        [f"a fox {n}" for n in range(6)], harness.store, harness.credentials, catalog, return_state=True
    )
    result = state.result(raise_on_failure=False)
    assert isinstance(result, IncompleteRun)
    secrets = (PASSWORD.encode(), KEY.encode(), harness.s3.secret_key.encode())
    assert _files_with(secrets, _prefects_own(), imagen_home) == []
    with references(harness.credentials, harness.store, catalog) as (credentials, store, reference):
        shipped = cloudpickle.dumps(RunConfig(credentials, store, reference, RunRequest()))
    printed = capfd.readouterr()
    spoken = _spoken(result) + str(state) + repr(result.report.as_dict()) + printed.out + printed.err
    for secret in secrets:
        assert secret not in shipped
        assert secret.decode() not in spoken
    # What the command line prints of the same ledger, for people and for programs.
    environment = {**os.environ, "AIMLAPI_API_KEY": KEY, "PREFECT_IMAGEN_HOME": str(imagen_home)}
    program = Path(sys.executable).with_name("prefect-imagen")
    for options in (["--json"], []):
        command = [program, "status", *options, "--catalog", address]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        for secret in secrets:
            assert secret.decode() not in done.stdout + done.stderr
    with catalog.get_ledger().read() as connection:
        tables = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'imagen_%%'")
        dump = [str(connection.exec_driver_sql(f"SELECT * FROM {name}").all()) for name in tables.scalars().all()]
    assert not any(secret.decode() in text for secret in secrets for text in dump)
    check_bill(catalog.get_ledger(), harness.sandbox)
    harness.sandbox.reset()  # what it bought is on this ledger, not on the harness's
