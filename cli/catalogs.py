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
def existing_ledger(catalog: str | None) -> Iterator[Ledger]:
    """Open a ledger that is there, for looking.

    Args:
        catalog: As typed.

    Raises:
        LedgerNotUsable: The address is wrong, or there is none.
        LedgerUnavailable: The database does not answer.
    """
    ledger = Ledger(catalog_url(catalog), create=False)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def ledger_if_any(catalog: str | None) -> Iterator[Ledger | None]:
    """Open a ledger for looking, as `existing_ledger` does; None where there is no file yet."""
    url = normalise_url(catalog_url(catalog))
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        yield None
        return
    with existing_ledger(catalog) as ledger:
        yield ledger
