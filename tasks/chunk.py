"""One chunk of a run, all the way: (rewrite →) generate → download → upload → catalog, in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.utilities.annotations import quote

from ..core.request import RunRequest
from ..core.run.results import Batch, Cataloged, Downloaded, Generated, Rewritten, Uploaded
from .runtime import RunConfig, shared_run
from .steps import catalog_images, download_images, generate_images, rewrite_prompts, upload_images


@dataclass(frozen=True, slots=True)
class _TaskRuns:
    """The steps of a chunk as task runs of their own."""

    credentials: str | None
    store: str | None
    catalog: str | None
    request: RunRequest

    def rewrite(self, batch: Batch) -> Rewritten:
        return rewrite_prompts(batch, self.credentials, store=self.store, catalog=self.catalog, request=self._as_it_is)

    def generate(self, batch: Batch) -> Generated:
        return generate_images(batch, self.credentials, store=self.store, catalog=self.catalog, request=self._as_it_is)

    def download(self, batch: Batch) -> Downloaded:
        return download_images(batch, self.credentials, store=self.store, catalog=self.catalog, request=self._as_it_is)

    def upload(self, downloaded: Downloaded) -> Uploaded:
        return upload_images(downloaded, self.store, catalog=self.catalog, request=self._as_it_is)

    def record(self, uploaded: Uploaded) -> Cataloged:
        return catalog_images(uploaded, catalog=self.catalog, request=self._as_it_is)

    @property
    def _as_it_is(self) -> Any:
        """The request, in which Prefect need not look for futures, field by field."""
        return quote(self.request)


@task(name="imagen_chunk", task_run_name="chunk-{number} ({size} items)", cache_policy=NO_CACHE)
def process_chunk(
    batch: Batch,
    number: int,
    size: int,
    credentials: str | None,
    store: str | None,
    catalog: str | None,
    request: RunRequest,
) -> State[Mapping[str, int]]:
    """Take a batch of items through the chain. Its steps are task runs of their own, in this process.

    It has no retries: its steps have, and a second buying round is the next run's business.

    Args:
        batch: Items of a run.
        number: For the run's name.
        size: For the run's name.
        credentials: Reference; a distributed task runner ships it, so never the block itself.
        store: Reference.
        catalog: Reference.
        request: Limits, policy and delivery of the run.

    Returns:
        A state whose message counts the items by state.
    """
    config = RunConfig(credentials, store, catalog, request)
    with shared_run(batch.run_id, lambda: config.attach(batch.run_id)) as run:
        return _finished(run.process(batch, _TaskRuns(credentials, store, catalog, request)))


def _finished(states: Mapping[str, int]) -> State[Any]:
    return Completed(message=", ".join(f"{count} {state}" for state, count in sorted(states.items())), data=states)
