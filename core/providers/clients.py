"""The clients of one run: the one of its credentials, and those of other providers that may stand in."""

from __future__ import annotations

import threading

from ..errors import ImagenError
from .client import ImageClient
from .protocols import Endpoint


class Clients:
    """Clients by provider. Thread-safe.

    Args:
        main: That of the credentials that were given. Those of other providers take key and address from the
            environment.
    """

    def __init__(self, main: ImageClient) -> None:
        self.main = main
        self._lock = threading.Lock()
        self._others: dict[str, ImageClient] = {}

    def of(self, provider: str) -> ImageClient:
        """The client of a provider, made on first use.

        Raises:
            BadInput: There is no such provider, or no key for it in the environment.
        """
        if provider == self.main.provider.name:
            return self.main
        with self._lock:
            if provider not in self._others:
                self._others[provider] = Endpoint.of_provider(provider).open()
            return self._others[provider]

    def known(self, provider: str) -> ImageClient | None:
        """The client of a provider; None where it cannot be made."""
        try:
            return self.of(provider)
        except ImagenError:
            return None

    def cut_off(self) -> None:
        """End the calls in flight, see `ImageClient.cut_off`."""
        for client in self._all():
            client.cut_off()

    def close(self) -> None:
        """Close the clients of other providers; the main one belongs to whoever made it."""
        for client in self._all():
            if client is not self.main:
                client.close()

    def _all(self) -> list[ImageClient]:
        with self._lock:
            return [self.main, *self._others.values()]
