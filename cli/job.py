"""A run of the command line: all of it is checked first, then it is carried out and its progress shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import BadInput, ImagenError
from ..core.ledger import Ledger, open_ledger
from ..core.providers import Endpoint
from ..core.request import RunRequest
from ..core.run.checks import CheckedBatch, Prepared, check_request, prepare
from ..core.run.report import RunReport, make_report
from ..core.storage import open_store
from .console import stderr
from .exit_codes import INCOMPLETE, INTERRUPTED, OK, Terminated
from .progress import Progress
from .signals import orderly_stop

_LAST_SECONDS = 15.0
"""After the time to drain: for what was cut off to be recorded, and for the report."""

_STOPPING = "Stopping: nothing new is sent, what is in flight is recorded."


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its report, None where it had not begun, and the exit code."""

    report: RunReport | None
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run as the command line asks for it.

    Attributes:
        prompts: Path or URI of the prompts, or of a plan file; or the prompts.
        request: What to make of them, and how.
        to: Destination: `s3://bucket/prefix` or a folder.
        endpoint: The API.
        api_key: The key to it, never shown; None: that of the environment.
        catalog: URL or path of the ledger; may hold a password.
        store_options: Fields of `S3Options` and `ObjectOptions`.
    """

    prompts: str | list[str]
    request: RunRequest
    to: str
    endpoint: Endpoint
    catalog: str = field(repr=False)
    store_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    api_key: str | None = field(default=None, repr=False)

    def check(self) -> Ready:
        """Check first what needs no service, then the services. Sends nothing that costs.

        Raises:
            BadInput: Anything wrong with the input.
            Unavailable: A service does not answer.
        """
        client = self.endpoint.open(self.api_key)  # first of all: it says if there is no key
        store = open_store(self.to, **self.store_options)
        checked = check_request(
            self.prompts,
            self.request,
            self.endpoint,
            ledger=lambda: open_ledger(self.catalog),
            store=store,
        )
        prepared = prepare(self.request, client=client, ledger=open_ledger(self.catalog), store=store, checked=checked)
        return Ready(self, prepared, checked)


@dataclass(frozen=True, slots=True)
class Ready:
    """A job whose prompts and services were checked."""

    job: Job
    prepared: Prepared
    checked: CheckedBatch

    def run(self, carry_out: Callable[[Ready, Progress], RunReport], *, live: bool) -> Ended:
        """Carry it out, showing its progress on standard error.

        Args:
            carry_out: Runs the job to its end: `run_here`, or `run_in_prefect`.
            live: Show a moving bar.

        Raises:
            BadInput: The run found something that the check could not.
            Exception: A bug.
        """
        forms = self.checked.batch.forms()
        images_per_item = sum(form.num_images for form in forms) / len(forms)
        try:
            with (
                orderly_stop(_STOPPING, seconds=self.job.request.delivery.drain_seconds + _LAST_SECONDS),
                Progress(self.prepared.ledger, stderr(), images_per_item=images_per_item, live=live) as progress,
            ):
                report = carry_out(self, progress)
        except KeyboardInterrupt:
            return self._stopped(INTERRUPTED)
        except Terminated as stop:
            return self._stopped(stop.exit_code)
        except Exception as error:  # noqa: BLE001 - raised again, unless the run has begun and has a report
            report = report_after(error, self.prepared.ledger)
        finally:
            self.prepared.client.close()
        return Ended(report, OK if report.complete else INCOMPLETE)

    def _stopped(self, exit_code: int) -> Ended:
        """The report of a run that was stopped, from the ledger; what was in flight has been recorded."""
        ledger = self.prepared.ledger
        run_id = ledger.runs.latest(of_this_process=True)
        if run_id is None:
            return Ended(None, exit_code)
        report = make_report(ledger, run_id)
        if not report.complete:
            report = replace(report, outcome="Stopped", message="the run was stopped")
        ledger.runs.finish(run_id, report.outcome)
        return Ended(report, exit_code)


def report_after(error: Exception, ledger: Ledger) -> RunReport:
    """The report of a run that has begun, where it ended with an error.

    Raises:
        Exception: The error, if the user can correct it, if it is a bug, or if the run had not begun.
    """
    run_id = ledger.runs.latest(of_this_process=True)
    if run_id is None or isinstance(error, BadInput):
        raise error
    if isinstance(error, ImagenError):
        return make_report(ledger, run_id, outcome="Blocked", message=str(error))
    outcome = ledger.runs.get(run_id)["outcome"]
    if outcome is None:
        raise error
    # The run has ended on the ledger: only Prefect's answer about it is lost.
    return make_report(ledger, run_id, outcome=outcome)
