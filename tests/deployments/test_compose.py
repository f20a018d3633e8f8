"""compose.yaml without Docker: every service's command, run as it stands there, on a network of its own.

A network and a mount namespace take Docker's place: all services share one loopback, their names are in /etc/hosts, and
the ports are those of the file. What is PostgreSQL's image there is PostgreSQL of this machine here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..postgres import postgres_programs
from ..prefect_site import BIN
from ..waiting import until
from .conftest import DEPLOYMENTS

pytestmark = pytest.mark.long


def _can_unshare() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode == 0


def _interpolate(value: Any, environment: dict[str, str]) -> Any:
    """`${NAME:-default}`, nested at most once, `${NAME:?why}` and `$$`, as compose does."""
    if isinstance(value, dict):
        return {name: _interpolate(item, environment) for name, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, environment) for item in value]
    if not isinstance(value, str):
        return value
    for name, why in re.findall(r"(?<!\$)\$\{(\w+):\?([^}]*)\}", value):
        assert name in environment, why
        value = value.replace(f"${{{name}:?{why}}}", environment[name])
    for _ in range(2):
        value = re.sub(
            r"(?<!\$)\$\{(\w+):-((?:[^${}]|\$(?!\{))*)\}", lambda match: environment.get(match[1]) or match[2], value
        )
    return value.replace("$$", "$")


class Services:
    """The services of the file, as processes in this namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        document = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
        self.document = _interpolate(document, {"IMAGEN_LOGIN": "me:nobody-guesses-this"})
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def path(self, text: str, service: str) -> str:
        """A path in a container as one of this machine: volumes and configs are folders and files here."""
        for config in self.document["services"][service].get("configs", []):
            file = self.folder / Path(config["target"]).name
            file.write_text(self.document["configs"][config["source"]]["content"])
            text = text.replace(config["target"], str(file))
        for volume in self.document["services"][service].get("volumes", []):
            name, target = volume.split(":")
            (self.folder / name).mkdir(exist_ok=True)
            text = text.replace(target, str(self.folder / name))
        return text

    def environment(self, service: str) -> dict[str, str]:
        given = self.document["services"][service].get("environment", {})
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / service),
            "PREFECT_IMAGEN_HOME": str(self.folder / "imagen"),
            "DO_NOT_TRACK": "1",
            **{name: str(value) for name, value in given.items()},
        }

    def start(self, service: str) -> subprocess.Popen[bytes]:
        command = [self.path(part, service) for part in self.document["services"][service]["command"]]
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.running[service] = process
        return process

    def wait_healthy(self, service: str, seconds: float = 120) -> None:
        """Until the service's own health check passes."""
        check = self.document["services"][service]["healthcheck"]["test"][1:]

        def healthy() -> bool:
            assert self.running[service].poll() is None, self.log(service)
            done = subprocess.run(check, env=self.environment(service), capture_output=True, check=False)
            return done.returncode == 0

        until(healthy, f"the health of {service}", seconds=seconds, pause=0.5, details=lambda: self.log(service))

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(errors="replace")[-3000:]

    def call(self, service: str, command: str, seconds: float = 150) -> str:
        """As `docker compose exec`."""
        done = subprocess.run(
            ["sh", "-ec", command], cwd=self.folder, env=self.environment(service), capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + self.log(service)
        return done.stdout

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def postgres(services: Services) -> Any:
    """What the image does by itself: a cluster with the user, the database and the scripts of the file."""
    folder = postgres_programs()
    assert folder is not None
    given = services.environment("postgres")
    data, password = services.folder / "pg", services.folder / "password"
    data.mkdir()
    password.write_text(given["POSTGRES_PASSWORD"])
    for path in (data, password):
        shutil.chown(path, "postgres")
    services.path("", "postgres")
    script = f"""
        {folder}/initdb -D {data} -U {given["POSTGRES_USER"]} -A scram-sha-256 --pwfile {password} -E UTF8 --locale=C
        {folder}/pg_ctl -D {data} -w -l {data}/log -o '-c listen_addresses=0.0.0.0 -p 5432 -k {data} -F' start
        export PGPASSWORD=$(cat {password}) PGHOST=127.0.0.1 PGUSER={given["POSTGRES_USER"]}
        {folder}/psql -d postgres -c 'CREATE DATABASE {given["POSTGRES_DB"]}'
        {folder}/psql -d postgres -f {services.folder}/databases.sql
        {folder}/pg_isready --username=imagen --dbname=imagen
    """
    out = services.folder / "postgres.log"
    with out.open("wb") as log:
        done = subprocess.run(
            ["runuser", "-u", "postgres", "--", "sh", "-ec", script], stdout=log, stderr=log, cwd="/", check=False
        )
    assert done.returncode == 0, out.read_text()
    return lambda: subprocess.run(
        ["runuser", "-u", "postgres", "--", f"{folder}/pg_ctl", "-D", str(data), "-m", "immediate", "stop"],
        capture_output=True, cwd="/", check=False,
    )  # fmt: skip


def run(folder: Path) -> None:
    """The whole file, in the order of its dependencies; in the namespaces."""
    services = Services(folder)
    stop_postgres = postgres(services)
    try:
        for service in ("server", "seaweedfs", "sandbox"):
            services.start(service)
        for service in ("server", "seaweedfs", "sandbox"):
            services.wait_healthy(service)
        assert services.start("setup").wait(180) == 0, services.log("setup")
        del services.running["setup"]
        assert "All well" in services.log("setup"), services.log("setup")
        services.start("worker")
        said = services.call("worker", "prefect deployment run imagen_pipeline/nightly --watch")
        assert "finished successfully in 'Completed'" in said
        services.call("worker", "python -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health')\"")
        bill = services.call("sandbox", "curl -sf http://127.0.0.1:8899/sandbox/bill")
        assert bill.count('"client_request_id"') == 2, bill
        print("compose.yaml works")
    finally:
        services.stop()
        stop_postgres()


@pytest.mark.timeout(500)
@pytest.mark.skipif(not _can_unshare(), reason="needs root, for namespaces in place of Docker's")
def test_every_service_of_the_file() -> None:
    if postgres_programs() is None:
        pytest.skip("no PostgreSQL on this machine")
    names = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())["services"]
    # Not below pytest's own folder: PostgreSQL does not run as root, and must get in.
    place = Path(tempfile.mkdtemp(prefix="imagen-compose-"))
    try:
        _run_in_namespaces(place, names)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run_in_namespaces(place: Path, names: Iterable[str]) -> None:
    place.chmod(0o755)
    hosts = place / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
    inside = textwrap.dedent(f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.deployments.test_compose import run
        run(pathlib.Path({str(place)!r}))
    """)
    script = f'ip link set lo up && mount --bind {hosts} /etc/hosts && exec "$0" "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "--net", "bash", "-ec", script, sys.executable, "-c", inside],
        capture_output=True,
        text=True,
        timeout=450,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert "compose.yaml works" in done.stdout
