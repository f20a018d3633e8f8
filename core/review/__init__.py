"""The page on which people look at the pictures of a catalog: its server, its thumbnails, its files."""

from __future__ import annotations

from .access import Access
from .desk import LedgerDesk
from .pictures import CannotBeShown, Pictures, StoredPicture
from .server import create_app, listen, origin_of, serve
from .thumbnails import Thumbnails

__all__ = [
    "Access",
    "CannotBeShown",
    "LedgerDesk",
    "Pictures",
    "StoredPicture",
    "Thumbnails",
    "create_app",
    "listen",
    "origin_of",
    "serve",
]
