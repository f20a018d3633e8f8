"""The protocol of the AI/ML API."""

from .catalog import fetch_provider_catalog
from .client import AimlApiClient

__all__ = ["AimlApiClient", "fetch_provider_catalog"]
