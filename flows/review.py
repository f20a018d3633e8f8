"""People as a gate: a flow waits until images are reviewed, and goes on when they are or when somebody says so.

A flow run of a deployment is suspended while it waits: it takes no process and no worker, and a restart of the worker
or of the server loses nothing. When it goes on it begins at its first line. So what comes before the wait must find
what it has done already; what this package buys it finds on the ledger.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field

from ..blocks.references import catalog_block
from ..core.errors import BadInput
from ..core.ledger import Ledger, ReviewCounts, Verdict, VerdictValue
from ..core.request import ImageChoice
from ..core.review.choice import image_filter
from ..core.review.filters import query_of
from ..core.values import batched
from ..tasks.runtime import current_flow_run
from .events import ReviewCompleted, ReviewRequested, send
from .parameters import Catalog, document_parameters

WAITING = "imagen-review"
"""Tag of flow runs that wait for a review, or have waited for one."""

_LEDGER, _IMAGES = "prefect-imagen.review.ledger", "prefect-imagen.review.images"
"""Labels of such a flow run: the id of the ledger, and which of its images are meant, as JSON."""

_PAUSE_SECONDS = 365 * 24 * 3600
_POLL_SECONDS = 5
_PAGE = 200

Link = Annotated[
    str | None,
    Field(
        description="Address of the review page, without a token, for those who are asked. None: the command that "
        "opens it."
    ),
]


class ReviewDecision(RunInput):
    """What a person decides who lets a flow run go on. The form in Prefect's UI is made of it."""

    unreviewed: Literal["leave", "approve", "reject"] = Field(
        default="leave", title="Images without a verdict", description="What becomes of images that nobody has judged."
    )
    reviewer: str = Field(default="", title="Your name", description="Who decides that. Not needed for leave.")


@flow(name="imagen_review", validate_parameters=True)
@document_parameters
def imagen_review(
    catalog: Catalog = None,
    images: Annotated[ImageChoice, Field(description="Which images are to be reviewed.")] = ImageChoice(),
    link: Link = None,
) -> State[Any]:
    """Wait until all of the images have a verdict, or until somebody lets the flow run go on in Prefect's UI.

    Returns:
        `Completed` with the counts, as a dictionary.

    Raises:
        BadInput: No image is meant.
    """
    counts = wait_for_review(catalog_block(catalog).get_ledger(), images, link)
    return Completed(message=counts.summary(), data=counts.as_dict())


@flow(name="imagen_review_resume", validate_parameters=True)
@document_parameters
def imagen_review_resume(catalog: Catalog = None) -> State[Any]:
    """Let flow runs go on whose images are all reviewed. For a schedule.

    Returns:
        `Completed` with the number of those that went on.
    """
    resumed = resume_reviewed(catalog_block(catalog).get_ledger())
    return Completed(message=f"{resumed} flow runs go on", data=resumed)


def wait_for_review(
    ledger: Ledger, images: ImageChoice, link: str | None = None, *, key: str = WAITING
) -> ReviewCounts:
    """Within a flow: wait until images are reviewed, or until somebody lets the flow run go on.

    A flow run of a deployment is suspended, and begins anew when it goes on. Any other one, also a flow within a flow,
    waits here. Who has to review is told by an artifact, an event and, in Prefect's UI, the form for going on.

    Args:
        ledger: Open.
        images: What is to be reviewed.
        link: Address of the review page.
        key: Names this wait. A flow run that begins anew passes the waits that it has passed before.

    Returns:
        The counts after the review.

    Raises:
        BadInput: No image is meant.
    """
    meant = image_filter(ledger, images)
    counts = ledger.review.counts(meant)
    if not counts.images:
        raise BadInput("there is no image to review: nothing in the catalog matches")
    if counts.reviewed < counts.images:
        decision = _ask(ledger, images, counts, link, key)
        _apply(ledger, images, decision)
        counts = ledger.review.counts(meant)
    get_run_logger().info(counts.summary())
    send(ReviewCompleted(**_facts(ledger, counts)))
    return counts


