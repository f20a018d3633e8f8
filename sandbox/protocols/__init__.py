"""The protocols that the sandbox speaks beside the AI/ML API's: one bill, the same faults."""

from __future__ import annotations

from collections.abc import Mapping

from ..call_log import Protocol

BASE_PATHS: Mapping[Protocol, str] = {
    "aimlapi": "/v1",
    "openai": "/openai/v1",
    "gemini": "/gemini/v1beta",
    "queue": "/queue",
}
"""Where each protocol begins, behind the sandbox's origin."""
