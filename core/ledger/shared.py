"""One open ledger for each database and process: one writer, one heartbeat, one holder."""

from __future__ import annotations

import atexit
import os
import threading

from .database import normalise_url
from .ledger import Ledger

__all__ = ["close_ledgers", "open_ledger"]

_lock = threading.Lock()
_open: dict[tuple[int, str], Ledger] = {}


def open_ledger(url: str) -> Ledger:
    """Open a ledger, or return the one this process has open already. It is closed when the process ends.

    Raises:
        LedgerNotUsable: The URL is wrong or a driver is missing.
        LedgerUnavailable: The database does not answer.
    """
    key = (os.getpid(), normalise_url(url).render_as_string(hide_password=False))
    with _lock:
        if key not in _open:
            if not _open:
                atexit.register(close_ledgers)
            _open[key] = Ledger(url)
        return _open[key]


def close_ledgers() -> None:
    """Close every ledger this process has open and let go of what it holds."""
    with _lock:
        mine = [key for key in _open if key[0] == os.getpid()]
        ledgers = [_open.pop(key) for key in mine]
    for ledger in ledgers:
        ledger.close()
