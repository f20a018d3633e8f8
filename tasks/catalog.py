"""Confirmed objects become rows of the catalog. Spends nothing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.request import RunRequest
from ..core.run.results import Cataloged, Uploaded
from .runtime import Catalog, RunConfig, attached


@task(name="catalog_images", task_run_name="catalog_images", cache_policy=NO_CACHE)
def catalog_images(
    uploaded: Uploaded,
    *,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Cataloged:
    """Record the outcome of each image and item in one transaction, then clear the spool and release the items.

    Args:
        uploaded: From `upload_images`.
        catalog: The ledger; None for this user's own.
        request: Spool folder.

    Returns:
        The batch's items by state.

    Raises:
        LedgerUnavailable: Nothing was recorded; a later run finds the objects and records them.
    """
    config = RunConfig(None, None, catalog, request or RunRequest(), buys=False)
    with attached(uploaded.run_id, config) as (run, _):
        return run.record(uploaded)
