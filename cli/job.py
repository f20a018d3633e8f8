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
from ..core.money import usd_to_credits
from ..core.plan import AnyBatch
from ..core.run.checks import check_batch, check_services, with_terms
from ..core.run.report import IncompleteRun, RunReport, make_report
from ..core.run.services import RunSettings
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
        settings: How to go about it.
        store_options: Fields of `S3Options` and `ObjectOptions`.
        chunk_size: Items a chunk, or `auto`.
        budget_usd: The run's cap.
        tags: Labels.
        on_incomplete: What Prefect shows a run as that leaves something undone: `fail` or `warn`.
        adopt_ledger: Take over a destination of another ledger.
        offline: Do not ask the API's catalogue first.
    """

    batch: Batch
    to: str
    api_key: str = field(repr=False)
    base_url: str
    catalog: str = field(repr=False)
    settings: RunSettings
    store_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    chunk_size: str | int = "auto"
    budget_usd: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_incomplete: str = "fail"
    adopt_ledger: bool = False
    offline: bool = False

    def check(self) -> Ready:
        """Check all of it: first what needs no service, then the services. Sends nothing that costs.

        Raises:
            BadInput: Anything wrong with the input.
            Unavailable: A service does not answer.
        """
        if isinstance(self.chunk_size, int) and not 1 <= self.chunk_size <= 1000:
            raise BadInput(f"--chunk-size: {self.chunk_size} is not allowed (1 to 1000, or auto)")
        budget = usd_to_credits(self.budget_usd) if self.budget_usd is not None else None
        if not self.api_key:
            AimlApiClient(self.api_key, base_url=self.base_url)  # says what is missing
        batch = with_terms(self.batch.spec(), normalise_base_url(self.base_url), offline=self.offline)
        prompts = check_batch(batch, budget=budget)
        client = AimlApiClient(self.api_key, base_url=self.base_url)
        store = open_store(self.to, **self.store_options)
        ledger = open_ledger(self.catalog)
        check_services(client, ledger, store, adopt=self.adopt_ledger, tags=self.tags)
        client.close()
        return Ready(self, batch, ledger, store, prompts)


@dataclass(frozen=True, slots=True)
class Ready:
    """A job that can be run. `batch` is what it asks for, on today's terms, `prompts` how many there are."""

    job: Job
    batch: AnyBatch
    ledger: Ledger
    store: ObjectStore
    prompts: int

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
                orderly_stop(_STOPPING, seconds=self.job.settings.drain_seconds + _LAST_SECONDS),
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

        job, settings = self.job, self.job.settings
        return {
            **job.batch.flow_parameters(),
            "store": self._store_block(),
            "credentials": AimlApiCredentials(api_key=SecretStr(job.api_key), base_url=job.base_url),
            "catalog": ImageCatalog(url=SecretStr(job.catalog)),
            "tags": dict(job.tags) or None,
            "budget_usd": job.budget_usd,
            "concurrency": settings.concurrency,
            "requests_per_minute": settings.requests_per_minute,
            "shared_concurrency": settings.shared_concurrency,
            "chunk_size": job.chunk_size,
            "on_incomplete": job.on_incomplete,
            "unknown": settings.unknown,
            "retry_refused": settings.retry_refused,
            "patience": settings.patience,
            "drain_seconds": settings.drain_seconds,
            "spool_max_bytes": settings.spool_max_bytes,
            "key_template": settings.key_template,
            "trust_unbilled_5xx": settings.purchase.trust_unbilled_5xx,
            "rewrite_fallback": settings.purchase.rewrite_fallback.value,
            "adopt_ledger": job.adopt_ledger,
            "ask_catalogue": not job.offline,
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
