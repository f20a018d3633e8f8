"""The protocol of OpenAI's images endpoint, which many other servers speak."""

from .client import OpenAiClient

__all__ = ["OpenAiClient"]
