"""What can go wrong with a download.

    ImagenError
    └── FetchError               the bytes were not received
        ├── FetchGone            4xx: the URL is dead, not served yet, or not to this client
        ├── FetchRefused         a guard said no: scheme, address, redirects, size
        └── FetchTransient       time-out, cut body, 202, 429, 5xx: may be tried again (`retry_after`)

No message carries a query string: signed URLs keep their secret there.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImagenError


@dataclass(eq=False, repr=False)
class FetchError(ImagenError):
    """A download failed. `reason` says why; URLs in it have their query string redacted."""

    reason: str


class FetchGone(FetchError):
    """The server says that it gives no image (most 4xx): the URL has expired, or is not served yet."""


class FetchRefused(FetchError):
    """A guard stopped the download: scheme, address, number of redirects or size."""


@dataclass(eq=False, repr=False)
class FetchTransient(FetchError):
    """The download may succeed later: a time-out, a cut connection, a short or damaged body, 202, 408, 425, 429 or 5xx.

    Attributes:
        retry_after: Seconds the server asked to wait, or None where it named no time.
    """

    retry_after: float | None = None

    def __str__(self) -> str:
        return self.reason
