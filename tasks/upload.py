"""Verified files become objects. Spends nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.ledger import ImageState
from ..core.request import RunRequest
from ..core.run.results import Downloaded, Uploaded
from .runtime import Catalog, RunConfig, StepUnavailable, Store, attached, unavailable_only


@task(
    name="upload_images",
    task_run_name="upload_images",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=unavailable_only,
)
def upload_images(
    downloaded: Downloaded,
    store: Store,
    *,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Uploaded:
    """Put files into the store, create-only, with checksum and content type; the provider's bytes are kept as they are.

    Args:
        downloaded: From `download_images`.
        store: Block, slug or address.
        catalog: The ledger; None for this user's own.
        request: Key template, patience, threads.

    Returns:
        One entry an image. An image that could not be stored is an entry, not an exception.

    Raises:
        StepUnavailable: Nothing at all could be stored, since the store is down.
        BadInput: The store cannot be used.
    """
    config = RunConfig(None, store, catalog, request or RunRequest(), buys=False)
    with attached(downloaded.run_id, config) as (run, alone):
        uploaded = run.upload(downloaded)
    results = uploaded.results
    if alone and results and all(result.state is ImageState.PENDING for result in results):
        raise StepUnavailable(results[0].reason or "nothing could be stored")
    return uploaded
