"""A flow that waits for people in its own process, on a real Prefect server: who lets it go on, and what it says."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect_imagen import ImageChoice, imagen_regenerate, imagen_review, imagen_review_chain, imagen_review_resume
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import ImageFilter, RegenerationKind, Verdict, VerdictValue
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.review.regenerate import Regeneration, ask
from prefect_imagen.flows import review

from ..waiting import until
from .conftest import FlowHarness

YES, NO = VerdictValue.APPROVED, VerdictValue.REJECTED


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events that the flow sends."""
    events: list[Any] = []
    monkeypatch.setattr(review, "send", events.append)
    monkeypatch.setattr(review, "_POLL_SECONDS", 0.2)
    return events


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Any]]]:
    """Starts a flow in a thread, with Prefect's settings of this one."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda flow, *arguments, **named: pool.submit(contextvars.copy_context().run, flow, *arguments, **named)


def go_on(run: FlowRun, **decision: str) -> None:
    """Fill in the form of Prefect's UI, which is there a moment after the flow run has begun to wait."""
    with get_client(sync_client=True) as client:
        until(
            lambda: client.resume_flow_run(run.id, run_input=decision).status is SetStateStatus.ACCEPT,
            "a flow run to be let go on",
        )


def waiting(harness: FlowHarness) -> list[FlowRun]:
    """Flow runs that wait for this ledger's review."""
    with get_client(sync_client=True) as client:
        return [run for run in review._waiting(client) if run.labels[review._LEDGER] == harness.ledger.id]


def images(harness: FlowHarness, **criteria: Any) -> list[str]:
    return [row["image_id"] for row in harness.ledger.review.all(ImageFilter(**criteria), columns=())]


def judge(harness: FlowHarness, verdict: VerdictValue, *image_ids: str) -> None:
    harness.ledger.verdicts.record([Verdict(image_id, "ann", verdict) for image_id in image_ids])


def test_it_goes_on_when_everything_is_reviewed(
    harness: FlowHarness, sent: list[Any], beside: Callable[..., Future[Any]]
) -> None:
    harness.run([f"a gate, number {n}" for n in range(3)])
    harness.run(["something else"])
    first, second, third = images(harness, text="gate")
    flow_run = beside(imagen_review, harness.catalog, ImageChoice(text="gate"), "https://page.test/?look=dark")
    until(lambda: waiting(harness), "a flow run that waits")
    judge(harness, YES, first, second)
    assert imagen_review_resume(harness.catalog) == 0
    judge(harness, NO, third)
    until(lambda: imagen_review_resume(harness.catalog), "the flow run to be let go on")
    counts = flow_run.result(120)
    assert (counts["approved"], counts["rejected"], counts["reviewed"]) == (2, 1, 3)
    asked, done = sent
    assert (asked.event, asked.images, asked.unreviewed) == ("prefect-imagen.review.requested", 3, 3)
    assert asked.link == "https://page.test/?look=dark&text=gate"
    assert (done.event, done.unreviewed) == ("prefect-imagen.review.completed", 0)
    # It is reviewed: the next one does not wait, and asks nobody.
    assert imagen_review(harness.catalog, ImageChoice(text="gate"))["reviewed"] == 3
    assert len(sent) == 3
    with pytest.raises(BadInput, match="no image to review"):
        imagen_review(harness.catalog, ImageChoice(text="nothing like that"))


def test_a_chain_buys_for_its_own_images_within_its_budget(
    harness: FlowHarness, sent: list[Any], beside: Callable[..., Future[Any]]
) -> None:
    harness.run(["not of the chain"])
    (other,) = harness.ledger.review.all(ImageFilter(), columns=("image_id", "cost_usd"))
    flow_run = beside(
        imagen_review_chain,
        ["a tree", "a stone", "a cloud"],
        harness.store,
        harness.store.model_copy(update={"prefix": "shop"}),
        harness.credentials,
        harness.catalog,
        RunRequest(budget_usd=1),
        regenerate_usd=float(other["cost_usd"]) * 2.5,
        return_state=True,
    )
    (run,) = until(lambda: waiting(harness), "a chain that waits")
    own = {"tags": {"review-chain": str(run.id)}}
    (stone,), (cloud,) = images(harness, text="stone", **own), images(harness, text="cloud", **own)
    # While it waits somebody buys another image in place of one of its own, and asks for one in place of another's.
    ask(harness.ledger, [Regeneration(stone, "dee", RegenerationKind.PROMPT, prompt="a pebble")])
    imagen_regenerate(harness.store, harness.credentials, harness.catalog)
    ask(harness.ledger, [Regeneration(other["image_id"], "cem")])
    assert len(harness.billed()) == 5
    judge(harness, YES, cloud)
    go_on(run, unreviewed="reject", reviewer="ben")
    until(lambda: len(sent) == 3, "the second review to be asked for")
    # The pebble is there already; only the tree was bought.
    assert len(harness.billed()) == 6
    (pebble,) = images(harness, text="pebble", **own)
    judge(harness, YES, pebble)
    go_on(run, unreviewed="reject", reviewer="ben")
    until(lambda: len(sent) == 5, "the third review to be asked for")
    assert len(harness.billed()) == 7
    go_on(run, unreviewed="reject", reviewer="ben")
    state = flow_run.result(120)
    assert state.name == "BudgetReached"
    assert [one.images for one in sent] == [3, 3, 5, 5, 6, 6]
    assert len(harness.billed()) == 7
    copies = [key for key in harness.objects() if key.startswith("shop/") and key.endswith(".png")]
    assert len(copies) == 2
    assert {one.verdict for one in harness.ledger.verdicts.all() if one.reviewer == "ben"} == {NO}
    assert images(harness, verdicts=(YES,)) == images(harness, image_ids=(cloud, pebble))
