"""What can go wrong with a download.

    ImagenError
    └── FetchError               the bytes were not received, and the same request will not help
        ├── FetchGone            403, 404, 410: the URL is dead, or not served yet
        ├── FetchRefused         a guard said no: scheme, address, redirects, size, encoding
        └── FetchTransient       time-out, cut body, 429, 5xx: may be tried again (`retry_after`)

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
    """The server says the image is not there (403, 404, 410): its URL has expired or is not served yet."""


class FetchRefused(FetchError):
    """A guard stopped the download: scheme, address, number of redirects, size or content encoding."""


@dataclass(eq=False, repr=False)
class FetchTransient(FetchError):
    """The download may succeed later: a time-out, a cut connection, a short body, 408, 425, 429 or 5xx.

    Attributes:
        retry_after: Seconds the server asked to wait, or None where it named no time.
    """

    retry_after: float | None = None

    def __str__(self) -> str:
        return self.reason
