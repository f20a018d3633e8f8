"""Asking the provider's log about calls that may have been billed: it knows, where it has a row, and never costs.

failed      nothing was billed: the call is unbilled, its item can be bought as if nothing had been sent
succeeded   it was billed, and its answer is lost: the log has no image. The item is lost, for the reason "reply"
no row      the log lags, or another key was used: the call stays unknown
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import ImagenError
from ..ledger import Answered, ItemState, Ledger, Outcome, Unbilled
from ..ledger.conditions import LOG
from ..providers import Clients, ImageClient
from ..providers.errors import ApiError, RateLimited
from ..providers.logs import LOG_PAGE, LOG_REQUESTS_A_MINUTE, LogRow

LOST_REASON = "reply: the API's log says that the call was billed; its answer is lost"
FAILED_REASON = "the API's log says that the call failed and was not billed"
_SKEW = timedelta(minutes=2)
_LONGEST = timedelta(hours=6)
_SPARE = 20  # requests a minute that are left to others who use the key


@dataclass(frozen=True, slots=True)
class Asked:
    """What the log said.

    Attributes:
        billed: Succeeded: billed, and their answers are lost.
        silent: Not in the log, or not to be told by it.
        problem: Why it could not be asked to the end; empty otherwise.
    """

    calls: int = 0
    unbilled: int = 0
    billed: int = 0
    silent: int = 0
    problem: str = ""

    def __add__(self, other: Asked) -> Asked:
        return Asked(
            self.calls + other.calls,
            self.unbilled + other.unbilled,
            self.billed + other.billed,
            self.silent + other.silent,
            "; ".join(filter(None, (self.problem, other.problem))),
        )


def ask_logs(
    ledger: Ledger,
    clients: Clients,
    *,
    run_id: str | None = None,
    item_ids: Sequence[str] | None = None,
    seconds: float = 600.0,
) -> Asked:
    """Ask every provider that the ledger has bought from, that has a log, and that there is a key for.

    Args:
        run_id: As of `ask_log`, and so the others.
    """
    asked = Asked()
    for provider in dict.fromkeys([clients.main.provider.name, *(one.provider for one in ledger.accounts)]):
        client = clients.known(provider)
        if client is None or not client.has_log:
            continue
        try:
            if client is not clients.main and ledger.mismatch(client.origin(), provider):
                continue  # its key is for another place than the one that was bought from
        except ImagenError as error:
            asked += Asked(problem=str(error))
            continue
        asked += ask_log(ledger, client, run_id=run_id, item_ids=item_ids, seconds=seconds)
    return asked


def ask_log(
    ledger: Ledger,
    client: ImageClient,
    *,
    run_id: str | None = None,
    item_ids: Sequence[str] | None = None,
    seconds: float = 600.0,
    sleep: Callable[[float], object] = time.sleep,
) -> Asked:
    """Look up a provider's unknown calls of a run's items, of some items, or of the whole ledger; record what is found.

    Args:
        client: With the key that the calls were made with; another key's log does not have them.
        run_id: Calls for the items of this run only, whichever run sent them.
        seconds: How long to go on asking; the log answers 200 requests a minute.
    """
    if not client.has_log:
        return Asked()
    unknown = [
        call
        for call in reversed(ledger.calls.unknown(run_id=run_id, item_ids=item_ids))
        if call["provider"] in (None, client.provider.name)
    ]
    pace = _Pace(seconds, sleep)
    unbilled = billed = 0
    problem = ""
    for window in _windows(unknown):
        wanted = {call["client_request_id"] for call in window}
        try:
            for row in _rows(client, window[0]["sent_at"] - _SKEW, window[-1]["sent_at"] + _SKEW, pace):
                outcome = _outcome(row)
                if row.client_request_id not in wanted or outcome is None:
                    continue
                wanted.remove(row.client_request_id)
                if ledger.calls.settle(row.client_request_id, outcome):
                    unbilled += isinstance(outcome, Unbilled)
                    billed += isinstance(outcome, Answered)
                if not wanted:
                    break
        except ApiError as error:
            problem = str(error)
        except _OutOfTime:
            problem = f"not all could be asked within {seconds:g} s"
        except ImagenError as error:
            problem = str(error)
        if problem:
            break
    return Asked(len(unknown), unbilled, billed, len(unknown) - unbilled - billed, problem)


def _outcome(row: LogRow) -> Outcome | None:
    if row.succeeded:
        # A charge is recorded a little after the call: a success that cost nothing yet tells nothing.
        if not row.credits:
            return None
        return Answered(
            [], row.credits, LOG, inference_id=row.inference_id, request_id=row.request_id, reason=LOST_REASON
        )
    # The docs say a failed request is billed nothing. A row that says otherwise is no answer.
    return None if row.credits else Unbilled(FAILED_REASON, ItemState.PLANNED, request_id=row.request_id)


def _windows(unknown: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Calls that were sent about the same time, together: few pages, and none of an idle week."""
    window: list[dict[str, Any]] = []
    for call in unknown:
        if window and (
            call["sent_at"] - window[-1]["sent_at"] > 2 * _SKEW or call["sent_at"] - window[0]["sent_at"] > _LONGEST
        ):
            yield window
            window = []
        window.append(call)
    if window:
        yield window


class _OutOfTime(Exception):
    """The time for asking is over."""


class _Pace:
    """Keeps below the log's own limit."""

    def __init__(self, seconds: float, sleep: Callable[[float], object]) -> None:
        self._deadline = time.monotonic() + seconds
        self._sleep = sleep
        self._sent: deque[float] = deque()

    def wait(self, seconds: float = 0.0) -> None:
        now = time.monotonic()
        while self._sent and now - self._sent[0] >= 60.0:
            self._sent.popleft()
        if len(self._sent) >= LOG_REQUESTS_A_MINUTE - _SPARE:
            seconds = max(seconds, self._sent[0] + 60.0 - now)
        if now + seconds > self._deadline:
            raise _OutOfTime
        if seconds > 0:
            self._sleep(seconds)
        self._sent.append(time.monotonic())


def _rows(client: ImageClient, start: datetime, end: datetime, pace: _Pace) -> Iterator[LogRow]:
    offset = 0
    refused = False
    while True:
        pace.wait(20.0 if refused else 0.0)
        try:
            page = client.log(start, end, offset)
        except RateLimited:
            if refused:
                raise
            refused = True
            continue
        refused = False
        yield from page.rows
        if not page.more:
            return
        offset += LOG_PAGE
