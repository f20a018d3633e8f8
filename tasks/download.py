"""Paid images are fetched and verified. Spends nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.request import RunRequest
from ..core.run.results import Batch, Downloaded
from .runtime import Catalog, Credentials, RunConfig, Store, attached


@task(name="download_images", task_run_name="download_images", cache_policy=NO_CACHE)
def download_images(
    batch: Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Downloaded:
    """Fetch images into the spool and decode each of them whole. A URL that serves no image twice is quarantined.

    Args:
        batch: From `generate_images`, or any items of a run.
        credentials: Only says which API's own addresses are trusted; the key is never sent to a download.
        store: Where images go: owned images that are not there are fetched from where they are.
        catalog: The ledger; None for this user's own.
        request: Spool folder, threads.

    Returns:
        One entry an image. A failed download is an entry, not an exception.

    Raises:
        SpoolUnavailable: The disk is full or read-only.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest(), buys=False)
    with attached(batch.run_id, config) as (run, _):
        return run.download(batch)
