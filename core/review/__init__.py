"""The page on which people look at the pictures of a catalog: its server, its thumbnails, its files."""

from __future__ import annotations

from .access import Access
from .pictures import CannotBeShown, Pictures, StoredPicture
from .server import create_app, serve
from .thumbnails import Thumbnails

__all__ = ["Access", "CannotBeShown", "Pictures", "StoredPicture", "Thumbnails", "create_app", "serve"]
