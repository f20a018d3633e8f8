"""Options, the command line, and a server that lives no longer than its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from prefect_imagen.core.errors import BadInput
from prefect_imagen.sandbox import SandboxFailed, SandboxOptions, SandboxServer
from prefect_imagen.sandbox.arguments import options_from_arguments, options_to_arguments
from pydantic import ValidationError

from ..waiting import until
from .conftest import in_flight

FULL = {
    "host": "localhost",
    "port": 1234,
    "port_file": "/tmp/port",
    "exit_with_stdin": True,
    "keys": ["a", "b"],
    "anonymous": True,
    "balance_usd": "12.5",
    "imagen4_contract": "2025-05",
    "success_status": 201,
    "cost_headers": False,
    "base64_data_uri": True,
    "any_model_usd": "0.01",
    "idempotency": "replay",
    "webhook_deliveries": 10,
    "latency": 0.5,
    "jitter": 0.1,
    "requests_per_minute": 30.5,
    "rate_window": 2.0,
    "concurrent_calls": 3,
    "rate_retry_after": True,
    "log_lag": 1.5,
    "pictures": "fast",
    "image_format": "webp",
    "image_bytes": 1000,
    "cache_bytes": 5,
    "url_expiry": 60,
    "exact_query": True,
    "signed": True,
}


def test_every_option_survives_the_command_line():
    assert set(FULL) == set(SandboxOptions.model_fields)
    options = SandboxOptions.model_validate(FULL)
    assert options_from_arguments(options_to_arguments(options)) == options
    assert options_to_arguments(SandboxOptions()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.com", ""])
def test_only_loopback(host):
    with pytest.raises(ValidationError, match="not a loopback address"):
        SandboxOptions(host=host)
    with pytest.raises(BadInput, match=r"--host: .*not a loopback address"):
        options_from_arguments(["--host", host])


def test_keys_are_not_shown():
    assert "hush" not in repr(SandboxOptions(keys=["hush"]))


def test_keys_are_on_no_command_line():
    with SandboxServer(keys=["hush"]) as server:
        assert b"hush" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        body = {"model": "google/imagen4/preview", "prompt": "a fox"}
        for key, status in (("hush", 200), ("other", 401)):
            answer = requests.post(
                f"{server.base_url}/images/generations",
                json=body,
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
            )
            assert answer.status_code == status


def test_help_lists_every_option():
    command = [sys.executable, "-m", "prefect_imagen.sandbox", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--image-bytes" in text
    assert "--no-cost-headers" in text


def test_a_taken_port_is_said_plainly():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SandboxFailed, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            SandboxServer(port=port).start()


def test_stop_is_final_and_harmless_twice():
    server = SandboxServer().start()
    pid, origin = server.pid, server.origin
    assert server.start() is server
    server.stop()
    server.stop()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(SandboxFailed, match="not running"):
        server.bill()
    port = int(origin.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_dead_server_is_reported():
    with SandboxServer() as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _alive(pid), "the server to die")
        with pytest.raises(SandboxFailed, match="does not answer"):
            server.stats()


@pytest.mark.parametrize("siblings", [False, True])
def test_nothing_is_left_after_the_parent_is_killed(tmp_path: Path, siblings: bool):
    """Also where a forked child of the parent has inherited the pipe that would tell of its end."""
    script = (
        "import os, time\n"
        "from prefect_imagen.sandbox import SandboxServer\n"
        "server = SandboxServer().start()\n"
        f"sibling = os.fork() if {siblings} else 1\n"
        "if not sibling:\n"
        "    time.sleep(6)\n"
        "    os._exit(0)\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=tmp_path)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not _alive(pid), "the sandbox to end after its parent", seconds=30)


def _alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_terminated_while_a_call_is_in_flight_it_ends_soon(start):
    api = start(latency=3600)
    with in_flight(api, 1):
        process = api.server._process
        process.terminate()
        process.wait(60)
        api.server.stop()
