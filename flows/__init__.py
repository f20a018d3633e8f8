"""The chains, as Prefect flows."""

from .pipeline import imagen_pipeline
from .repair import imagen_repair

__all__ = ["imagen_pipeline", "imagen_repair"]
