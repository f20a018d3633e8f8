"""The sandbox in a process of its own, for tests, the demo and benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.errors import Unavailable
from ..core.processes import end_process
from .arguments import options_to_arguments
from .call_log import Protocol
from .options import KEYS_VARIABLE, SandboxOptions
from .protocols import BASE_PATHS

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.01
_CONTROL_SECONDS = 30.0


class SandboxFailed(Unavailable):
    """The sandbox did not start, does not answer, or refused a command."""


class SandboxServer:
    """A sandbox in a process of its own, which ends at the latest with the process that started it.

    Example:
        >>> with SandboxServer(latency=0.5) as sandbox:
        ...     _ = sandbox.set_faults([{"fault": "rate_limited", "rate": 0.05}])
        ...     sandbox.bill()["credits"]
        0
    """

    def __init__(self, options: SandboxOptions | None = None, **settings: Any) -> None:
        """Describe the sandbox; `start` (or `with`) starts it.

        Args:
            options: Settings; the default takes a free port.
            **settings: Single settings, by the names of `SandboxOptions`.

        Raises:
            pydantic.ValidationError: A setting is not allowed.
        """
        base = options.model_dump() if options is not None else {"port": 0}
        self.options = SandboxOptions.model_validate({**base, **settings})
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    def __enter__(self) -> SandboxServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`.

        Raises:
            SandboxFailed: It is not running.
        """
        if self._port is None:
            raise SandboxFailed("the sandbox is not running: call start() first")
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self._port}"

    @property
    def base_url(self) -> str:
        """The base URL for a client of the API: the origin and `/v1`."""
        return self.url("aimlapi")

    def url(self, protocol: Protocol) -> str:
        """The base URL for a client of one of the protocols: `aimlapi`, `openai`, `gemini` or `queue`."""
        return self.origin + BASE_PATHS[protocol]

    @property
    def pid(self) -> int | None:
        """Process id of the server; None if it is not running."""
        return self._process.pid if self._process is not None else None

    def start(self) -> SandboxServer:
        """Start the server and wait until it answers.

        Raises:
            SandboxFailed: It ended or was not ready in time; the message contains its output.
        """
        if self._process is not None:
            return self
        with tempfile.TemporaryDirectory(prefix="imagen-sandbox-") as folder, tempfile.TemporaryFile() as errors:
            port_file = self.options.port_file or Path(folder) / "port"
            port_file.unlink(missing_ok=True)
            options = self.options.model_copy(update={"port_file": port_file, "exit_with_stdin": True})
            # -P: no file of the current folder is imported instead of an installed module. A session of its own:
            # Ctrl-C in the terminal reaches the parent alone.
            command = [
                sys.executable,
                "-P",
                "-m",
                "prefect_imagen.sandbox",
                *options_to_arguments(options.model_copy(update={"keys": ()})),
            ]
            keys = ",".join(key.get_secret_value() for key in options.keys)
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, KEYS_VARIABLE: keys},
                start_new_session=True,
            )
            deadline = time.monotonic() + _START_SECONDS
            while not port_file.exists():
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    errors.seek(0)
                    said = errors.read().decode(errors="replace").strip()
                    raise SandboxFailed(f"the sandbox did not start: {said or 'it said nothing'}")
                time.sleep(_POLL_SECONDS)
            self._port = int(port_file.read_text(encoding="ascii"))
        return self

    def stop(self) -> None:
        """Stop the server, if it is running."""
        process, self._process, self._port = self._process, None, None
        if process is not None:
            end_process(process, _STOP_SECONDS)

    def bill(self) -> dict[str, Any]:
        """The bill: `entries`, one per billed call, and `credits`, their sum."""
        return self._command("GET", "/sandbox/bill")

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """Every call received after number `since`, billed or not."""
        calls: list[dict[str, Any]] = self._command("GET", f"/sandbox/calls?since={since}")["calls"]
        return calls

    def leaks(self) -> list[dict[str, str]]:
        """Every image request that sent a key."""
        leaks: list[dict[str, str]] = self._command("GET", "/sandbox/leaks")["leaks"]
        return leaks

    def stats(self) -> dict[str, int]:
        """Counters: `in_flight`, `max_in_flight`, `posts`, `cdn_gets`, `bytes`."""
        return self._command("GET", "/sandbox/stats")

    def reset(self) -> None:
        """Delete all calls and the bill, and restore the balance."""
        self._command("DELETE", "/sandbox/bill")

    def faults(self) -> dict[str, Any]:
        """The faults, and how often each has met a call and struck it."""
        return self._command("GET", "/sandbox/faults")

    def set_faults(self, rules: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
        """Replace all faults.

        Args:
            rules: As in `PUT /sandbox/faults`, for example `{"fault": "server_error", "every": 10}`.
            seed: Seed of the random draws for `rate`.

        Raises:
            SandboxFailed: A fault or an option of it does not exist.
        """
        return self._command("PUT", "/sandbox/faults", {"seed": seed, "rules": [dict(rule) for rule in rules]})

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._command("DELETE", "/sandbox/faults")

    def set_models(self, **overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Override price and status of models: `set_models(**{"flux/dev": {"status": "withdrawn"}})`.

        Args:
            overrides: By model id, as in `PUT /sandbox/models`; any other model is as in the registry.

        Raises:
            SandboxFailed: There is no such model or option.
        """
        return self._command("PUT", "/sandbox/models", {name: dict(override) for name, override in overrides.items()})

    def wait_idle(self, timeout: float = 30.0) -> None:
        """Wait until no paid call is in flight, so that the bill is final.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            SandboxFailed: Calls are still in flight.
        """
        deadline = time.monotonic() + timeout
        while (in_flight := self.stats()["in_flight"]) > 0:
            if time.monotonic() > deadline:
                raise SandboxFailed(f"{in_flight} calls are still in flight after {timeout:g} s")
            time.sleep(_POLL_SECONDS)

    def _command(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a command to `/sandbox`. Proxies of the environment are not used."""
        origin = self.origin
        connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=_CONTROL_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise SandboxFailed(f"the sandbox at {origin} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise SandboxFailed(f"the sandbox refused {method} {path} ({response.status}): {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer
