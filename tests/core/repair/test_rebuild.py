"""The ledger is deleted and made again from its objects: the same run buys nothing again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_imagen.core.ledger import Ledger, LedgerBehind, LedgerMismatch, back_up
from prefect_imagen.core.ledger.schema import items
from prefect_imagen.core.repair import rebuild, reconcile
from prefect_imagen.core.request import Delivery, RunRequest
from prefect_imagen.core.storage import open_store
from prefect_imagen.sandbox import SandboxServer
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import Workshop

# ASCII, other scripts, and one that no metadata has room for.
PROMPTS = ("a fox", "狐 in the snow, très “jolie” 100 %", "long " * 70 + "狐" * 10)


@pytest.fixture(scope="module")
def s3(s3_server: LocalS3) -> LocalS3:
    s3_server.create_bucket("rebuild")
    return s3_server


@pytest.fixture(params=["s3", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A destination, and how it is reached."""
    if request.param == "folder":
        return str(tmp_path / "images"), {}
    server: LocalS3 = request.getfixturevalue("s3")
    return f"s3://rebuild/{tmp_path.name}", {
        "endpoint_url": server.endpoint_url,
        "addressing_style": "path",
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
    }


def test_the_ledger_is_gone_and_nothing_is_bought_again(
    workshop: Workshop, place: tuple[str, dict[str, Any]], open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    destination, access = place
    options = {"store": destination, "s3": access, "parameters": {"num_images": 2, "aspect_ratio": "16:9"}}
    for prompt in PROMPTS:
        workshop.run(2, prefix=prompt[:340], **options)
    before = workshop.check(settled=True)
    rows = {row["image_id"]: row for row in workshop.ledger.catalog.rows()}
    old_id = workshop.ledger.id
    prompts = {row.id: (row.prompt, row.parameters) for row in workshop.rows(items)}

    workshop.ledger = open_ledger(f"sqlite:///{tmp_path}/again.db")
    store = open_store(destination, **access)
    report = rebuild(workshop.ledger, store)
    assert (report.items, report.calls, report.images, report.foreign) == (6, 6, 12, 0)
    assert report.ledger_id == workshop.ledger.id == old_id
    assert workshop.ledger.origin == "sandbox"
    again = {row["image_id"]: row for row in workshop.ledger.catalog.rows()}
    same = ["item_id", "uri", "bytes", "sha256", "images_requested", "images_returned", "state", "cost_credits"]
    if access:
        same += ["model", "width", "height", "seed", "wire_model", "contract", "edition", "cost_source"]
        assert report.estimated == 0
    assert {key: [row[name] for name in same] for key, row in again.items()} == {
        key: [row[name] for name in same] for key, row in rows.items()
    }
    assert workshop.check(settled=True).billed == before.billed
    twice = rebuild(workshop.ledger, store)
    assert (twice.items, twice.calls, twice.images) == (0, 0, 0)
    request = RunRequest(delivery=Delivery(spool=workshop.spool))
    assert reconcile(workshop.ledger, store, request=request).counts == {}

    posts = workshop.sandbox.stats()["posts"]
    for prompt in PROMPTS:
        assert workshop.run(2, prefix=prompt[:340], **options) == {"delivered": 2}
    assert workshop.sandbox.stats()["posts"] == posts
    # What had no room in an object is known again from the run that asked for it.
    assert {row.id: (row.prompt, row.parameters) for row in workshop.rows(items)} == prompts


def test_a_restored_ledger_takes_in_what_it_bought_since(
    workshop: Workshop, place: tuple[str, dict[str, Any]], open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    destination, access = place
    options = {"store": destination, "s3": access, "parameters": {"num_images": 2, "aspect_ratio": "16:9"}}
    workshop.run(2, **options)
    back_up(workshop.ledger.url.render_as_string(), tmp_path / "backup.db")
    workshop.run(4, **options)
    rows = {row["image_id"]: row for row in workshop.ledger.catalog.rows()}
    workshop.ledger = open_ledger(str(tmp_path / "backup.db"))
    posts = workshop.sandbox.stats()["posts"]
    with pytest.raises(LedgerBehind):
        workshop.run(4, **options)
    store, request = open_store(destination, **access), RunRequest(delivery=Delivery(spool=workshop.spool))
    for quick in (True, False):
        report = reconcile(workshop.ledger, store, request=request, apply=quick, quick=quick)
        assert report.clean
    assert report.counts == {}
    assert workshop.run(4, **options) == {"delivered": 4}
    assert workshop.sandbox.stats()["posts"] == posts
    workshop.check(settled=True)
    again = {row["image_id"]: row for row in workshop.ledger.catalog.rows()}
    same = ["item_id", "uri", "prompt", "parameters", "bytes", "sha256", "state", "cost_credits"]
    if access:
        same += ["seed", "cost_source"]
    assert {key: [row[name] for name in same] for key, row in again.items()} == {
        key: [row[name] for name in same] for key, row in rows.items()
    }


def test_a_ledger_with_an_account_of_its_own_takes_another_in_only_if_told(
    workshop: Workshop, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    workshop.run(2)
    first, destination = workshop.ledger, workshop.store
    workshop.ledger, workshop.store = open_ledger(f"sqlite:///{tmp_path}/other.db"), str(tmp_path / "elsewhere")
    workshop.run(1, prefix="owl")
    store = open_store(destination)
    with pytest.raises(LedgerMismatch, match="--adopt-ledger"):
        rebuild(workshop.ledger, store)
    report = rebuild(workshop.ledger, store, adopt=True)
    assert (report.items, report.ledger_id) == (2, workshop.ledger.id)
    assert workshop.ledger.id != first.id
    assert workshop.states() == {"delivered": 3}
    workshop.check(settled=True)


def test_other_peoples_objects_are_left_alone(workshop: Workshop) -> None:
    workshop.run(1)
    Path(workshop.store, "holiday.png").write_bytes(b"mine")
    report = rebuild(workshop.ledger, open_store(workshop.store))
    assert (report.objects, report.foreign, report.items) == (2, 1, 0)


def test_what_was_planned_and_is_there_is_owned(
    workshop: Workshop, open_ledger: Callable[..., Ledger], tmp_path: Path, sandbox: SandboxServer
) -> None:
    workshop.run(2)
    workshop.ledger = open_ledger(f"sqlite:///{tmp_path}/again.db")
    sandbox.set_faults([{"fault": "unauthorized"}])
    workshop.run(2, adopt=True)
    sandbox.clear_faults()
    assert workshop.states() == {"planned": 2}
    posts = sandbox.stats()["posts"]
    rebuild(workshop.ledger, open_store(workshop.store), adopt=True)
    assert workshop.states() == {"delivered": 2}
    assert workshop.run(2) == {"delivered": 2}
    assert sandbox.stats()["posts"] == posts
