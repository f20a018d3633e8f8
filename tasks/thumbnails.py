"""Thumbnails of the review page as a task of Prefect, for those who want them ahead."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks.references import catalog_block, image_store_block
from ..core.request import ImageChoice
from ..core.review.ahead import ThumbnailsMade
from ..core.review.ahead import make_thumbnails as make
from ..core.review.choice import image_filter
from ..core.storage import S3Store
from ..core.storage.sources import Sources
from .runtime import Catalog, Store, unavailable_only


@task(
    name="make_thumbnails",
    task_run_name="make_thumbnails",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=unavailable_only,
)
def make_thumbnails(
    images: ImageChoice | None = None, *, store: Store = None, catalog: Catalog = None, at_once: int = 4
) -> ThumbnailsMade:
    """Make the missing thumbnails of images, on the machine that shows them: they lie in its `~/.prefect-imagen`.

    Args:
        images: Which ones; None for all.
        store: Block or its name, where images in S3 need its keys or endpoint.
        catalog: The ledger; None for this user's own.
        at_once: Images in work at the same time.

    Returns:
        Numbers, and the images that cannot be shown.

    Raises:
        StoreUnavailable: A store does not answer; retried.
        BadInput: No such block or run.
    """
    ledger = catalog_block(catalog).get_ledger()
    place = image_store_block(store).get_store() if store is not None else None
    sources = Sources(place.options) if isinstance(place, S3Store) else Sources()
    return make(ledger, image_filter(ledger, images or ImageChoice()), sources, at_once=at_once)
