"""The routes about the account: balance, log of requests, transactions.

Shapes, parameters and refusals from the API's own documents (docs.aimlapi.com: account balance, usage logs, 2026-08).
Log and transactions lag behind the calls, as the documents say: here by `log_lag` seconds.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ..core.money import CREDITS_PER_USD, credits_to_usd
from .call_log import Call, Transaction
from .dialect import token_of
from .error_bodies import Failure, now_iso
from .rate_limit import RateLimit
from .state import SandboxState
from .wire import JsonReply, failure_response

_LOGS_A_WINDOW, _LOGS_WINDOW = 200, 60.0
_LONGEST_WINDOW = timedelta(days=92)
_LOW_BALANCE = 10_000
_PERIOD = re.compile(r"([1-9]\d{0,4})([hd])")
_STATUSES = ("succeeded", "failed")
_DIRECTIONS = ("TOPUP", "CHARGE")
_TYPES = ("PAYMENT", "BONUS", "REFUND", "ADJUSTMENT", "MODEL_USAGE", "CREDITS_EXPIRED", "INIT")
_TRANSACTION_PARAMETERS = frozenset({"from", "to", "direction", "type", "limit", "cursor"})
_MOST_MODELS = 50


class _Refused(Exception):
    """Raised to answer a request with an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def _bad(message: str) -> _Refused:
    return _Refused(Failure(400, message))


def _amount(credits_: int) -> dict[str, Any]:
    return {"usd": float(credits_to_usd(credits_)), "credits": credits_}


def _moment(query: QueryParams, name: str, *, offset: bool) -> datetime | None:
    """An ISO-8601 time. With `offset` it needs a UTC offset; otherwise UTC is the default."""
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise _bad(f"{name}: {text!r} is not an ISO-8601 date") from None
    if moment.tzinfo is None and offset:
        raise _bad(f"{name}: {text!r} has no UTC offset")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _number(query: QueryParams, name: str, default: int, low: int, high: int | None) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        raise _bad(f"{name} must be an integer from {low} to {'…' if high is None else high}")
    return int(text)


