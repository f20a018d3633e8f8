"""What the benches of the fan-out share: the services of a farm, and what PostgreSQL has counted."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path.append(str(Path(__file__).resolve().parent.parent))

from prefect_imagen.cli.prefect_server import LocalPrefect
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from tests.farm import Farm, open_farm
from tests.postgres import PostgresServer, postgres_programs

__all__ = ["Farm", "Services", "open_services", "task_runs"]

_PRELOADED = "-c shared_preload_libraries=pg_stat_statements"


@dataclass(frozen=True)
class Services:
    """The servers of a bench, and the farm that works with them."""

    farm: Farm
    s3: LocalS3
    postgres: PostgresServer
    prefect: LocalPrefect

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def statements(self) -> dict[str, tuple[int, float]]:
        """How often each statement was carried out, and for how many milliseconds, without those of this bench."""
        found = self.query("SELECT query, sum(calls), sum(total_exec_time) FROM pg_stat_statements GROUP BY query")
        return {query: (int(calls), float(total)) for query, calls, total in found if "pg_" not in query}


@contextmanager
def open_services(folder: Path, **sandbox: Any) -> Iterator[Services]:
    """A Prefect server, PostgreSQL as it is by itself (it waits for the disk), SeaweedFS, the sandbox, and a farm."""
    programs = postgres_programs()
    if programs is None:
        raise SystemExit("no PostgreSQL here: initdb and pg_ctl were not found")
    os.environ.update(
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_IMAGEN_HOME=str(folder / "imagen"),
        PREFECT_LOGGING_LEVEL="ERROR",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )
    with ExitStack() as stack:
        prefect = LocalPrefect(folder / "prefect.log").start()
        stack.callback(prefect.stop)
        postgres = PostgresServer(programs, _PRELOADED)
        stack.callback(postgres.remove)
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        s3 = stack.enter_context(LocalS3(folder / "s3"))
        settings = {"pictures": "fast", "balance_usd": 10_000_000, "port": 0, **sandbox}
        provider = stack.enter_context(SandboxServer(**settings))
        prefect.wait()
        farm = stack.enter_context(open_farm(folder, f"{prefect.origin}/api", s3, provider, postgres.url()))
        yield Services(farm, s3, postgres, prefect)


def task_runs(api: str) -> int:
    """Task runs that a Prefect server knows; it learns of them a little after they end."""
    request = urllib.request.Request(f"{api}/task_runs/count", data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(json.loads(answer.read()))
