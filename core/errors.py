"""The root of every exception of this package.

    ImagenError
    ├── BadInput               what the user gave cannot be run: nothing was sent, nothing was billed (exit code 2)
    └── Unavailable            a service that is needed is down: what was bought is safe, run again later

The modules that know more add their own below these two: `core.aimlapi.errors`, `core.prompts`, `core.storage`,
`core.ledger`. Every exception passes all its arguments to `super().__init__` by position, so that it survives a
pickle (Prefect persists and ships exceptions between processes; keyword-only arguments do not unpickle).
"""

from __future__ import annotations


class ImagenError(Exception):
    """Base of all errors this package raises on purpose. `str(error)` says what is wrong and what to do."""


class BadInput(ImagenError):
    """The input cannot be run as it is. Raised before any paid call; nothing was sent and nothing was billed."""


class Unavailable(ImagenError):
    """A service this run needs (API, object store, database) does not answer. Nothing paid is lost."""
