"""A sandbox for the tests of this folder, and a client that knows nothing but HTTP."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image
from prefect_imagen.sandbox import SandboxServer

from ..waiting import until

IMAGEN4 = "google/imagen4/preview"


class Api:
    """Speaks to one sandbox as any client of the API would."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path: str, body: Any, key: str | None = "test-key", **headers: str) -> requests.Response:
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return self.session.post(self.server.origin + path, json=body, headers=headers, timeout=20)

    def make(self, prompt: str = "A red fox", model: str = IMAGEN4, **fields: Any) -> requests.Response:
        return self.post("/v1/images/generations", {"model": model, "prompt": prompt, **fields})

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        url = path if path.startswith("http") else self.server.origin + path
        return self.session.get(url, timeout=20, **kwargs)

    def open(self, url: str) -> Image.Image:
        response = self.get(url)
        assert response.status_code == 200, response.text
        picture = Image.open(io.BytesIO(response.content))
        picture.load()
        return picture


@contextlib.contextmanager
def in_flight(api: Api, count: int) -> Iterator[None]:
    """So many calls that nobody answers, to a sandbox of the test's own: it is killed in the end."""

    def call() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.post(
                f"{api.server.base_url}/images/generations",
                json={"model": IMAGEN4, "prompt": "A red fox"},
                headers={"Authorization": "Bearer test-key"},
                timeout=300,
            )

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: api.server.stats()["in_flight"] == count, f"{count} calls in flight", pause=0.01)
        yield
    finally:
        if (pid := api.server.pid) is not None:
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SandboxServer]:
    """One sandbox with default options for the whole folder."""
    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(shared_server: SandboxServer) -> Iterator[SandboxServer]:
    """The shared sandbox, with an empty call log and no faults."""
    shared_server.clear_faults()
    shared_server.reset()
    yield shared_server
    shared_server.clear_faults()


@pytest.fixture
def api(sandbox: SandboxServer) -> Iterator[Api]:
    """A client of the shared sandbox."""
    client = Api(sandbox)
    yield client
    client.session.close()


@pytest.fixture(scope="session")
def keyed_server() -> Iterator[SandboxServer]:
    """One that knows a key, and honours idempotency keys; for what the protocols have beside the AI/ML API's."""
    with SandboxServer(
        keys=["right"],
        anonymous=True,
        any_model_usd="0.01",
        idempotency="replay",
        webhook_deliveries=10,
        concurrent_calls=4,
        latency=0.05,
        pictures="fast",
    ) as server:
        yield server


@pytest.fixture
def keyed(keyed_server: SandboxServer) -> Iterator[Api]:
    """A client of it, with an empty call log and no faults."""
    keyed_server.clear_faults()
    keyed_server.reset()
    client = Api(keyed_server)
    yield client
    client.session.close()


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Any:
    """Starts a sandbox with options of its own; it is stopped after the test."""

    def begin(**settings: Any) -> Api:
        server = SandboxServer(**settings).start()
        client = Api(server)
        request.addfinalizer(server.stop)
        request.addfinalizer(client.session.close)
        return client

    return begin
