"""The chains, as Prefect flows."""

from .pipeline import imagen_pipeline

__all__ = ["imagen_pipeline"]
