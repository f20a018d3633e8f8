"""Which ledger a command means, and how to look into one without making it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.files import home
from ..core.ledger import Ledger, normalise_url


def catalog_url(catalog: str | None) -> str:
    """The address as given, else that of this user's own ledger."""
    return catalog or str(home() / "ledger.db")


@contextmanager
def existing_ledger(catalog: str | None, *, required: bool) -> Iterator[Ledger | None]:
    """Open a ledger that is there, for looking.

    Args:
        catalog: As typed.
        required: Whether its absence is an error; else it is None.

    Raises:
        LedgerNotUsable: The address is wrong, or there is none and it is required.
        LedgerUnavailable: The database does not answer.
    """
    url = normalise_url(catalog_url(catalog))
    if not required and url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        yield None
        return
    ledger = Ledger(catalog_url(catalog), create=False)
    try:
        yield ledger
    finally:
        ledger.close()
