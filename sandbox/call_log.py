"""Every call that the sandbox received, what was billed for it, the balance, and counters of downloads.

Kept in memory, without images: about a kilobyte per call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .error_bodies import now_iso
from .faults import Endpoint

_BILLED = (
    "client_request_id",
    "idempotency_key",
    "inference_id",
    "protocol",
    "endpoint",
    "model",
    "prompt",
    "images",
    "credits",
)

Protocol = Literal["aimlapi", "openai", "gemini", "queue"]


@dataclass(slots=True)
class Call:
    """One POST to a paid endpoint.

    Attributes:
        n: Number of the call, from 1.
        at: When it arrived, UTC.
        inference_id: The id sent back as `x-inference-id`.
        client_request_id: The caller's `X-Client-Request-Id`, where it was a valid one.
        protocol: The protocol that it came by.
        idempotency_key: The caller's `Idempotency-Key`, where that is honoured.
        replayed: Whether it was answered with what was billed under that key before.
        inputs: SHA-256 of each image that was sent with the request.
        model: Model id of the request; None where the body could not be read.
        prompt: The prompt, or the last message of a chat.
        status: Status that was sent; None while the call is in flight, and if the connection was cut instead.
        fault: Name of the fault that struck.
        cut: Whether the reply was cut off or never sent.
        credits, images: What was billed.
        returned: Images in the reply.
        key: Short hash of the key that was sent; empty if there was none.
        request_id: The id sent back as `x-request-id`, where a reply was sent.
        ended: When it was finished (`time.monotonic()`).
    """

    n: int
    at: str
    endpoint: Endpoint
    inference_id: str
    client_request_id: str | None
    protocol: Protocol = "aimlapi"
    idempotency_key: str | None = None
    replayed: bool = False
    inputs: tuple[str, ...] = ()
    model: str | None = None
    prompt: str | None = None
    status: int | None = None
    fault: str | None = None
    cut: bool = False
    done: bool = False
    billed: bool = False
    credits: int = 0
    images: int = 0
    returned: int = 0
    billed_at: str | None = None
    key: str = ""
    request_id: str | None = None
    ended: float = 0.0

    def settled(self, lag: float) -> bool:
        """Whether it ended at least `lag` seconds ago."""
        return self.done and self.ended <= time.monotonic() - lag


class Transaction(NamedTuple):
    """A change of the balance, in the API's terms; `number` counts them in the order of time."""

    number: int
    at: str
    direction: Literal["TOPUP", "CHARGE"]
    type: str
    credits: int
    model: str | None = None
    reference: str | None = None


class CallLog:
    """All calls, the bill and the balance. The server has one event loop, so nothing here needs a lock.

    Args:
        balance: Credits at the start.
    """

    def __init__(self, balance: int) -> None:
        self._opening = balance
        self._opened_at = now_iso()
        self._calls: list[Call] = []
        self._billed: list[Call] = []
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Delete calls, bill, leaks and counters, and restore the balance. Calls in flight continue."""
        self._calls.clear()
        self._billed.clear()
        self.leaks: list[dict[str, str]] = []
        self.balance = self._opening
        self._posts = self._downloads = self._bytes = 0
        self._max_in_flight = self.in_flight

    @contextmanager
    def call(
        self,
        endpoint: Endpoint,
        inference_id: str,
        client_request_id: str | None,
        key: str = "",
        protocol: Protocol = "aimlapi",
    ) -> Iterator[Call]:
        """Log a call, which counts as in flight until the context ends."""
        call = Call(len(self._calls) + 1, now_iso(), endpoint, inference_id, client_request_id, protocol, key=key)
        self._calls.append(call)
        self._posts += 1
        self.in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self.in_flight)
        try:
            yield call
        finally:
            self.in_flight -= 1
            call.done, call.ended = True, time.monotonic()

    def charge(self, call: Call, credits_: int, images: int) -> bool:
        """Bill a call; False, and nothing is billed, if the balance does not cover it.

        A call without credits and without images is not put on the bill.
        """
        if credits_ > self.balance:
            return False
        if credits_ or images:
            self.balance -= credits_
            call.billed, call.credits, call.images, call.billed_at = True, credits_, images, now_iso()
            self._billed.append(call)
        return True

    def count_download(self, size: int) -> None:
        """Count a GET of the CDN and the bytes of its body."""
        self._downloads += 1
        self._bytes += size

    def report_leak(self, leak: dict[str, str]) -> None:
        """Log a request to the CDN that sent a key."""
        self.leaks.append({"at": now_iso(), **leak})

    def logged(self, key: str, lag: float) -> list[Call]:
        """Calls of a key that named a model and ended at least `lag` seconds ago."""
        return [
            call for call in self._calls if call.settled(lag) and call.key == key and call.model and call.status != 401
        ]

    def transactions(self, lag: float) -> list[Transaction]:
        """The opening balance and the charge of every call that ended at least `lag` seconds ago, oldest first."""
        entries = [Transaction(1, self._opened_at, "TOPUP", "PAYMENT", self._opening)] if self._opening else []
        charged = [call for call in self._billed if call.settled(lag)]
        return entries + [
            Transaction(
                number, call.billed_at or call.at, "CHARGE", "MODEL_USAGE", call.credits, call.model, call.inference_id
            )
            for number, call in enumerate(charged, len(entries) + 1)
        ]

    def bill(self) -> dict[str, Any]:
        """One entry per billed call, and the sum in credits."""
        entries = [
            {"n": number, "call": call.n, **{name: getattr(call, name) for name in _BILLED}, "at": call.billed_at}
            for number, call in enumerate(self._billed, 1)
        ]
        return {"entries": entries, "credits": sum(call.credits for call in self._billed)}

    def calls(self, since: int = 0) -> dict[str, Any]:
        """Every call received whose number is greater than `since`, and how many there are in all."""
        rows = [asdict(call) for call in self._calls[since:]]
        for row in rows:
            del row["key"], row["ended"]
        return {"calls": rows, "total": len(self._calls)}

    def stats(self) -> dict[str, int]:
        """Paid calls in flight now and at most, paid calls in all, GETs of the CDN and the bytes sent."""
        return {
            "in_flight": self.in_flight,
            "max_in_flight": self._max_in_flight,
            "posts": self._posts,
            "cdn_gets": self._downloads,
            "bytes": self._bytes,
        }
