"""The provider's log of requests: what became of a call whose answer was lost.

`GET /v2/logs` (AI/ML API docs, "Usage logs", 2026-08) lists one row a request that the key made, newest first, failed
ones included, a hundred a page, within a window of time. It cannot be asked for one request: rows are matched by the
client request id that was sent along. It lags a little behind the calls, holds no images, and answers 200 requests in
60 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..money import usd_to_credits

LOG_PAGE = 100
LOG_REQUESTS_A_MINUTE = 200


@dataclass(frozen=True, slots=True)
class LogRow:
    """A request, as the provider has it.

    Attributes:
        inference_id: The provider's id, also of the charge.
    """

    client_request_id: str
    succeeded: bool
    credits: int
    inference_id: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of the log. Rows without a client request id are left out; `more` says whether others follow."""

    rows: tuple[LogRow, ...]
    more: bool


def read_log(document: Any) -> LogPage:
    """Read an answer of the log.

    Raises:
        ValueError, KeyError, TypeError: It has another form than the documented one.
    """
    rows = tuple(
        LogRow(
            str(row["client_request_id"]),
            _succeeded(row["status"]),
            _credits(row["cost"]),
            row.get("inference_id"),
            row.get("request_id"),
        )
        for row in document["data"]
        if row.get("client_request_id")
    )
    return LogPage(rows, bool(document["pagination"]["has_more"]))


def _succeeded(status: Any) -> bool:
    if status not in ("succeeded", "failed"):
        raise ValueError(f"an unknown status: {status!r}")
    return bool(status == "succeeded")


def _credits(cost: Mapping[str, Any]) -> int:
    return int(cost["credits"]) if cost.get("credits") is not None else usd_to_credits(cost["usd"])
