"""The least rights of docs/s3.md are those that runs, exports and `erase` use: no operation more, no right more."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.erase import erase
from prefect_imagen.core.export import export_catalog
from prefect_imagen.core.ledger import Selection
from prefect_imagen.core.storage import ChecksumMismatch, S3Store
from prefect_imagen.core.storage.s3_client import probe_client, working_client
from prefect_imagen.flows import imagen_pipeline

from .conftest import FlowHarness

PAGE = Path(__file__).parents[2] / "docs" / "s3.md"
# "Actions, resources, and condition keys for Amazon S3", Service Authorization Reference.
ACTIONS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
}


def rights(*, but: tuple[str, ...] = ()) -> set[str]:
    """The actions that the page allows."""
    [policy] = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    found: set[str] = set()
    for statement in json.loads(policy)["Statement"]:
        if statement["Sid"] not in but:
            actions = statement["Action"]
            found.update([actions] if isinstance(actions, str) else actions)
    return found


@pytest.fixture
def used(harness: FlowHarness) -> set[str]:
    """What the clients of the harness's store ask for from now on, as rights."""
    found: set[str] = set()

    def note(model: Any, params: dict[str, Any], **_more: Any) -> None:
        found.add(ACTIONS[model.name])
        if "x-amz-tagging" in {name.lower() for name in params["headers"]}:
            found.add("s3:PutObjectTagging")

    store = harness.store.get_store()
    assert isinstance(store, S3Store)
    for client in (working_client(store.options), probe_client(store.options)):
        client.meta.events.register("before-call.s3", note)
    return found


def test_a_run_needs_these_rights_and_no_others(harness: FlowHarness, used: set[str]) -> None:
    # 412s, a copy of the sheet, an owned item: everything that a run may ask for.
    assert harness.run(["a fox", "a bear"]).complete
    assert harness.run(["a fox", "an owl"]).complete
    assert used == rights(but=("OnlyWithObjectTags", "OnlyForLargeObjects", "OnlyForErase"))


def test_what_more_needs_more(harness: FlowHarness, used: set[str], tmp_path: Path) -> None:
    tagged = harness.store.model_copy(update={"run_tags": True, "multipart_bytes": 5 * 1024 * 1024})
    state = imagen_pipeline(
        ["a fox"], tagged, harness.credentials, harness.catalog, tags={"team": "spring"}, return_state=True
    )
    assert state.is_completed()
    assert "s3:PutObjectTagging" in used
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1024) * 6 * 1024)
    with pytest.raises(ChecksumMismatch):
        tagged.get_store().put("large.png", large, sha256="0" * 64, content_type="image/png")
    store = harness.store.get_store()
    assert isinstance(store, S3Store)
    options = store.options.model_dump()
    export_catalog(harness.ledger, f"s3://{harness.bucket}/out/images.csv", **options)
    done = erase(harness.ledger, Selection(tags={"team": "spring"}), store_options=options)
    assert (done.items, done.objects, harness.objects()) == (1, 1, {"out/images.csv"})
    assert used == rights()
