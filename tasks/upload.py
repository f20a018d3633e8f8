"""Verified files become objects. Spends nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.ledger import ImageState
from ..core.run.services import RunSettings
from .attached import Catalog, StepUnavailable, Store, Work, attached
from .manifests import Downloaded, Rows, Uploaded
from .retries import unavailable_only

__all__ = ["upload_images"]


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
    settings: RunSettings | None = None,
) -> Uploaded:
    """Put files into the store, create-only, with checksum and content type; the provider's bytes are kept as they are.

    Args:
        downloaded: From `download_images`.
        store: Block, slug or address.
        catalog: The ledger; None for this user's own.
        settings: Key template, patience, threads.

    Returns:
        One entry an image. An image that could not be stored is an entry, not an exception.

    Raises:
        StepUnavailable: Nothing at all could be stored, since the store is down.
        BadInput: The store cannot be used.
    """
    work = Work(None, store, catalog, settings or RunSettings(), buys=False)
    with attached(downloaded.run_id, work) as (context, alone):
        results = context.delivery_queue.upload(downloaded.files)
    if alone and results and all(result.state is ImageState.PENDING for result in results):
        raise StepUnavailable(results[0].reason or "nothing could be stored")
    return Uploaded(downloaded.run_id, downloaded.item_ids, Rows(results))
