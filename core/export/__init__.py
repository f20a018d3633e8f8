"""The catalog as a file: CSV, JSON Lines or Parquet, on this machine or in S3."""

from .columns import COLUMNS, Kind
from .export import Exported, export_catalog, export_stream
from .formats import Format

__all__ = ["COLUMNS", "Exported", "Format", "Kind", "export_catalog", "export_stream"]
