"""Asks a Prefect server as its own clients do: patiently."""

from __future__ import annotations

import time
from typing import Any

import httpx

_SECONDS = 90
"""Longer than the minute for which a server on SQLite waits for its own lock."""


def ask(url: str, document: Any = None) -> Any:
    """The JSON that a server answers to a GET, or to a POST of a document; again where its SQLite is busy (503).

    Raises:
        httpx.HTTPStatusError: It refuses.
    """
    for pause in (0.5, 1.0, 2.0, 4.0, None):
        if document is None:
            answer = httpx.get(url, timeout=_SECONDS)
        else:
            answer = httpx.post(url, json=document, timeout=_SECONDS)
        if answer.status_code != 503 or pause is None:
            break
        time.sleep(pause)
    answer.raise_for_status()
    return answer.json() if answer.content else None
