"""One chunk of a run, all the way: (rewrite →) generate → download → upload → catalog, in one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from ..core.run.services import RunSettings
from .attached import Catalog, Credentials, Store, Work, shared_context
from .catalog import catalog_images
from .download import download_images
from .generate import generate_images
from .manifests import Batch
from .rewrite import rewrite_prompts
from .upload import upload_images

__all__ = ["process_chunk"]


@task(name="imagen_chunk", task_run_name="chunk-{number} ({size} items)", cache_policy=NO_CACHE)
def process_chunk(
    batch: Batch,
    number: int,
    size: int,
    credentials: Credentials,
    store: Store,
    catalog: Catalog,
    settings: RunSettings,
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
        settings: How to go about it.

    Returns:
        A state whose message counts the items by state.
    """
    with shared_context(batch.run_id, Work(credentials, store, catalog, settings)) as context:
        try:
            # What is bought sets off for the store at once; the steps after the first collect what has arrived.
            with context.delivery_queue.tracking(batch.item_ids):
                if context.ledger.rewrites.missing(
                    batch.item_ids, unknown=settings.unknown, retry_refused=settings.retry_refused
                ):
                    rewrite_prompts(batch, credentials, store=store, catalog=catalog, settings=settings)
                generated = generate_images(batch, credentials, store=store, catalog=catalog, settings=settings)
                if generated.item_ids:
                    downloaded = download_images(
                        generated, credentials, store=store, catalog=catalog, settings=settings
                    )
                    uploaded = upload_images(downloaded, store, catalog=catalog, settings=settings)
                    catalog_images(uploaded, catalog=catalog, settings=settings)
        finally:
            context.ledger.items.release(batch.item_ids)
        states: dict[str, int] = dict(
            Counter(state.value for state in context.ledger.items.states(batch.item_ids).values())
        )
    return _finished(states)


def _finished(states: Mapping[str, int]) -> State[Any]:
    return Completed(message=", ".join(f"{count} {state}" for state, count in sorted(states.items())), data=states)
