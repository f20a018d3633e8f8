"""Paid images are fetched and verified. Spends nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.run.services import RunSettings
from .attached import Catalog, Credentials, Store, Work, attached
from .manifests import Batch, Downloaded, Rows

__all__ = ["download_images"]


@task(name="download_images", task_run_name="download_images", cache_policy=NO_CACHE)
def download_images(
    batch: Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    settings: RunSettings | None = None,
) -> Downloaded:
    """Fetch images into the spool and decode each of them whole. A URL that serves no image twice is quarantined.

    Args:
        batch: From `generate_images`, or any items of a run.
        credentials: Only says which API's own addresses are trusted; the key is never sent to a download.
        store: Where images go: owned images that are not there are fetched from where they are.
        catalog: The ledger; None for this user's own.
        settings: Spool folder, threads.

    Returns:
        One entry an image. A failed download is an entry, not an exception.

    Raises:
        SpoolUnavailable: The disk is full or read-only.
    """
    work = Work(credentials, store, catalog, settings or RunSettings(), buys=False)
    with attached(batch.run_id, work) as (context, _):
        tasks = context.ledger.images.to_deliver(batch.item_ids, destination=context.destination)
        files = context.delivery_queue.download(tasks)
    return Downloaded(batch.run_id, batch.item_ids, Rows(files))
