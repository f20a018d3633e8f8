"""Servers that nobody here wrote, between the product and its pictures: the LiteLLM proxy, and aimock.

`make test-long` installs both; `make .venv-litellm/.ready` and `make build/aimock/.ready` do so one by one.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer

from ..waiting import until
from .conftest import Terminal, without_prefect

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
AIMOCK = ROOT / "build" / "aimock" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
MASTER_KEY = "sk-of-the-tests-1234567890"
IMAGES = 100


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _serve(command: list[str], url: str, log: Path, **environment: str) -> Iterator[str]:
    """Run a server until the test ends; yields its address as soon as it answers."""
    with log.open("wb") as said:
        server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=said, stderr=said)
    try:
        until(lambda: _answers(url) or server.poll() is not None, f"{command[0]} answers", details=log.read_text)
        assert server.poll() is None, log.read_text()
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def user(sandbox: SandboxServer, tmp_path: Path) -> Iterator[Terminal]:
    """A user without Prefect, with the keys that these servers take."""
    folder = tmp_path / "work"
    folder.mkdir()
    environment = {
        **os.environ,
        "PREFECT_IMAGEN_HOME": str(tmp_path / "home"),
        "PREFECT_IMAGEN_CATALOG": str(tmp_path / "ledger.db"),
        "OPENAI_API_KEY": MASTER_KEY,
        "FAL_KEY": "any",
    }
    terminal = without_prefect(Terminal(folder, environment, sandbox), tmp_path)
    terminal.write("prompts.txt", "".join(f"Picture number {number}\n" for number in range(IMAGES)))
    yield terminal
    terminal.close()


def _bought(user: Terminal, tmp_path: Path, *arguments: str) -> int:
    """Deliver an image for each prompt; the credits that all calls of the ledger were billed."""
    said = user.run("run", "prompts.txt", "--to", "images", "--yes", "--json", *arguments)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert (report["outcome"], report["states"]["delivered"], report["images"]) == ("Completed", IMAGES, IMAGES)
    assert len([path for path in (user.folder / "images").rglob("*.png") if path.is_file()]) == IMAGES
    with closing(Ledger(str(tmp_path / "ledger.db"), create=False)) as ledger:
        account = ledger.costs.of()
    assert account.unknown.calls == account.in_flight.calls == 0
    assert account.billed == account.billed_at_most
    return account.billed


@pytest.fixture
def litellm(sandbox: SandboxServer, tmp_path: Path) -> Iterator[str]:
    """The proxy in front of the sandbox, without retries of its own."""
    if not LITELLM.exists():
        pytest.skip("there is no LiteLLM here: make .venv-litellm/.ready")
    (tmp_path / "litellm.yaml").write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "gpt-image-2",
                        "litellm_params": {
                            "model": "openai/gpt-image-2",
                            "api_base": sandbox.url("openai"),
                            "api_key": "any",
                            "max_retries": 0,
                        },
                    }
                ],
                "litellm_settings": {"num_retries": 0, "telemetry": False},
            }
        ),
        encoding="utf-8",
    )
    port = _free_port()
    command = [str(LITELLM), "--config", str(tmp_path / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    for _ in _serve(
        command,
        f"http://127.0.0.1:{port}/health/liveliness",
        tmp_path / "litellm.log",
        LITELLM_MASTER_KEY=MASTER_KEY,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        PATH=f"{LITELLM.parent}{os.pathsep}{os.environ['PATH']}",
    ):
        yield f"http://127.0.0.1:{port}/v1"


def test_the_litellm_proxy(user: Terminal, litellm: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    billed = _bought(user, tmp_path, "--api", "openai", "--base-url", litellm, "--model", "gpt-image-2")
    bill = sandbox.bill()
    assert (len(bill["entries"]), bill["credits"]) == (IMAGES, billed)
    assert {entry["protocol"] for entry in bill["entries"]} == {"openai"}
    # The same again buys nothing.
    assert _bought(user, tmp_path, "--api", "openai", "--base-url", litellm, "--model", "gpt-image-2") == billed
    assert len(sandbox.calls()) == IMAGES
    # The proxy refuses a key that is not its own with a 400, since it has no database to look it up in.
    arguments = ("--api", "openai", "--base-url", litellm, "--model", "gpt-image-2", "--set", "quality=low")
    refused = user.run("run", "prompts.txt", "--to", "images", "--yes", *arguments, OPENAI_API_KEY="not-the-key")
    assert (refused.code, "refuses the key" in refused.err) == (2, True)
    assert len(sandbox.calls()) == IMAGES


@pytest.fixture
def png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((1024, 1024), 40).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def aimock(png: bytes, tmp_path: Path) -> Iterator[str]:
    """aimock, which answers each request for an image with the same one and keeps a journal."""
    if not AIMOCK.exists() or shutil.which("node") is None:
        pytest.skip("there is no aimock here: make build/aimock/.ready, with npm")
    picture = {"b64Json": base64.b64encode(png).decode()}
    job = {"images": [{"url": "https://queue.fal.run/picture.png", "content_type": "image/png"}], "seed": 1}
    fixtures = [
        {"match": {"endpoint": "image"}, "response": {"image": picture}},
        {"match": {"endpoint": "fal"}, "response": {"json": job}},
    ]
    (tmp_path / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}), encoding="utf-8")
    port = _free_port()
    command = ["node", str(AIMOCK), "--port", str(port), "--fixtures", str(tmp_path / "fixtures.json")]
    command += ["--journal-max", "0", "--log-level", "warn"]
    for _ in _serve(command, f"http://127.0.0.1:{port}/__aimock/journal", tmp_path / "aimock.log"):
        yield f"http://127.0.0.1:{port}"


def _journal(aimock: str, **wanted: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{aimock}/__aimock/journal", timeout=20) as reply:
        entries = json.load(reply)
    found = entries if isinstance(entries, list) else entries["entries"]
    return [entry for entry in found if all(entry[name] == value for name, value in wanted.items())]


def test_aimock_as_openai(user: Terminal, aimock: str, tmp_path: Path) -> None:
    arguments = ("--api", "openai", "--base-url", f"{aimock}/v1", "--model", "some-model", "--price", "0.01")
    assert _bought(user, tmp_path, *arguments) == IMAGES * 20_000
    posts = _journal(aimock, method="POST", path="/v1/images/generations")
    assert [entry["response"]["status"] for entry in posts] == [200] * IMAGES


class _Domain(BaseHTTPRequestHandler):
    """fal's own domain in front of aimock, which wants to be told whose host it stands for and names that host."""

    aimock: ClassVar[str]
    png: ClassVar[bytes]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/picture.png":
            self._send(200, "image/png", self.png)
            return
        headers = {"Content-Type": "application/json", "X-Fal-Target-Host": "queue.fal.run"}
        request = urllib.request.Request(f"{self.aimock}/fal{self.path}", body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                status, content = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        own = f"http://{self.headers['host']}".encode()
        self._send(status, "application/json", content.replace(b"https://queue.fal.run", own))

    def do_GET(self) -> None:
        self.do_POST()

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_aimock_as_a_queue(user: Terminal, aimock: str, png: bytes, tmp_path: Path) -> None:
    handler = type("Domain", (_Domain,), {"aimock": aimock, "png": png})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as domain:
        threading.Thread(target=domain.serve_forever, daemon=True).start()
        base_url = f"http://127.0.0.1:{domain.server_port}"
        arguments = ("--api", "queue", "--base-url", base_url, "--model", "fal-ai/some-model", "--price", "0.01")
        assert _bought(user, tmp_path, *arguments) == IMAGES * 20_000
        domain.shutdown()
    posts = _journal(aimock, method="POST", path="/fal/fal-ai/some-model")
    assert [entry["response"]["status"] for entry in posts] == [200] * IMAGES
