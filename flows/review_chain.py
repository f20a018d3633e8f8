"""From prompts to a delivery in one flow: generate, have people judge, make anew what they reject, deliver."""

from __future__ import annotations

from typing import Annotated, Any

import prefect.runtime
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..blocks.references import catalog_block
from ..core.ledger import Ledger
from ..core.request import ImageChoice, RunRequest
from ..core.review.choice import image_filter
from ..core.review.deliver import DEFAULT_NAMES
from ..core.review.regenerate import Regeneration, ask
from ..core.run.chunks import MAX_CHUNKS
from .deliver import HoldFlagged, Names, Target, imagen_deliver
from .parameters import Catalog, Credentials, Prompts, Store, document_parameters
from .pipeline import final_state, generate, run_name, scheduled_start
from .regenerate import buy_revisions
from .review import WAITING, Link, wait_for_review

CHAIN = "review-chain"
"""Tag of the runs of a chain, and so of its images: the id of the flow run."""


@flow(
    name="imagen_review_chain",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@document_parameters
def imagen_review_chain(
    prompts: Prompts,
    store: Store,
    to: Target,
    credentials: Credentials = None,
    catalog: Catalog = None,
    request: Annotated[
        RunRequest, Field(description="Model, template, images, budget, limits and delivery, as for imagen_pipeline.")
    ] = RunRequest(),
    regenerate_usd: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Most that images made anew may cost in all, in USD. None: none are made anew.",
        ),
    ] = None,
    link: Link = None,
    names: Names = DEFAULT_NAMES,
    hold_flagged: HoldFlagged = False,
) -> State[Any]:
    """Generate, wait for the review, make anew what was rejected and wait again, deliver what is approved.

    A rejected image is made anew with another seed, or as a reviewer asked for it on the page. With
    `request.policy.on_incomplete` as `warn`, what was delivered is reviewed where some items failed.

    Returns:
        `Completed` with a `DeliveryReport`; or `Failed` as the step that failed. The same flow run again goes on there.

    Raises:
        BadInput: Anything that is wrong with the input.
    """
    own = str(prefect.runtime.flow_run.id)
    request = request.scheduled(scheduled_start())
    request = request.model_copy(update={"tags": {**request.tags, CHAIN: own}})
    ledger = catalog_block(catalog).get_ledger()
    if not _is_generated(ledger, own, request):
        report = generate(prompts, request, store, credentials, catalog)
        if not _is_generated(ledger, own, request):
            return final_state(report, "fail")
    meant = ImageChoice(tags={CHAIN: own})
    failure = None
    while True:
        images = wait_for_review(ledger, meant, link, key=f"{WAITING}-{_count(ledger, meant)}").images
        if regenerate_usd is not None:
            made = _make_anew(ledger, meant, request, regenerate_usd, store, credentials, catalog)
            failure = made if made.is_failed() else None
        if failure is not None or _count(ledger, meant) == images:
            break
    delivered: State[Any] = imagen_deliver(to, catalog, meant, names, hold_flagged, return_state=True)
    if delivered.is_completed() and failure is not None:
        get_run_logger().warning("what is approved is delivered, but: %s", failure.message)
        return failure
    # A state of its own: of one that another flow run has ended in, Prefect says only that it was completed.
    kind = Completed if delivered.is_completed() else Failed
    return kind(name=delivered.name, message=delivered.message, data=delivered.result(raise_on_failure=False))


def _is_generated(ledger: Ledger, run_id: str, request: RunRequest) -> bool:
    """Whether a run has ended so that its images are to be reviewed."""
    try:
        outcome = ledger.runs.get(run_id)["outcome"]
    except KeyError:
        return False
    good_enough = {"Incomplete", "BudgetReached"} if request.policy.on_incomplete == "warn" else set()
    return outcome in {"Completed", *good_enough}


def _count(ledger: Ledger, meant: ImageChoice) -> int:
    return ledger.review.counts(image_filter(ledger, meant)).images


def _make_anew(
    ledger: Ledger,
    meant: ImageChoice,
    request: RunRequest,
    most_usd: float,
    store: S3ImageStore | LocalImageStore | str,
    credentials: ApiCredentials | None,
    catalog: ImageCatalog | str | None,
) -> State[Any]:
    """Buy what reviewers asked for in place of images of the chain, and another one for each rejected image."""
    found = list(ledger.review.all(image_filter(ledger, meant), columns=("image_id", "verdict")))
    there = ledger.revisions.of_images(row["image_id"] for row in found)
    rejected = (row["image_id"] for row in found if row["verdict"] == "rejected")
    ask(
        ledger,
        [
            Regeneration(image_id, "imagen_review_chain")
            for image_id in rejected
            if not any(one.reviewers or one.images for one in there.get(image_id, ()))
        ],
    )
    again = RunRequest(
        budget_usd=most_usd,
        tags=request.tags,
        limits=request.limits,
        policy=request.policy,
        delivery=request.delivery,
    )
    ids = [row["image_id"] for row in found]
    spent = _spent(ledger, request.tags[CHAIN])
    return buy_revisions(ledger, again, store, credentials, catalog, of=ids, spent=spent)


def _spent(ledger: Ledger, own: str) -> int:
    """What the chain has spent, or may have, on images made anew."""
    runs = (row for row in ledger.runs.brief() if row["tags"].get(CHAIN) == own and row["run_id"] != own)
    return sum(row["spent_credits"] + row["reserved_credits"] for row in runs)
