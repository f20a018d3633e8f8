"""Archive: rows of finished items as Parquet files, out of the ledger and back."""

from .archive import Archived, archive, preview
from .restore import Restored, restore

__all__ = ["Archived", "Restored", "archive", "preview", "restore"]
