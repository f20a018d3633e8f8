"""What the servers of this package share: an address to listen on, and a call once they answer."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from ..errors import BadInput


class ReadyServer(uvicorn.Server):
    """A server that calls back when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def listen(host: str, port: int) -> socket.socket:
    """A socket for a server.

    Raises:
        BadInput: The address cannot be had; the message says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only where it reads TCP here; without that
    # every reply of more than one packet waits for the client's delayed ACK, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise BadInput(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port, or 0 for any free one."
        ) from None
    return listener
