"""Carrying a job out as a flow run, in the configured Prefect API or in a temporary server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.files import home
from ..core.request import RunRequest
from ..core.run.checks import handed_over
from ..core.run.report import IncompleteRun, RunReport
from ..core.storage import LocalStore, S3Store
from .prefect_server import LocalPrefect, configured_api

if TYPE_CHECKING:
    from .job import Ready
    from .progress import Progress


def run_in_prefect(ready: Ready, progress: Progress, server: LocalPrefect | None = None) -> RunReport:
    """Run a job to its end, in this thread.

    Args:
        ready: The job.
        progress: Told of what is done before the first image.
        server: A server that was started already; None for the configured API, or where there is none a new server.

    Raises:
        Exception: What the flow raised.
    """
    progress.phase("starting Prefect")
    if server is None and configured_api() is None:
        server = LocalPrefect(home() / "logs" / "prefect-server.log").start()
    from prefect.exceptions import MissingResult

    from ..flows import imagen_pipeline

    if server is not None:
        server.wait()
    progress.phase("planning")
    with handed_over(ready.prepared):
        state = imagen_pipeline(**_parameters(ready), return_state=True)
    try:
        result = state.result(raise_on_failure=False)
    except MissingResult as error:
        result = error
    if isinstance(result, IncompleteRun):
        return result.report
    if isinstance(result, RunReport):
        return result
    if isinstance(result, BaseException):
        raise result
    raise TypeError(f"the flow returned a {type(result).__name__}")


def _parameters(ready: Ready) -> dict[str, Any]:
    """The flow's parameters. Key and catalog are blocks, so that no secret is a parameter."""
    from pydantic import SecretStr

    from ..blocks import ImageCatalog
    from ..blocks.credentials import credentials_for

    job = ready.job
    return {
        **{name: getattr(job.request, name) for name in RunRequest.model_fields},
        "prompts": job.prompts,
        "store": _store_block(ready),
        "credentials": credentials_for(job.endpoint, job.api_key),
        "catalog": ImageCatalog(url=SecretStr(job.catalog)),
    }


def _store_block(ready: Ready) -> Any:
    from ..blocks import LocalImageStore, S3ImageStore

    store = ready.prepared.store
    if isinstance(store, S3Store):
        return S3ImageStore(bucket=store.bucket, prefix=store.prefix, **ready.job.store_options)
    if not isinstance(store, LocalStore):
        raise TypeError(f"there is no block for a {type(store).__name__}")
    return LocalImageStore(folder=str(store.root))
