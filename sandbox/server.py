"""Runs the sandbox on one loopback socket, with one event loop."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable

import uvicorn
from pydantic import SecretStr

from ..core.http.server import ReadyServer, listen
from .app import create_app
from .options import KEYS_VARIABLE, SandboxOptions
from .state import sandbox_version
from .wire import TransportProtocol

_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 2
_PARENT_POLL_SECONDS = 0.5


def serve(options: SandboxOptions, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: The settings.
        on_ready: Called with the origin (`http://127.0.0.1:PORT`) once requests are answered.

    Raises:
        BadInput: It cannot listen on the address.
    """
    if not options.keys:
        named = os.environ.get(KEYS_VARIABLE, "").split(",")
        options = options.model_copy(update={"keys": tuple(SecretStr(key.strip()) for key in named if key.strip())})
    with listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        origin = f"http://{host}:{port}"

        def ready() -> None:
            if options.port_file is not None:
                # Written to another file and renamed, so that a reader never sees a part of it.
                draft = options.port_file.with_name(f"{options.port_file.name}.{os.getpid()}")
                draft.write_text(f"{port}\n", encoding="ascii")
                draft.replace(options.port_file)
            if on_ready is not None:
                on_ready(origin)

        config = uvicorn.Config(
            create_app(options, origin),
            http=TransportProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            headers=[("Server", f"prefect-imagen-sandbox/{sandbox_version()}")],
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        server = ReadyServer(config, ready)
        if options.exit_with_stdin:
            threading.Thread(target=_exit_with_parent, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


def _exit_with_parent(server: uvicorn.Server) -> None:
    """Stop the server when standard input is closed, or when the process that started it is gone.

    The first is immediate, but does not happen if another process has inherited the other end of the pipe.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], _PARENT_POLL_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            break
    server.should_exit = True
