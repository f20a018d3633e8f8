"""Carrying a run out: everything is checked before Prefect is even imported, then the flow runs in this thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.aimlapi import AimlApiClient
from ..core.aimlapi.client import normalise_base_url
from ..core.errors import BadInput, ImagenError
from ..core.files import home
from ..core.ledger import Ledger, open_ledger
from ..core.plan import AnyBatch
from ..core.request import RunRequest
from ..core.run.checks import CheckedBatch, Prepared, check_request, handed_over, prepare
from ..core.run.report import IncompleteRun, RunReport, make_report
from ..core.storage import LocalStore, ObjectStore, S3Store, open_store
from .batch import Batch
from .console import stderr
from .failures import INCOMPLETE, INTERRUPTED, OK, Terminated
from .prefect_server import LocalPrefect, configured_api
from .progress import Progress
from .signals import orderly_stop

__all__ = ["Ended", "Job", "Ready"]

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
        batch: Prompts, model, parameters.
        to: Destination: `s3://bucket/prefix` or a folder.
        api_key: Never shown.
        base_url: Of the API.
        catalog: URL or path of the ledger; may hold a password.
        store_options: Fields of `S3Options` and `ObjectOptions`.
        options: Further options of the run by the names of their flags.
    """

    batch: Batch
    to: str
    api_key: str = field(repr=False)
    base_url: str
    catalog: str = field(repr=False)
    store_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> RunRequest:
        """All options."""
        return RunRequest.by_flag({**self.batch.flags(), **self.options})

    def check(self) -> Ready:
        """Check all of it: first what needs no service, then the services. Sends nothing that costs.

        Raises:
            BadInput: Anything wrong with the input.
            Unavailable: A service does not answer.
        """
        if not self.api_key:
            AimlApiClient(self.api_key, base_url=self.base_url)  # says what is missing
        request = self.request
        checked = check_request(self.batch.prompts, request, normalise_base_url(self.base_url))
        client = AimlApiClient(self.api_key, base_url=self.base_url)
        store = open_store(self.to, **self.store_options)
        ledger = open_ledger(self.catalog)
        return Ready(self, prepare(request, client=client, ledger=ledger, store=store, checked=checked))


@dataclass(frozen=True, slots=True)
class Ready:
    """A job whose batch and services were checked."""

    job: Job
    prepared: Prepared

    @property
    def batch(self) -> AnyBatch:
        """What is bought, at today's prices."""
        return self._checked.batch

    @property
    def prompts(self) -> int:
        """How many prompts can be run."""
        return self._checked.prompts

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self.prepared.ledger

    @property
    def store(self) -> ObjectStore:
        """The destination."""
        return self.prepared.store

    @property
    def _checked(self) -> CheckedBatch:
        if self.prepared.checked is None:
            raise TypeError("a job has a batch")
        return self.prepared.checked

    def run(self, *, verbose: bool, live: bool, server: LocalPrefect | None = None) -> Ended:
        """Run it, showing its progress on standard error.

        Args:
            verbose: Let Prefect log as it does.
            live: Show a moving bar.
            server: A Prefect server that was started already; None for the configured one or a new local one.

        Raises:
            BadInput: The flow found something that the check could not.
            Exception: A bug.
        """
        forms = self.batch.forms()
        images_per_item = sum(form.num_images for form in forms) / len(forms)
        console = stderr()
        try:
            with (
                orderly_stop(_STOPPING, seconds=self.prepared.request.delivery.drain_seconds + _LAST_SECONDS),
                Progress(self.ledger, console, images_per_item=images_per_item, live=live) as progress,
            ):
                progress.phase("starting Prefect")
                if server is None and configured_api() is None:
                    server = LocalPrefect(home() / "logs" / "prefect-server.log").start()
                from ..flows import imagen_pipeline

                parameters = self._parameters()
                if server is not None:
                    server.wait()
                progress.phase("checking and planning")
                with handed_over(self.prepared):
                    state = imagen_pipeline(**parameters, return_state=True)
                result = _result(state)
        except (KeyboardInterrupt, Terminated) as stop:
            return self._stopped(Terminated.exit_code if isinstance(stop, Terminated) else INTERRUPTED)
        if isinstance(result, IncompleteRun):
            return Ended(result.report, INCOMPLETE)
        if isinstance(result, RunReport):
            return Ended(result, OK if result.complete else INCOMPLETE)
        return self._broken(result)

    def _parameters(self) -> dict[str, Any]:
        """The flow's parameters. Blocks, so that neither the key nor a password is one."""
        from pydantic import SecretStr

        from ..blocks import AimlApiCredentials, ImageCatalog

        job, request = self.job, self.prepared.request
        own = {name: getattr(request, name) for name in RunRequest.model_fields}
        return {
            **own,
            "prompts": job.batch.prompts,
            "store": self._store_block(),
            "credentials": AimlApiCredentials(api_key=SecretStr(job.api_key), base_url=job.base_url),
            "catalog": ImageCatalog(url=SecretStr(job.catalog)),
        }

    def _store_block(self) -> Any:
        from ..blocks import LocalImageStore, S3ImageStore

        if isinstance(self.store, S3Store):
            return S3ImageStore(bucket=self.store.bucket, prefix=self.store.prefix, **self.job.store_options)
        if not isinstance(self.store, LocalStore):
            raise TypeError(f"there is no block for a {type(self.store).__name__}")
        return LocalImageStore(folder=str(self.store.root))

    def _stopped(self, exit_code: int) -> Ended:
        """The report of a run that was stopped, from the ledger; what was in flight has been recorded."""
        run_id = self.ledger.runs.latest(of_this_process=True)
        if run_id is None:
            return Ended(None, exit_code)
        report = make_report(self.ledger, run_id)
        if not report.complete:
            report = replace(report, outcome="Stopped", message="the run was stopped")
        self.ledger.runs.finish(run_id, report.outcome)
        return Ended(report, exit_code)

    def _broken(self, error: Any) -> Ended:
        """The flow raised: bad input is the user's to mend, a service that left ends the run, the rest is a bug.

        But for a run that has ended on the ledger: where a busy server was told so twice, it answers with a state that
        has no result.
        """
        run_id = self.ledger.runs.latest(of_this_process=True)
        if run_id is not None and not isinstance(error, BadInput):
            outcome = self.ledger.runs.get(run_id)["outcome"]
            if isinstance(error, ImagenError):
                report = make_report(self.ledger, run_id, outcome="Blocked", message=str(error))
                return Ended(report, INCOMPLETE)
            if outcome is not None:
                report = make_report(self.ledger, run_id, outcome=outcome)
                return Ended(report, OK if report.complete else INCOMPLETE)
        if isinstance(error, BaseException):
            raise error
        raise TypeError(f"the flow returned a {type(error).__name__}")


def _result(state: Any) -> Any:
    """What a flow returned or raised; an exception, too, if it is not there any more."""
    from prefect.exceptions import MissingResult

    try:
        return state.result(raise_on_failure=False)
    except MissingResult as error:
        return error
