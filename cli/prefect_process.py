"""A Prefect server in a process of its own: `python -m prefect_imagen.cli.prefect_process FD`.

The same application and switches as the server that Prefect starts by itself when none is configured; but it ends
with the process that started it, however that ends, and what it prints goes where its starter wants it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time

import uvicorn

_PARENT_POLL_SECONDS = 0.5
_GRACE_SECONDS = 4.0


def main() -> None:
    """Serve on the listening socket whose file descriptor is the first argument, until standard input ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_exit_with_parent, args=(server, os.getppid()), daemon=True).start()
    server.run(sockets=[listener])


def _exit_with_parent(server: uvicorn.Server, parent: int) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], _PARENT_POLL_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            break
    server.should_exit = True
    # Nobody is left who could end a server that hangs while it starts or stops.
    time.sleep(_GRACE_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
