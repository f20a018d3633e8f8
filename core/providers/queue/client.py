"""The client of a queue: submit, remember the id, ask how it stands, fetch the result. In fal's form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from ...http.exchange import KeyAuth
from ...http.memory import reading_needs, working_budget
from ..addresses import api_origin
from ..client import ImageClient, RawReply, Recovery, WireRequest
from ..errors import BadKey, CannotRecover, NotSent, ReplyLost, UnreadableReply, status_error
from ..reply import read_object
from ..request import ImageRequest

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_STEP = 0.1
_MOST_FAILURES = 6
"""Questions in a row without an answer. A queue may not know a job at once; asked so often, it has lost it."""

_NOT_YET = frozenset({404, 408, 425, 429})
_ENDED = frozenset({"COMPLETED", "OK", "SUCCEEDED", "FAILED", "ERROR", "CANCELLED", "CANCELED"})


class QueueClient(ImageClient):
    """`POST {base}/{model}`, then `status_url` and `response_url` as the answer gives them (docs.fal.ai, queue)."""

    default_path = ""

    def authentication(self, key: str) -> KeyAuth:
        return KeyAuth(key, "Authorization", "Key ")

    def wire(self, request: ImageRequest, *, seed: int | None = None) -> WireRequest:
        body = request.body(seed=seed)
        del body["model"]
        return WireRequest(f"/{quote(request.model.wire_model)}", body)

    def check_key(self) -> Decimal | None:
        """Ask for a job that cannot be: a bad key is refused before it is looked for."""
        path = f"{urlsplit(self.base_url).path}/fal-ai/flux/requests/00000000-0000-0000-0000-000000000000/status"
        answer = self._get(path, key=True)
        error = status_error(answer.status, answer.body) if answer.status >= 400 else None
        if isinstance(error, BadKey):
            raise error
        return None

    def ask(
        self,
        request: ImageRequest,
        call_id: str,
        *,
        seed: int | None = None,
        on_job: Callable[[Recovery], object] | None = None,
    ) -> RawReply:
        submitted = super().ask(request, call_id, seed=seed)
        job = _job_of(submitted)
        if job is None:
            return submitted
        del submitted  # its memory is given back before more is asked for
        if on_job is not None:
            on_job(job)
        return self._result(job)

    def recover(
        self, recovery: Recovery, call_id: str, request: ImageRequest | None, *, seed: int | None = None
    ) -> RawReply:
        if not {"job", "status_url", "response_url"} <= set(recovery):
            raise CannotRecover("the provider's id of the call is not known")
        return self._result(recovery)

    def _result(self, job: Recovery) -> RawReply:
        """Wait until a job is done, and fetch its result. All of it is free, and asked again where it fails.

        Raises:
            ReplyLost: It was not done in time, or the queue does not know it.
        """
        deadline, cuts = time.monotonic() + self._read_timeout, self._cuts
        url, done = job["status_url"], False
        pause, failed = _FIRST_PAUSE, 0
        while True:
            answer = self._look(url)
            if answer is None or answer.cut is not None or answer.status in _NOT_YET or answer.status >= 500:
                failed += 1
            elif not done and answer.status < 300:
                failed = 0
                if _state(answer) in _ENDED:
                    url, done, pause = job["response_url"], True, _FIRST_PAUSE
                    continue
            elif not (done and answer.status == 202):
                return answer
            if failed >= _MOST_FAILURES:
                if answer is not None and done and answer.cut is None:
                    return answer
                raise ReplyLost(f"the queue does not tell of job {job['job']}; it may have been billed")
            self._wait(min(pause, deadline - time.monotonic()), cuts, job)
            pause = min(_LONGEST_PAUSE, pause * 1.5)

    def _look(self, url: str) -> RawReply | None:
        """Ask a URL of the queue, which gets the key if it is one of its own; None without an answer."""
        whole = urljoin(f"{self.base_url}/", url)
        try:
            return self._exchange("GET", whole, {}, key=api_origin(whole) == self.address)
        except (NotSent, ReplyLost):
            return None

    def _wait(self, seconds: float, cuts: int, job: Recovery) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self._cuts == cuts:
            time.sleep(min(_STEP, left))
        if seconds <= 0 or self._cuts != cuts:
            raise ReplyLost(f"job {job['job']} was not done in time; its result can be asked for later")


def _job_of(submitted: RawReply) -> Recovery | None:
    """The job that an answer names; None if it names none."""
    document = _object(submitted)
    found = {
        "job": document.get("request_id"),
        "status_url": document.get("status_url"),
        "response_url": document.get("response_url"),
    }
    if submitted.status >= 300 or not all(isinstance(value, str) and value for value in found.values()):
        return None
    return {name: str(value) for name, value in found.items()}


def _state(answer: RawReply) -> str:
    return str(_object(answer).get("status", "")).upper()


def _object(answer: RawReply) -> Mapping[str, Any]:
    with suppress(UnreadableReply), working_budget().holding(reading_needs(len(answer.body))):
        return read_object(answer.body)
    return {}
