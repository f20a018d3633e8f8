"""Ledger, catalog and store are compared object by object; what can be mended is, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState
from prefect_imagen.core.ledger.schema import deliveries, images, items
from prefect_imagen.core.repair import ReconcileReport, Stores, reconcile
from prefect_imagen.core.request import DEFAULT_MODEL, Delivery, RunRequest
from prefect_imagen.core.storage import LocalStore

from .conftest import Workshop


def compare(workshop: Workshop, **options: Any) -> ReconcileReport:
    store = LocalStore(Path(workshop.store))
    request = RunRequest(delivery=Delivery(spool=workshop.spool, patience=5.0))
    return reconcile(workshop.ledger, store, request=request, stores=Stores(store), client=workshop.client, **options)


def posts(workshop: Workshop) -> int:
    return workshop.sandbox.stats()["posts"]


def test_what_agrees_is_clean(workshop: Workshop) -> None:
    workshop.run(3)
    report = compare(workshop)
    assert (report.objects, report.recorded, report.counts, report.clean) == (3, 3, {}, True)


def test_missing_objects_are_fetched_again_from_their_source(workshop: Workshop) -> None:
    workshop.run(4)
    sent = posts(workshop)
    for path in workshop.files()[:2]:
        path.unlink()
    found = compare(workshop)
    assert (found.counts, found.mended, found.clean) == ({"missing": 2}, 0, False)
    mended = compare(workshop, apply=True)
    assert (mended.counts, mended.mended, mended.clean) == ({"missing": 2}, 2, True)
    assert {finding.mended for finding in mended.findings} == {"stored again"}
    assert len(workshop.files()) == 4
    assert compare(workshop).counts == {}
    assert workshop.states() == {"delivered": 4}
    assert posts(workshop) == sent
    workshop.check(settled=True)


def test_what_cannot_be_had_any_more_is_marked_lost(workshop: Workshop) -> None:
    workshop.run(2)
    workshop.files()[0].unlink()
    workshop.sandbox.set_faults([{"fault": "download_404", "first_attempts": 99}])
    report = compare(workshop, apply=True)
    assert (report.mended, report.lost, report.clean) == (0, 1, False)
    assert report.findings[0].mended is None
    assert "; marked lost: " in report.findings[0].detail
    assert workshop.states() == {"delivered": 1, "lost": 1}
    account = workshop.check(settled=True)
    assert (account.delivered.calls, account.lost.calls) == (1, 1)
    assert compare(workshop).counts == {}


def test_a_copy_elsewhere_is_copied_back(workshop: Workshop) -> None:
    workshop.run(2)
    first = workshop.store
    workshop.store = str(workshop.folder / "second")
    workshop.run(2)
    workshop.store = first
    workshop.files()[0].unlink()
    workshop.sandbox.set_faults([{"fault": "download_404", "first_attempts": 99}])
    report = compare(workshop, apply=True)
    assert [finding.mended for finding in report.findings] == ["stored again"]
    assert len(workshop.files()) == 2
    assert {row.state for row in workshop.images()} == {"stored"}


def test_other_content_is_named_and_never_overwritten(workshop: Workshop) -> None:
    workshop.run(3)
    changed, cut, _ = workshop.files()
    other = bytearray(changed.read_bytes())
    other[-1] ^= 1
    changed.write_bytes(other)
    cut.write_bytes(cut.read_bytes()[:-10])
    report = compare(workshop, apply=True)
    assert report.counts == {"size": 1, "checksum": 1}
    assert (report.mended, report.clean) == (0, False)
    assert changed.read_bytes() == bytes(other)
    assert compare(workshop, quick=True).counts == {"size": 1}
    assert all("move it away" in finding.detail for finding in report.findings)
    for path in (changed, cut):
        path.rename(path.with_name(".aside"))
    assert compare(workshop, apply=True).clean
    assert compare(workshop).counts == {}


def test_orphans_are_adopted_and_strangers_taken_in(workshop: Workshop) -> None:
    workshop.run(3)
    lost, kept, _ = workshop.images()
    # The process died between the upload and its row; and another call's row was lost altogether.
    for row, state in ((lost, "lost"), (kept, "pending")):
        this = sa.and_(images.c.call_id == row.call_id)
        item = "lost" if state == "lost" else ItemState.GENERATED
        workshop.ledger.write(
            lambda c, this=this, state=state: c.execute(sa.update(images).where(this).values(state=state))
        )
        workshop.ledger.write(
            lambda c, row=row: c.execute(sa.delete(deliveries).where(deliveries.c.call_id == row.call_id))
        )
        workshop.ledger.write(
            lambda c, row=row, item=item: c.execute(
                sa.update(items).where(items.c.id == row.item_id).values(state=item)
            )
        )
    Path(workshop.store, "holiday.jpg").write_bytes(b"mine")
    # By its long name, which a folder's index need not know.
    strange = Path(workshop.store, DEFAULT_MODEL, kept.item_id, f"pi-{'0' * 32}-0.png")
    strange.parent.mkdir(parents=True)
    strange.write_bytes(workshop.files()[0].read_bytes())
    report = compare(workshop)
    assert report.counts == {"orphan": 2, "foreign": 1, "stranger": 1}
    mended = compare(workshop, apply=True)
    assert sorted((finding.kind, finding.mended) for finding in mended.findings if finding.mended) == [
        *[("orphan", "adopted")] * 2,
        ("stranger", "taken in"),
    ]
    assert workshop.states() == {"delivered": 3}
    assert compare(workshop).counts == {"foreign": 1}
    assert strange.exists()
    assert (len(workshop.calls()), workshop.billed()) == (4, 3)


def test_a_delivery_that_was_never_noted_is_noted(workshop: Workshop) -> None:
    workshop.run(2)
    first = workshop.images()[0]
    workshop.ledger.write(lambda c: c.execute(sa.delete(deliveries).where(deliveries.c.call_id == first.call_id)))
    report = compare(workshop)
    assert report.counts.get("catalog") == 1
    assert compare(workshop, apply=True).clean
    assert compare(workshop).counts == {}
