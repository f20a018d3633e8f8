"""What a run made, as a Prefect asset: one for each destination and edition, since that is what others build on.

Prefect keeps the event `prefect.asset.materialization.succeeded` with the metadata below; pages of assets are a part of
Prefect Cloud. The asset's key is the URI of the destination, with `/edition=NAME` after it where there is an edition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from ..core.money import credits_to_usd
from ..core.run.report import RunReport
from ..core.storage import safe_segment

_TOOL = "prefect-imagen"
_NOT_ACCEPTED = re.compile(r"""[\n\r\t\0 #?&%"'<>\[\]{}|\\^`]""")


def asset_key(destination: str, edition: str) -> str:
    """The key of what runs of an edition make at a destination.

    Example:
        >>> asset_key("s3://my-images/spring", ""), asset_key("s3://my-images/spring", "2026-03-01")
        ('s3://my-images/spring', 's3://my-images/spring/edition=2026-03-01')
        >>> asset_key("file:///home/ada/my images", "")
        'file:///home/ada/my_images'
    """
    return _accepted(f"{destination}/edition={safe_segment(edition)}" if edition else destination)


def _accepted(address: str) -> str:
    """An address without the characters that Prefect takes in no key, and escapes are among them."""
    return _NOT_ACCEPTED.sub("_", address)


def record_assets(
    report: RunReport, *, model: str, edition: str, tags: Mapping[str, str], new_images: int, source: str | None
) -> None:
    """Tell Prefect what a run made, in a small task of its own; nothing where it made nothing.

    Args:
        report: Of the run.
        model: That was asked for.
        edition: Of its items.
        tags: Of the run.
        new_images: Images that this run has stored.
        source: Where the prompts came from, if that has an address: upstream of what was made.

    Raises:
        ValueError: The destination is no key that Prefect accepts.
    """
    if not new_images or report.destination is None:
        return
    key = asset_key(report.destination, edition)
    name = report.destination.rstrip("/").rpartition("/")[2] + (f" · {edition}" if edition else "")
    asset = Asset(
        key=key, properties=AssetProperties(name=name, description=f"Images of {model}; catalog: {report.catalog}")
    )
    upstream: list[str | Asset] = [_accepted(source)] if source is not None and source.startswith("s3://") else []
    metadata: dict[str, Any] = {
        "run_id": report.run_id,
        "outcome": report.outcome,
        "model": model,
        "edition": edition,
        "tags": dict(tags),
        "new_images": new_images,
        "images": report.images,
        "items": report.items,
        "delivered": report.delivered,
        "billed_usd": float(credits_to_usd(report.account.billed)),
        "catalog": report.catalog,
    }

    def record() -> None:
        add_asset_metadata(asset, metadata)

    task = materialize(
        asset,
        by=_TOOL,
        name="record_assets",
        task_run_name="record_assets",
        cache_policy=NO_CACHE,
        asset_deps=upstream,
    )(record)
    task(return_state=True)
