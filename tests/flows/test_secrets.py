"""No secret is anywhere but where the user put it: not in Prefect's database, logs and artifacts, not on our disk."""

from __future__ import annotations

import os
import pickle
import sqlite3
from pathlib import Path

import cloudpickle
import pytest
from prefect.client.orchestration import get_client
from prefect_imagen.blocks.references import references
from prefect_imagen.core.report import IncompleteRun
from prefect_imagen.core.run_context import RunSettings
from prefect_imagen.tasks.attached import Work

from .conftest import House

KEY = "key-of-the-tests"


def _files_with(needles: tuple[bytes, ...], *folders: Path) -> list[tuple[Path, bytes]]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                found += [(path, needle) for needle in needles if needle in content]
    return found


def test_a_run_leaves_no_secret_behind(house: House, imagen_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    house.sandbox.set_faults([{"fault": "server_error", "every": 4}, {"fault": "download_404", "first_attempts": None}])
    state = house.state(["a {red|blue|green} fox", "a dog"], parameters={"enhance_prompt": False})
    result = state.result(raise_on_failure=False)
    assert isinstance(result, IncompleteRun)
    secrets = (KEY.encode(), house.s3.secret_key.encode())

    home = Path(os.environ["PREFECT_HOME"]).parent
    # Write-ahead logs into the database files, so that their text is looked at, too.
    for database in (home / "server" / "prefect.db", house.database):
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()
    assert _files_with(secrets, home, imagen_home) == []
    assert not any(needle in house.database.read_bytes() for needle in secrets)

    printed = capfd.readouterr()
    for text in (printed.out, printed.err, str(result), repr(result), str(state), repr(result.report.as_dict())):
        assert KEY not in text
        assert house.s3.secret_key not in text
    assert not any(needle in pickle.dumps(result) for needle in secrets)


def test_parameters_at_the_server_hold_no_secret(house: House) -> None:
    house.run(["a quiet fox"])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert runs
    for run in runs:
        text = run.model_dump_json()
        assert KEY not in text
        assert house.s3.secret_key not in text


def test_what_a_distributed_runner_ships_holds_no_secret(house: House) -> None:
    with references(house.credentials, house.store, house.catalog) as (credentials, store, catalog):
        shipped = cloudpickle.dumps(Work(credentials, store, catalog, RunSettings()))
    assert KEY.encode() not in shipped
    assert house.s3.secret_key.encode() not in shipped
