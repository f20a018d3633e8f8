"""The routes about the account: balance, log of requests, transactions.

Shapes, parameters and refusals from the API's own documents (docs.aimlapi.com: account balance, usage logs, 2026-08).
Log and transactions lag behind the calls, as the documents say: here by `log_lag` seconds.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ..core.money import credits_to_usd
from .call_log import Call, Transaction
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


def _moment(text: str, name: str, *, offset: bool) -> datetime:
    """Parse an ISO-8601 time. With `offset` it needs a UTC offset; otherwise UTC is the default."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise _bad(f"{name}: {text!r} is not an ISO-8601 date") from None
    if moment.tzinfo is None:
        if offset:
            raise _bad(f"{name}: {text!r} has no UTC offset")
        return moment.replace(tzinfo=UTC)
    return moment


def _number(query: QueryParams, name: str, default: int, low: int, high: int | None) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        raise _bad(f"{name} must be an integer from {low} to {'…' if high is None else high}")
    return int(text)


def _one_of(query: QueryParams, name: str, allowed: Sequence[str]) -> list[str]:
    values = query.getlist(name)
    for value in values:
        if value not in allowed:
            raise _bad(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    return values


class AccountRoutes:
    """The routes about the account, which need a key."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._rate_limit = RateLimit(_LOGS_A_WINDOW, _LOGS_WINDOW, None)

    async def balance(self, request: Request) -> Response:
        """`GET /v2/billing`: the balance in US dollars."""
        return self._reply(request, self._balance)

    async def legacy_balance(self, request: Request) -> Response:
        """`GET /v1/billing/balance`: the older route, in credits."""
        return self._reply(request, self._legacy_balance)

    async def logs(self, request: Request) -> Response:
        """`GET /v2/logs`: one row per request of this key, newest first, including failed ones."""
        return self._reply(request, self._list_calls)

    async def transactions(self, request: Request) -> Response:
        """`GET /v2/billing/transactions`: one entry per change of the balance, newest first."""
        return self._reply(request, self._list_transactions)

    def _reply(self, request: Request, content: Callable[[Request], dict[str, Any]]) -> Response:
        failure = self._state.refusal(request)
        try:
            if failure is None:
                return JsonReply(content(request))
        except _Refused as refusal:
            failure = refusal.failure
        return failure_response(failure, request, self._state.new_id())

    def _balance(self, _: Request) -> dict[str, Any]:
        return {"current_balance": self._state.call_log.balance_usd(), "currency": "USD"}

    def _legacy_balance(self, _: Request) -> dict[str, Any]:
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

    def _list_calls(self, request: Request) -> dict[str, Any]:
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
        if prefix is not None and not self._state.key_of(request).startswith(prefix):
            raise _Refused(Failure(403, "Listing the requests of a different key requires a management key"))
        rows = [
            self._row(call)
            for call in self._state.call_log.logged(self._state.fingerprint(request), self._state.options.log_lag)
            if start <= datetime.fromisoformat(call.at) <= end
        ]
        wanted = [
            row
            for row in reversed(rows)
            if (not statuses or row["status"] in statuses)
            and (not models or not {row["model"], row["model"].partition("/")[2]}.isdisjoint(models))
        ]
        page = wanted[offset : offset + limit]
        return {
            "data": page,
            "pagination": {
                "limit": limit,
                "offset": offset,
                "total": len(wanted),
                "has_more": offset + len(page) < len(wanted),
            },
        }

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

    def _list_transactions(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        strange = sorted(set(query) - _TRANSACTION_PARAMETERS)
        if strange:
            raise _bad(f"unknown query parameter {strange[0]}")
        since = _moment(query["from"], "from", offset=True) if "from" in query else None
        until = _moment(query["to"], "to", offset=True) if "to" in query else None
        if since is not None and until is not None and until <= since:
            raise _bad("to must be later than from")
        limit = _number(query, "limit", 50, 1, 100)
        directions = _one_of(query, "direction", _DIRECTIONS)
        types = _one_of(query, "type", _TYPES)
        before = _read_cursor(query["cursor"]) if "cursor" in query else None
        wanted = [
            entry
            for entry in reversed(self._state.call_log.transactions(self._state.options.log_lag))
            if (before is None or entry.number < before)
            and (not directions or entry.direction in directions)
            and (not types or entry.type in types)
            and (since is None or datetime.fromisoformat(entry.at) >= since)
            and (until is None or datetime.fromisoformat(entry.at) < until)
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
    period, start, end = query.get("period"), query.get("start"), query.get("end")
    if (period is None) == (start is None and end is None):
        raise _bad("Provide either period or both start and end")
    if period is not None:
        match = _PERIOD.fullmatch(period)
        if match is None:
            raise _bad(f"period: {period!r} is not a positive integer followed by h or d")
        length = timedelta(hours=int(match[1])) if match[2] == "h" else timedelta(days=int(match[1]))
        # A call of this millisecond belongs to the window.
        until = datetime.now(UTC) + timedelta(seconds=1)
        since = until - length
    else:
        if start is None or end is None:
            raise _bad("start and end must be used together")
        since, until = _moment(start, "start", offset=False), _moment(end, "end", offset=False)
        if until < since:
            raise _bad("end must not be earlier than start")
        length = until - since
    if length > _LONGEST_WINDOW:
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
