"""Files of an archive in a real S3: written create-only, read back, and put back into the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.archive import archive, restore
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Ledger, Selection
from prefect_imagen.core.storage import S3Store
from prefect_imagen.sandbox.local_s3 import LocalS3


def test_an_archive_goes_to_s3_and_comes_back(
    s3: S3Store,
    s3_server: LocalS3,
    sqlite: str,
    open_ledger: Callable[..., Ledger],
    shop_of: Callable[[Ledger], Any],
    tmp_path: Path,
) -> None:
    shop = shop_of(open_ledger(sqlite))
    shop.start()
    for item_id in shop.plan(3, edition="old"):
        shop.finish(shop.buy(item_id))
    shop.ledger.runs.finish(shop.run, "Completed")
    before, rows = shop.ledger.costs.of(), shop.ledger.catalog.rows()
    done = archive(shop.ledger, Selection(edition="old"), s3.destination, store_options=s3_server.options)
    names = sorted(info.key.rpartition("/")[2] for info in s3.list() if str(done.id) in info.key)
    assert (done.items, len(names), "manifest.json" in names, "items.parquet" in names) == (3, 13, True, True)
    assert (shop.ledger.costs.of(), shop.ledger.catalog.rows()) == (before, [])
    whole = tmp_path / "whole"
    s3.get(f"{done.id}/images.parquet", whole)
    for data, back in ((b"PAR1", False), (whole.read_bytes(), True)):
        sha256 = hashlib.sha256(data).hexdigest()
        s3.put(f"{done.id}/images.parquet", data, sha256=sha256, content_type="x", overwrite=True)
        if back:
            assert restore(shop.ledger, done.uri, store_options=s3_server.options).items == 3
        else:
            with pytest.raises(BadInput, match="is not what was stored"):
                restore(shop.ledger, done.uri, store_options=s3_server.options)
        assert (shop.ledger.costs.of(), shop.ledger.catalog.rows()) == (before, rows if back else [])
