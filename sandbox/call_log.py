"""Every call that the sandbox received, what was billed for it, the balance, and counters of downloads.

Kept in memory, without images: about a kilobyte per call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ..core.money import CREDITS_PER_USD
from .error_bodies import now_iso
from .faults import Endpoint


@dataclass(slots=True)
class Call:
    """One POST to a paid endpoint.

    Attributes:
        n: Number of the call, from 1.
        at: When it arrived, UTC.
        endpoint: Which paid endpoint.
        inference_id: The id sent back as `x-inference-id`.
        client_request_id: The caller's `X-Client-Request-Id`, where it was a valid one.
        model: Model id of the request; None where the body could not be read.
        prompt: The prompt, or the last message of a chat.
        status: Status that was sent; None while the call is in flight, and if the connection was cut instead.
        fault: Name of the fault that struck.
        cut: Whether the reply was cut off or never sent.
        done: Whether the call is finished.
        billed: Whether it was billed.
        credits: Credits billed.
        images: Images billed.
        returned: Images in the reply.
        billed_at: When it was billed, UTC.
        key: Short hash of the key that was sent; empty if there was none.
        request_id: The id sent back as `x-request-id`, where a reply was sent.
        ended: When it was finished (`time.monotonic()`).
    """

    n: int
    at: str
    endpoint: Endpoint
    inference_id: str
    client_request_id: str | None
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


@dataclass(frozen=True, slots=True)
class Transaction:
    """A change of the balance.

    Attributes:
        number: Position in the order of time, from 1.
        at: When, UTC.
        direction: `TOPUP` or `CHARGE`.
        type: The API's name of the kind, such as `PAYMENT` or `MODEL_USAGE`.
        credits: The amount, always positive.
        model: Model id of the request that was charged.
        reference: Inference id of the call that was charged.
    """

    number: int
    at: str
    direction: str
    type: str
    credits: int
    model: str | None = None
    reference: str | None = None


class CallLog:
    """All calls, the bill and the balance. Thread-safe."""

    def __init__(self, balance: int) -> None:
        """Start with an empty log.

        Args:
            balance: Credits at the start.
        """
        self._lock = threading.Lock()
        self._opening = balance
        self._opened_at = now_iso()
        self._balance = balance
        self._calls: list[Call] = []
        self._billed: list[Call] = []
        self._leaks: list[dict[str, str]] = []
        self._in_flight = 0
        self._max_in_flight = 0
        self._posts = 0
        self._downloads = 0
        self._bytes = 0

    @contextmanager
    def call(
        self, endpoint: Endpoint, inference_id: str, client_request_id: str | None, key: str = ""
    ) -> Iterator[Call]:
        """Log a call, which counts as in flight until the context ends."""
        with self._lock:
            call = Call(len(self._calls) + 1, now_iso(), endpoint, inference_id, client_request_id, key=key)
            self._calls.append(call)
            self._posts += 1
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
        try:
            yield call
        finally:
            with self._lock:
                self._in_flight -= 1
                call.done, call.ended = True, time.monotonic()

    def charge(self, call: Call, credits_: int, images: int) -> bool:
        """Bill a call, unless the balance does not cover it.

        Args:
            call: The call.
            credits_: Its price. A call without credits and without images is not put on the bill.
            images: Images that are billed.

        Returns:
            False if the balance does not cover it; then nothing is billed.
        """
        with self._lock:
            if credits_ > self._balance:
                return False
            if credits_ or images:
                self._balance -= credits_
                call.billed, call.credits, call.images, call.billed_at = True, credits_, images, now_iso()
                self._billed.append(call)
            return True

    def count_download(self, size: int) -> None:
        """Count a GET of the CDN and the bytes of its body."""
        with self._lock:
            self._downloads += 1
            self._bytes += size

    def report_leak(self, leak: dict[str, str]) -> None:
        """Log a request to the CDN that sent a key."""
        with self._lock:
            self._leaks.append({"at": now_iso(), **leak})

    def leaks(self) -> list[dict[str, str]]:
        """Every request to the CDN that sent a key."""
        with self._lock:
            return list(self._leaks)

    @property
    def in_flight(self) -> int:
        """Paid calls in flight now."""
        with self._lock:
            return self._in_flight

    @property
    def balance(self) -> int:
        """The balance in credits."""
        with self._lock:
            return self._balance

    def balance_usd(self) -> float:
        """The balance in US dollars."""
        return self.balance / CREDITS_PER_USD

    def logged(self, key: str, lag: float) -> list[Call]:
        """Calls of a key that named a model and ended at least `lag` seconds ago."""
        until = time.monotonic() - lag
        with self._lock:
            return [
                call
                for call in self._calls
                if call.done and call.ended <= until and call.key == key and call.model and call.status != 401
            ]

    def transactions(self, lag: float) -> list[Transaction]:
        """The opening balance and the charge of every call that ended at least `lag` seconds ago, oldest first."""
        until = time.monotonic() - lag
        with self._lock:
            charges = [
                (call.billed_at or call.at, call.credits, call.model, call.inference_id)
                for call in self._billed
                if call.done and call.ended <= until
            ]
        entries = [Transaction(1, self._opened_at, "TOPUP", "PAYMENT", self._opening)] if self._opening else []
        entries += [
            Transaction(number, at, "CHARGE", "MODEL_USAGE", credits_, model, reference)
            for number, (at, credits_, model, reference) in enumerate(charges, len(entries) + 1)
        ]
        return entries

    def bill(self) -> dict[str, Any]:
        """One entry per billed call, and the sum in credits."""
        with self._lock:
            entries = [
                {
                    "n": number,
                    "call": call.n,
                    "client_request_id": call.client_request_id,
                    "inference_id": call.inference_id,
                    "endpoint": call.endpoint,
                    "model": call.model,
                    "prompt": call.prompt,
                    "images": call.images,
                    "credits": call.credits,
                    "at": call.billed_at,
                }
                for number, call in enumerate(self._billed, 1)
            ]
            return {"entries": entries, "credits": sum(call.credits for call in self._billed)}

    def calls(self, since: int = 0) -> dict[str, Any]:
        """Every call received whose number is greater than `since`, and how many there are in all."""
        with self._lock:
            rows = [asdict(call) for call in self._calls[max(0, since) :]]
            for row in rows:
                del row["key"], row["ended"]
            return {"calls": rows, "total": len(self._calls)}

    def stats(self) -> dict[str, int]:
        """Paid calls in flight now and at most, paid calls in all, GETs of the CDN and the bytes sent."""
        with self._lock:
            return {
                "in_flight": self._in_flight,
                "max_in_flight": self._max_in_flight,
                "posts": self._posts,
                "cdn_gets": self._downloads,
                "bytes": self._bytes,
            }

    def reset(self) -> None:
        """Delete calls, bill, leaks and counters, and restore the balance. Calls in flight continue."""
        with self._lock:
            self._calls.clear()
            self._billed.clear()
            self._leaks.clear()
            self._balance = self._opening
            self._posts = self._downloads = self._bytes = 0
            self._max_in_flight = self._in_flight