def resume_reviewed(ledger: Ledger) -> int:
    """Let flow runs go on that wait for images of this ledger which are all reviewed now.

    Returns:
        How many went on.
    """
    resumed = 0
    with get_client(sync_client=True) as client:
        for run in list(_waiting(client)):
            choice = run.labels.get(_IMAGES)
            if run.labels.get(_LEDGER) != ledger.id or not isinstance(choice, str):
                continue
            counts = ledger.review.counts(image_filter(ledger, ImageChoice.model_validate_json(choice)))
            if counts.images and counts.reviewed == counts.images:
                answer = client.resume_flow_run(run.id, run_input=ReviewDecision().model_dump())
                # It is refused where somebody else was quicker, and where the run has only just begun to wait.
                resumed += answer.status is SetStateStatus.ACCEPT
    return resumed


def _waiting(client: SyncPrefectClient) -> Iterator[FlowRun]:
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])),
        tags=FlowRunFilterTags(all_=[WAITING]),
    )
    offset = 0
    while page := client.read_flow_runs(
        flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_PAGE, offset=offset
    ):
        yield from page
        offset += len(page)


def _ask(ledger: Ledger, images: ImageChoice, counts: ReviewCounts, link: str | None, key: str) -> ReviewDecision:
    """Tell people, once, and wait for a decision."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None:
        raise BadInput("a review is waited for within a flow run")
    query = query_of(images)
    address = f"{link}{'&' if '?' in link else '?'}{urlencode(query)}" if link and query else link
    page = _page(ledger, counts, address, query)
    if key not in (run.empirical_policy.pause_keys or ()):
        with get_client(sync_client=True) as client:
            # Read anew: the flow may have added tags since it began.
            client.update_flow_run(run.id, tags=sorted({*client.read_flow_run(run.id).tags, WAITING}))
            client.update_flow_run_labels(
                run.id, {_LEDGER: ledger.id, _IMAGES: images.model_dump_json(exclude_defaults=True)}
            )
        create_markdown_artifact(page, description="prefect-imagen: images to review")
        send(ReviewRequested(**_facts(ledger, counts), link=address))
    form = ReviewDecision.with_initial_data(description=page)
    if run.deployment_id is not None and run.parent_task_run_id is None:
        return suspend_flow_run(wait_for_input=form, key=key)
    return pause_flow_run(wait_for_input=form, timeout=_PAUSE_SECONDS, poll_interval=_POLL_SECONDS, key=key)


def _apply(ledger: Ledger, images: ImageChoice, decision: ReviewDecision) -> None:
    """Record what was decided about images that nobody has judged."""
    if decision.unreviewed == "leave":
        return
    verdict = VerdictValue.APPROVED if decision.unreviewed == "approve" else VerdictValue.REJECTED
    reviewer = decision.reviewer.strip() or "somebody in Prefect"
    unjudged = ledger.review.all(image_filter(ledger, images.model_copy(update={"verdict": "none"})), columns=())
    for batch in batched([row["image_id"] for row in unjudged]):
        ledger.verdicts.record([Verdict(image_id, reviewer, verdict) for image_id in batch])


def _page(ledger: Ledger, counts: ReviewCounts, address: str | None, query: dict[str, str]) -> str:
    """What is asked of people, as markdown."""
    words = [
        shlex.quote(line if name == "run" else f"--{name.replace('_', '-')}={line}")
        for name, text in query.items()
        for line in text.splitlines()
    ]
    command = " ".join(["prefect-imagen", "review", *words])
    where = f"**[Open the review page]({address})**" if address else f"Open the page with\n\n    {command}"
    flags = ", ".join(f"{count:,} {flag}" for flag, count in sorted(counts.flags.items()))
    facts = [f"{counts.summary()}.", *([f"Flagged: {flags}."] if flags else []), f"Catalog: `{ledger.description}`."]
    return f"{where}\n\n{' '.join(facts)}\n\nThe flow run goes on when every image has a verdict, or by **Resume**."


def _facts(ledger: Ledger, counts: ReviewCounts) -> dict[str, Any]:
    current = current_flow_run()
    return {
        "flow_run_id": str(current.id),
        "flow_run_url": current.url,
        "catalog": ledger.description,
        "images": counts.images,
        "approved": counts.verdicts[VerdictValue.APPROVED],
        "rejected": counts.verdicts[VerdictValue.REJECTED],
        "unreviewed": counts.images - counts.reviewed,
    }
