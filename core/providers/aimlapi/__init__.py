"""The protocol of the AI/ML API."""

from .catalog import fetch_provider_catalog
from .client import DEFAULT_BASE_URL, AimlApiClient

__all__ = ["DEFAULT_BASE_URL", "AimlApiClient", "fetch_provider_catalog"]
