"""The free checks as a task."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from ..blocks.references import catalog_block, image_store_block
from ..core.request import CheckOptions, ImageChoice
from ..core.review.checks import CheckReport
from ..core.review.checks import check_images as look_at
from ..core.review.choice import image_filter
from ..core.storage.sources import Sources
from ..core.store_options import S3Options
from .runtime import Catalog, Store


@task(name="check_images", task_run_name="check_images", cache_policy=NO_CACHE)
def check_images(
    catalog: Catalog = None,
    images: ImageChoice | None = None,
    options: CheckOptions | None = None,
    *,
    store: Store = None,
) -> CheckReport:
    """Flag images that are blank, blurred, of a wrong shape, with a border, or alike. Buys and deletes nothing.

    Args:
        catalog: The ledger; None for this user's own.
        images: Which images; None for all.
        options: Thresholds, and checks of one's own.
        store: A store of the images, whose access is used for all of S3; None for that of the environment.

    Returns:
        What was found. Images that were checked like that before are not looked at again.

    Raises:
        BadInput: A block, a run or a check of one's own that is not there.
        Unavailable: Store or ledger do not answer; what was looked at is recorded.
    """
    ledger = catalog_block(catalog).get_ledger()
    access = getattr(image_store_block(store).get_store(), "options", None) if store is not None else None
    report = look_at(
        ledger,
        image_filter(ledger, images or ImageChoice()),
        options,
        sources=Sources(access) if isinstance(access, S3Options) else None,
    )
    logger = get_run_logger()
    logger.info(report.summary())
    for problem in report.problems:
        logger.warning(problem)
    return report
