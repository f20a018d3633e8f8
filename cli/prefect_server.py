"""The Prefect API of a run: the configured one, or a quiet local server for as long as the run takes."""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from ..core.errors import Unavailable
from ..core.files import make_private_folder
from ..core.processes import end_process
from ..core.providers import load_registry

_START_SECONDS = 120.0
_ASK_SECONDS = 2.0
_STOP_SECONDS = 6.0
_LOG_LINES = 5


def configured_api() -> str | None:
    """URL of the API that the user's Prefect is configured for, by environment, profile or file; None for none.

    Prefect, whose import takes seconds, is asked only where something is configured, or it is imported already.
    """
    if "prefect.settings" not in sys.modules and not _is_configured():
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _is_configured() -> bool:
    """Whether Prefect may have settings of its own here. Wrongly True costs an import, and is never wrongly False."""
    if {"PREFECT_API_URL", "PREFECT_PROFILE"} & {name.upper() for name in os.environ}:
        return True
    if Path("prefect.toml").exists() or "PREFECT_" in _text(Path(".env")).upper():
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles_path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        if "prefect" in tomllib.loads(_text(Path("pyproject.toml"))).get("tool", {}):
            return True
        profiles = tomllib.loads(_text(profiles_path))
        active = profiles["profiles"][profiles["active"]] if profiles else {}
    except (tomllib.TOMLDecodeError, LookupError, TypeError):
        return True
    return any(name.upper() == "PREFECT_API_URL" for name in active)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class LocalPrefect:
    """Prefect's own server on a free loopback port, ending no later than this process.

    `start` returns at once; the server takes some seconds, during which other things can be imported and checked.
    From `start` on, this process's `PREFECT_API_URL` points to it. It stops when the interpreter exits, not earlier:
    Prefect hands in the last of its logs and events while the threads are joined, and waits in vain for a server that
    is gone by then.

    Args:
        log: File for what the server prints.
        ui: Serve Prefect's UI, too.
    """

    def __init__(self, log: Path, *, ui: bool = False) -> None:
        self._log = log
        self._ui = ui
        self._process: subprocess.Popen[bytes] | None = None
        self._address: tuple[str, int] | None = None

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:PORT`, also the address of the UI."""
        if self._address is None:
            raise RuntimeError("the Prefect server has no address before start()")
        return f"http://{self._address[0]}:{self._address[1]}"

    def start(self) -> LocalPrefect:
        """Start the server and point this process at it; does not wait until it answers."""
        make_private_folder(self._log.parent)
        # The socket listens before the server runs: whoever asks early is answered as soon as it can be.
        with socket.socket() as listener, self._log.open("wb") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self._address = listener.getsockname()
            os.environ["PREFECT_API_URL"] = f"{self.origin}/api"
            # So that nothing links to a page that nobody serves.
            os.environ["PREFECT_SERVER_UI_ENABLED"] = str(self._ui).lower()
            # -P: nothing in the current folder may stand in for an installed module. A session of its own: Ctrl-C
            # in the terminal reaches this process alone, which then decides.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "prefect_imagen.cli.prefect_process", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
                env=self._environment(),
            )
        atexit.register(self.stop)
        _refresh_settings()
        return self

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            Unavailable: It ended, or took too long; the message names its log.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    f"Prefect's local server did not start; its log {self._log} ends with:\n{self._log_tail()}\n"
                    "Set PREFECT_API_URL to use a running server instead"
                )

    def stop(self) -> None:
        """Stop the server; does nothing where it is not running."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            end_process(process, _STOP_SECONDS)

    def _environment(self) -> dict[str, str]:
        quiet = {
            "PREFECT_SERVER_UI_ENABLED": str(self._ui).lower(),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
            # As Prefect sets for the server it starts itself; one without a UI is `ephemeral`.
            "PREFECT__SERVER_FINAL": "1",
        }
        if not self._ui:
            quiet["PREFECT__SERVER_EPHEMERAL"] = "1"
        secret = {provider.key_variable for provider in load_registry().providers}
        kept = {name: value for name, value in os.environ.items() if name not in secret}
        return {**kept, **quiet}

    def _answers(self) -> bool:
        assert self._address is not None  # noqa: S101 - set by start()
        connection = http.client.HTTPConnection(*self._address, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])


def _refresh_settings() -> None:
    """Make a Prefect that is imported already read the environment again."""
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
