"""Bought, checked, judged, made anew and delivered by flows: S3, a Prefect server and the sandbox's bill."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import State
from prefect_imagen import ImageChoice, check_images, imagen_deliver, imagen_regenerate
from prefect_imagen.blocks import S3ImageStore
from prefect_imagen.core.ledger import ImageFilter, Verdict, VerdictValue
from prefect_imagen.core.review.checks import CheckReport
from prefect_imagen.core.review.deliver import DeliveryReport
from prefect_imagen.core.run.report import IncompleteRun, RunReport

from .conftest import FlowHarness

YES, NO = VerdictValue.APPROVED, VerdictValue.REJECTED


def image_ids(harness: FlowHarness, **criteria: Any) -> list[str]:
    return [row["image_id"] for row in harness.ledger.review.all(ImageFilter(**criteria), columns=())]


def judge(harness: FlowHarness, verdict: VerdictValue, *images: str) -> None:
    harness.ledger.verdicts.record([Verdict(image, "ann", verdict) for image in images])


def delivered(harness: FlowHarness, **parameters: Any) -> DeliveryReport:
    to = harness.store.model_copy(update={"prefix": "shop"})
    state: State[Any] = imagen_deliver(to, harness.catalog, return_state=True, **parameters)
    report = state.result()
    assert isinstance(report, DeliveryReport)
    return report


def test_rejected_images_are_bought_again_and_approved_ones_copied(harness: FlowHarness) -> None:
    assert harness.run([f"a wolf, number {n}" for n in range(4)]).complete
    first, second, *others = image_ids(harness)
    judge(harness, NO, first, second)
    judge(harness, YES, *others)

    @flow
    def check() -> CheckReport:
        return check_images(harness.catalog, ImageChoice(verdict="approved"), store=harness.store)

    found = check()
    assert (found.images, found.checked) == (2, 2)

    wanted = {"images": ImageChoice(verdict="rejected"), "budget_usd": 0.06}
    short = imagen_regenerate(None, harness.credentials, harness.catalog, return_state=True, **wanted)
    result = short.result(raise_on_failure=False)
    # The images lie in a store that only its block reaches: without it nothing is bought.
    assert isinstance(result, Exception)
    assert len(harness.billed()) == 4

    short = imagen_regenerate(harness.store, harness.credentials, harness.catalog, return_state=True, **wanted)
    assert short.name == "BudgetReached"
    result = short.result(raise_on_failure=False)
    assert isinstance(result, IncompleteRun)
    assert len(harness.billed()) == 5

    done = imagen_regenerate(harness.store, harness.credentials, harness.catalog, return_state=True)
    assert done.is_completed(), done.message
    (report,) = done.result()
    assert isinstance(report, RunReport)
    assert (report.items, report.images) == (1, 1)
    assert len(harness.billed()) == 6
    assert imagen_regenerate(harness.store, harness.credentials, harness.catalog) == []
    run = harness.ledger.runs.get(report.run_id)
    assert run["flow_run_id"] == str(done.state_details.flow_run_id)

    new = [image for image in image_ids(harness) if image not in (first, second, *others)]
    judge(harness, YES, *new)
    copied = delivered(harness)
    assert (copied.images, copied.copied) == (4, 4)
    judge(harness, NO, others[0])
    back = delivered(harness)
    assert (back.images, back.copied, back.taken_back) == (3, 0, 1)
    assert isinstance(harness.store, S3ImageStore)
    assert {key for key in harness.objects() if key.startswith("shop/") and key.endswith(".png")} == {
        f"shop/{copy.key}" for copy in harness.ledger.handovers.at(back.to).values()
    }
