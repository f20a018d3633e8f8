"""Runs the sandbox on one loopback socket, with one event loop."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn
from pydantic import SecretStr

from ..core.errors import BadInput
from .app import create_app
from .options import KEYS_VARIABLE, SandboxOptions
from .state import sandbox_version
from .wire import TransportProtocol

_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 2
_PARENT_POLL_SECONDS = 0.5


class _Server(uvicorn.Server):
    """A server that calls back when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


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
    with _listen(options) as listener:
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
        server = _Server(config, ready)
        if options.exit_with_stdin:
            threading.Thread(target=_exit_with_parent, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


def _listen(options: SandboxOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only where it reads TCP here; without
    # that every reply of more than one packet waits for the client's delayed ACK, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        raise BadInput(
            f"the sandbox cannot listen on {options.host}:{options.port}: {error.strerror}. Choose another --port, "
            "or 0 for any free one."
        ) from None
    return listener


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
