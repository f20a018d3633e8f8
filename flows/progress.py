"""How far a run is, as a progress artifact that follows it, and what it cost, as a label of its flow run."""

from __future__ import annotations

import contextvars
import threading
import time
from http import HTTPStatus
from types import TracebackType
from typing import Any
from uuid import UUID

import httpx
import prefect.runtime
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client

from ..core.errors import ImagenError
from ..core.ledger import Ledger, RunProgress
from ..core.run.progress import Speed, done_percent, money, status_line

MONEY_LABEL = "prefect-imagen.money"
"""Label of a flow run with its money as last counted. A notification reads it: a dead process cannot tell its cost."""

_LOOK_SECONDS = 2.0
_SECONDS = 5.0
_PERCENT = 2.0
_IDLE_SECONDS = 60.0
_END_SECONDS = 5.0
_BUSY_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)


class ProgressArtifact:
    """A progress artifact while it is open: items that are dealt with, money, rate, and the time that is left.

    It asks the ledger, in a thread of its own. It is written when 2 % more are done and 5 seconds have passed; where
    less is done, once a minute. A Prefect server that is slow or gone is no trouble of the run's: the run neither
    waits for it nor fails with it.

    Args:
        ledger: To ask.
        run_id: The run, begun.
        images_per_item: Images that an item asks for, on average.
    """

    def __init__(self, ledger: Ledger, run_id: str, *, images_per_item: float) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._images_per_item = images_per_item
        self._speed = Speed()
        self._done = threading.Event()
        self._artifact: UUID | None = None
        self._written = (0.0, 0.0)
        self._complaint = ""
        context = contextvars.copy_context()  # where Prefect keeps which run this is, and which server
        self._thread = threading.Thread(target=context.run, args=(self._watch,), name="imagen-artifact", daemon=True)

    def __enter__(self) -> ProgressArtifact:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(_END_SECONDS)
        if self._complaint:
            get_run_logger().warning("the progress artifact is incomplete: %s", self._complaint)

    def _watch(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            # A large run is expensive to count: the run itself must not feel it.
            pause = max(_LOOK_SECONDS, self._look(last=False) * 20)
        self._look(last=True)

    def _look(self, *, last: bool) -> float:
        """Count, and write what is due; returns the seconds that counting took."""
        began = time.monotonic()
        try:
            progress = self._ledger.runs.progress(self._run_id)
        except ImagenError:
            return time.monotonic() - began  # the run itself says so
        now = time.monotonic()
        self._speed.add(now, progress.images - round(progress.owned * self._images_per_item))
        percent = done_percent(progress)
        moment, before = self._written
        elapsed = now - moment
        due = self._artifact is None or elapsed >= _IDLE_SECONDS
        if last or due or (elapsed >= _SECONDS and percent - before >= _PERCENT):
            self._write(percent, progress, last=last)
            self._written = (now, percent)
        return now - began

    def _write(self, percent: float, progress: RunProgress, *, last: bool) -> None:
        text = status_line(progress, self._images_per_item, 0 if last else self._speed.per_second)
        try:
            if self._artifact is None:
                made = create_progress_artifact(percent, key="imagen-progress", description=text)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, percent, description=text)
            if not last:  # what is exact then is written once the run has ended
                label_money(money(progress))
        except Exception as error:  # noqa: BLE001 - for people to look at; it never changes how a run ends
            self._complaint = f"{type(error).__name__}: {error}"
        else:
            self._complaint = ""


def label_money(text: str) -> None:
    """Put what a run has cost onto its flow run, if it has one; see `MONEY_LABEL`."""
    flow_run_id = prefect.runtime.flow_run.id
    if flow_run_id is None:
        return
    labels: dict[str, Any] = {MONEY_LABEL: text}
    with get_client(sync_client=True) as client:
        # A server on SQLite answers 503 while another of its writers has the lock: for milliseconds. Prefect's client
        # would wait two seconds before it says so or tries again, and the end of the run with it.
        http = client._client
        for pause in _BUSY_PAUSES:
            request = http.build_request("PATCH", f"/flow_runs/{flow_run_id}/labels", json=labels)
            answer = httpx.Client.send(http, request)  # without its retries
            if answer.is_success:
                return
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            time.sleep(pause)
        client.update_flow_run_labels(UUID(str(flow_run_id)), labels)
