"""The chains, as Prefect flows."""

from .chain import imagen_chain
from .deliver import imagen_deliver
from .fanout import imagen_fanout, imagen_shard
from .pipeline import imagen_pipeline
from .provenance import imagen_provenance
from .regenerate import imagen_regenerate
from .repair import imagen_repair
from .review import imagen_review, imagen_review_resume
from .review_chain import imagen_review_chain

__all__ = [
    "imagen_chain",
    "imagen_deliver",
    "imagen_fanout",
    "imagen_pipeline",
    "imagen_provenance",
    "imagen_regenerate",
    "imagen_repair",
    "imagen_review",
    "imagen_review_chain",
    "imagen_review_resume",
    "imagen_shard",
]
