"""The protocol of Google's Gemini API."""

from .client import GeminiClient

__all__ = ["GeminiClient"]
