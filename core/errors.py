"""The root of every exception of this package.

    ImagenError
    ├── BadInput               what the user gave cannot be run: nothing was sent, nothing was billed (exit code 2)
    └── Unavailable            a service that is needed is down: what was bought is safe, run again later

The modules that know more add their own below these two: `core.providers.errors`, `core.prompts`, `core.storage`,
`core.ledger`. Every exception survives a pickle (Prefect persists exceptions and ships them between processes), for
which Python needs all its arguments by position in `args`: those with details of their own are dataclasses.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass


class ImagenError(Exception):
    """Base of all errors this package raises on purpose. `str(error)` says what is wrong and what to do."""

    def __post_init__(self) -> None:
        if is_dataclass(self):
            self.args = tuple(getattr(self, field.name) for field in fields(self))


class BadInput(ImagenError):
    """The input cannot be run as it is. Raised before any paid call; nothing was sent and nothing was billed."""


class Unavailable(ImagenError):
    """A service this run needs (API, object store, database) does not answer. Nothing paid is lost."""


def forget_deep_frames(error: BaseException) -> None:
    """Take its frames from an error that nested too deeply, before another one is raised in its place.

    A thousand frames explain nothing, and what pickles tracebacks (tblib, which Dask loads) nests as deeply as they do.
    """
    if isinstance(error, RecursionError):
        error.__traceback__ = None
