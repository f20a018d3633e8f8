"""The chains, as Prefect flows."""

from .fanout import imagen_fanout, imagen_shard
from .pipeline import imagen_pipeline
from .provenance import imagen_provenance
from .repair import imagen_repair

__all__ = ["imagen_fanout", "imagen_pipeline", "imagen_provenance", "imagen_repair", "imagen_shard"]
