"""The audit as a flow, over what a run has stored in a real bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect_imagen.blocks import SigningCertificate
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Verdict, VerdictValue
from prefect_imagen.core.provenance import Audit, UnsoundAudit
from prefect_imagen.flows import imagen_deliver, imagen_provenance
from prefect_imagen.sandbox.signing import make_identity
from prefect_imagen.tasks.provenance import AUDIT_KEY
from pydantic import SecretStr

from ..asking import ask
from .conftest import FlowHarness


def checked(harness: FlowHarness) -> tuple[State[Any], Audit]:
    state = imagen_provenance([], harness.store, return_state=True)
    result = state.result(raise_on_failure=False)
    return state, result.audit if isinstance(result, UnsoundAudit) else result


def test_a_marked_run_is_sound_until_a_sidecar_is_gone(harness: FlowHarness, prefect_api: str) -> None:
    assert harness.run(["a fox", "an owl"], mark="sidecar").delivered == 2
    state, done = checked(harness)
    assert (state.name, done.counts) == ("Completed", {"marked": 2, "unmarked": 0, "broken": 0})
    assert [row["marked"] for row in harness.ledger.catalog.rows()] == ["sidecar", "sidecar"]
    store = harness.store.get_store()
    sidecar = next(info.key for info in store.list() if info.key.endswith(".xmp"))
    store.delete([sidecar])
    state, done = checked(harness)
    assert (state.name, state.message) == ("Unmarked", "2 pictures: 1 marked, 1 unmarked, 0 broken")
    found = ask(f"{prefect_api}/artifacts/filter", {"artifacts": {"key": {"any_": [AUDIT_KEY]}}})
    assert {one["description"] for one in found} == {
        "2 pictures: 2 marked, 0 unmarked, 0 broken",
        "2 pictures: 1 marked, 1 unmarked, 0 broken",
    }
    assert sidecar.removesuffix(".xmp") in found[-1]["data"] or sidecar.removesuffix(".xmp") in found[0]["data"]


def test_a_repair_marks_as_the_run_did(harness: FlowHarness) -> None:
    from prefect_imagen.flows import imagen_repair

    harness.sandbox.set_faults([{"fault": "download_500", "first_attempts": None}])
    assert harness.state(["a hare"], mark="sidecar", on_incomplete="warn").name == "Incomplete"
    harness.sandbox.clear_faults()
    repaired = imagen_repair(harness.store, harness.credentials, harness.catalog, return_state=True)
    assert repaired.name == "Completed"
    assert checked(harness)[1].ways == {"sidecar": 1}


def test_a_delivery_is_signed_by_a_saved_certificate(harness: FlowHarness, prefect_api: str, tmp_path: Path) -> None:
    studio = make_identity("Studio")
    block = SigningCertificate(certificate=studio.chain.decode(), key=SecretStr(studio.key.decode()))
    block.save("studio", overwrite=True)
    assert harness.run(["a fox"]).complete
    (row,) = harness.ledger.catalog.rows()
    harness.ledger.verdicts.record([Verdict(row["image_id"], "ann", VerdictValue.APPROVED)])
    shop = harness.store.model_copy(update={"prefix": "shop"})
    for certificate in (SigningCertificate.load("studio"), "picture-signing-certificate/studio"):
        state = imagen_deliver(shop, harness.catalog, mark="c2pa", certificate=certificate, return_state=True)
        assert state.name == "Completed", state.message
        run = ask(f"{prefect_api}/flow_runs/{state.state_details.flow_run_id}")
        assert "PRIVATE KEY" not in str(run)
    (roots := tmp_path / "roots.pem").write_bytes(studio.root)
    (found,) = imagen_provenance([], shop, str(roots), harness.catalog).pictures
    assert (found.marked, found.c2pa, found.by, found.verdict) == ("c2pa+xmp", "valid", "Studio", "approved")


def test_a_place_without_pictures_is_refused(harness: FlowHarness) -> None:
    with pytest.raises(BadInput, match="no pictures there"):
        imagen_provenance([], harness.store)
