"""Confirmed objects become rows of the catalog. Spends nothing."""

from __future__ import annotations

from collections import Counter

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.delivery import record
from ..core.run.services import RunSettings
from .attached import Catalog, Work, attached
from .manifests import Catalogued, Uploaded

__all__ = ["catalog_images"]


@task(name="catalog_images", task_run_name="catalog_images", cache_policy=NO_CACHE)
def catalog_images(
    uploaded: Uploaded,
    *,
    catalog: Catalog = None,
    settings: RunSettings | None = None,
) -> Catalogued:
    """Write what became of each image and item in one transaction, then clear the spool and let go of the items.

    Args:
        uploaded: From `upload_images`.
        catalog: The ledger; None for this user's own.
        settings: Spool folder.

    Returns:
        The batch's items by state.

    Raises:
        LedgerUnavailable: Nothing was recorded; a later run finds the objects and records them.
    """
    work = Work(None, None, catalog, settings or RunSettings(), buys=False)
    with attached(uploaded.run_id, work) as (context, _):
        record(context.ledger, context.spool, uploaded.results)
        context.ledger.items.release(uploaded.item_ids)
        states = context.ledger.items.states(uploaded.item_ids)
    return Catalogued(uploaded.run_id, uploaded.item_ids, dict(Counter(state.value for state in states.values())))
