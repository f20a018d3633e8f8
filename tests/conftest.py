"""What all tests share: nothing of this user's is touched, and no test reaches beyond this machine."""

from __future__ import annotations

import fcntl
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from .postgres import own_postgres, postgres_server  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from prefect_imagen.sandbox.local_s3 import LocalS3

# Before anything imports Prefect: its settings are read once.
_HOME = tempfile.TemporaryDirectory(prefix="imagen-tests-")
os.environ.update(
    {
        "PREFECT_HOME": f"{_HOME.name}/prefect",
        "PREFECT_IMAGEN_HOME": f"{_HOME.name}/imagen",
        # The tests are written for the fields and the price of one model, whatever the default is.
        "PREFECT_IMAGEN_MODEL": "google/imagen4/preview",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
    }
)
# Also what a test runner may set for itself: the width of what our commands print, and that no compiled module is kept.
sys.dont_write_bytecode = False
for _name in (
    "AIMLAPI_API_KEY",
    "AIMLAPI_BASE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "COLUMNS",
    "LINES",
    "PREFECT_API_URL",
    "PYTHONDONTWRITEBYTECODE",
):
    os.environ.pop(_name, None)


_SERVERS = {"aws", "own_postgres", "postgres_server", "prefect_api", "prompts_s3", "s3", "s3_server", "sandbox_process"}
"""Fixtures that start a server; and values of parameters that ask for one."""
_SLOWEST_FIRST = ("deployments", "flows", "cli", "review", "docs", "sandbox", "tasks", "blocks")
"""Folders of tests; each of these starts servers or processes, unlike most of `core`."""
_THEN = ("newcomer", "test_package.py", "test_providers_are_data.py", "core/run", "core/storage", "core/purchase")
"""What follows: it takes long, or waits for much, and would be left over for one worker in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs a server, and begin with the slow files, so that no worker ends alone with them."""
    tests = Path(__file__).parent
    order = (*_SLOWEST_FIRST, *_THEN)

    @functools.cache
    def rank(path: Path) -> int:
        inside = path.relative_to(tests)
        return next((n for n, place in enumerate(order) if inside.is_relative_to(place)), len(order))

    for item in items:
        assert isinstance(item, pytest.Function)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        wanted = {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}
        if rank(item.path) < len(_SLOWEST_FIRST) or wanted & {*_SERVERS, "postgres"}:
            item.add_marker("slow")
    items.sort(key=lambda item: rank(item.path))


def pytest_collection_finish() -> None:
    """Take what is imported and collected out of the garbage collector's sight: it stays, and there is much of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def imagen_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own for the ledger and the spool."""
    home = tmp_path / "imagen-home"
    monkeypatch.setenv("PREFECT_IMAGEN_HOME", str(home))
    yield home
    from prefect_imagen.core.ledger import close_ledgers

    close_ledgers()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before another try are a twentieth, in this process; those that a service names are kept."""
    from prefect_imagen.core.limits import Backoff

    delay = Backoff.delay

    def shorter(self: Backoff, tries: int, retry_after: float | None = None) -> float:
        return delay(self, tries, retry_after) / (20 if retry_after is None else 1)

    monkeypatch.setattr(Backoff, "delay", shorter)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """One SeaweedFS for all files of a process; each makes buckets of its own. One to be stopped is the test's own."""
    from prefect_imagen.sandbox.local_s3 import LocalS3

    server = LocalS3(tmp_path_factory.mktemp("s3")).start()
    server.create_bucket("pictures")
    yield server
    assert server._process is not None
    os.killpg(server._process.pid, signal.SIGKILL)  # asked to end, it waits for its clients; nobody needs it any more
    server.stop()


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A new database of a Prefect server. It takes Prefect many seconds: the first process makes it for all."""
    shared = tmp_path_factory.getbasetemp()
    shared = (shared if worker_id == "master" else shared.parent) / "prefect-database"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = shared / "made.db"
        if not made.exists():
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
                env={**os.environ, "PREFECT_HOME": str(shared)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
            )
            (shared / "prefect.db").rename(made)
    return made


@pytest.fixture(scope="session")
def prefect_api(prefect_database: Path) -> Iterator[str]:
    """A running Prefect server for the whole session, in a process of its own; its API's URL."""
    import socket
    import time
    import urllib.request

    import prefect.context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    home = Path(_HOME.name) / "server"
    home.mkdir()
    shutil.copy(prefect_database, home / "prefect.db")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "false"}
    # How long a run waits between two looks for a free place of its deployment; 30 seconds by default.
    environment["PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS"] = "2"
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the Prefect server did not start:\n{(home / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
        with temporary_settings({PREFECT_API_URL: url}):
            # Also for threads that were not given a context: Prefect's own would start a second server for their log.
            everywhere = prefect.context.get_settings_context()
            with mock.patch.object(prefect.context, "GLOBAL_SETTINGS_CONTEXT", everywhere):
                yield url
    finally:
        server.kill()  # asked to end, it waits for its clients; nobody needs it any more
        server.wait()