def _one_of(query: QueryParams, name: str, allowed: Sequence[str]) -> Collection[str]:
    """The values that a filter lets through: those that were given, else all."""
    values = query.getlist(name)
    for value in values:
        if value not in allowed:
            raise _bad(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    return values or allowed


class AccountRoutes:
    """The routes about the account, which need a key.

    Attributes:
        contents: What each path answers with.
    """

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._rate_limit = RateLimit(_LOGS_A_WINDOW, _LOGS_WINDOW, None)
        self.contents: dict[str, Callable[[Request], dict[str, Any]]] = {
            "/v2/billing": self._balance,
            "/v1/billing/balance": self._legacy_balance,
            "/v2/logs": self._logs,
            "/v2/billing/transactions": self._transactions,
        }

    async def handle(self, request: Request) -> Response:
        """Answer a request for one of the paths."""
        failure = self._state.refusal(token_of(request, "bearer"))
        try:
            if failure is None:
                return JsonReply(self.contents[request.url.path](request))
        except _Refused as refusal:
            failure = refusal.failure
        return failure_response(failure, request, self._state.new_id())

    def _balance(self, _: Request) -> dict[str, Any]:
        """The balance in US dollars."""
        return {"current_balance": self._state.call_log.balance / CREDITS_PER_USD, "currency": "USD"}

    def _legacy_balance(self, _: Request) -> dict[str, Any]:
        """The older route, in credits."""
        balance = self._state.call_log.balance
        low = balance < _LOW_BALANCE
        return {
            "balance": balance,
            "lowBalance": low,
            "lowBalanceThreshold": _LOW_BALANCE,
            "lastUpdated": now_iso(),
            "autoDebitStatus": "disabled",
            "status": "current",
            "statusExplanation": "Balance is low" if low else "Balance is current and up to date",
        }

    def _logs(self, request: Request) -> dict[str, Any]:
        """One row per request of this key, newest first, including failed ones."""
        if self._rate_limit.try_acquire() is not None:
            raise _Refused(Failure(429, "Too Many Requests"))
        query = request.query_params
        start, end = _window(query)
        limit = _number(query, "limit", 50, 1, 100)
        offset = _number(query, "offset", 0, 0, None)
        statuses = _one_of(query, "status", _STATUSES)
        models = query.getlist("model")
        if len(models) > _MOST_MODELS:
            raise _bad(f"model: at most {_MOST_MODELS} values")
        prefix = query.get("key_prefix")
        key = token_of(request, "bearer") or ""
        if prefix is not None and not key.startswith(prefix):
            raise _Refused(Failure(403, "Listing the requests of a different key requires a management key"))
        calls = self._state.call_log.logged(self._state.fingerprint(key), self._state.options.log_lag)
        rows = [self._row(call) for call in reversed(calls) if start <= datetime.fromisoformat(call.at) <= end]
        wanted = [
            row
            for row in rows
            if row["status"] in statuses
            and (not models or not {row["model"], row["model"].partition("/")[2]}.isdisjoint(models))
        ]
        page = wanted[offset : offset + limit]
        more = offset + len(page) < len(wanted)
        pagination = {"limit": limit, "offset": offset, "total": len(wanted), "has_more": more}
        return {"data": page, "pagination": pagination}

    def _row(self, call: Call) -> dict[str, Any]:
        succeeded = call.billed or (call.status is not None and call.status < 300)
        return {
            "created": call.at,
            "status": "succeeded" if succeeded else "failed",
            "origin": "api",
            "model": self._state.canonical(call.model or ""),
            "cost": _amount(call.credits),
            "tokens": {"input": 0, "output": 0, "total": 0},
            "request_id": call.request_id,
            "inference_id": call.inference_id,
            "client_request_id": call.client_request_id,
        }

    def _transactions(self, request: Request) -> dict[str, Any]:
        """One entry per change of the balance, newest first."""
        query = request.query_params
        strange = sorted(set(query) - _TRANSACTION_PARAMETERS)
        if strange:
            raise _bad(f"unknown query parameter {strange[0]}")
        since = _moment(query, "from", offset=True) or datetime.min.replace(tzinfo=UTC)
        until = _moment(query, "to", offset=True) or datetime.max.replace(tzinfo=UTC)
        if until <= since:
            raise _bad("to must be later than from")
        limit = _number(query, "limit", 50, 1, 100)
        directions = _one_of(query, "direction", _DIRECTIONS)
        types = _one_of(query, "type", _TYPES)
        before = _read_cursor(query["cursor"]) if "cursor" in query else math.inf
        wanted = [
            entry
            for entry in reversed(self._state.call_log.transactions(self._state.options.log_lag))
            if entry.number < before
            and entry.direction in directions
            and entry.type in types
            and since <= datetime.fromisoformat(entry.at) < until
        ]
        page, more = wanted[:limit], len(wanted) > limit
        return {
            "data": [self._entry(entry) for entry in page],
            "pagination": {"next_cursor": _cursor(page[-1].number) if more else None, "has_more": more},
        }

    def _entry(self, entry: Transaction) -> dict[str, Any]:
        return {
            "created_at": entry.at,
            "direction": entry.direction,
            "type": entry.type,
            "amount": _amount(entry.credits),
            "model": self._state.canonical(entry.model) if entry.model else None,
            "reference_id": entry.reference,
        }


def _window(query: QueryParams) -> tuple[datetime, datetime]:
    """The time window of a request: `period`, or `start` and `end`."""
    period = query.get("period")
    if (period is None) == ("start" not in query and "end" not in query):
        raise _bad("Provide either period or both start and end")
    if period is not None:
        match = _PERIOD.fullmatch(period)
        if match is None:
            raise _bad(f"period: {period!r} is not a positive integer followed by h or d")
        # A call of this millisecond belongs to the window.
        until = datetime.now(UTC) + timedelta(seconds=1)
        since = until - (timedelta(hours=int(match[1])) if match[2] == "h" else timedelta(days=int(match[1])))
    else:
        first, last = _moment(query, "start", offset=False), _moment(query, "end", offset=False)
        if first is None or last is None:
            raise _bad("start and end must be used together")
        since, until = first, last
        if until < since:
            raise _bad("end must not be earlier than start")
    if until - since > _LONGEST_WINDOW:
        raise _bad("The window must not exceed 92 days")
    return since, until


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"v": 1, "n": number}, separators=(",", ":")).encode()).decode()


def _read_cursor(text: str) -> int:
    """The transaction number in a cursor, which must be exactly as it was sent."""
    try:
        number = json.loads(base64.urlsafe_b64decode(text))["n"]
    except (ValueError, binascii.Error, KeyError, TypeError):
        number = None
    if not isinstance(number, int) or _cursor(number) != text:
        raise _bad("cursor is malformed")
    return number
