"""What reviewers want made anew, bought as a flow: planned and priced first, under the budgets, each once."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..blocks.references import catalog_block, credentials_block, image_store_block, references
from ..core import request as options
from ..core.errors import BadInput, ImagenError
from ..core.ledger import Ledger
from ..core.providers import ImageClient
from ..core.request import Delivery, ImageChoice, Limits, Policy, RunRequest
from ..core.review.choice import image_filter
from ..core.review.regenerate import Regeneration, ask, prepare_batches
from ..core.run.checks import Prepared, with_budget_left
from ..core.run.chunks import MAX_CHUNKS
from ..core.run.report import IncompleteRun, RunReport
from ..core.run.run import Run
from ..core.storage import ObjectStore
from ..tasks.runtime import current_flow_run, shared_run
from .budget import require_budget
from .parameters import Catalog, Credentials, RunDelivery, RunLimits, RunPolicy, document_parameters
from .pipeline import TaskRuns
from .publish import emit_end, publish


@flow(
    name="imagen_regenerate",
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@document_parameters
def imagen_regenerate(
    store: Annotated[
        S3ImageStore | LocalImageStore | str | None,
        Field(description="Where the new images go. None: to where those are that they replace."),
    ] = None,
    credentials: Credentials = None,
    catalog: Catalog = None,
    images: Annotated[
        ImageChoice | None,
        Field(description="Also have these made anew, each with another seed. None: only what reviewers asked for."),
    ] = None,
    reviewer: Annotated[str, Field(description="Who asks for these.")] = "imagen_regenerate",
    budget_usd: options.BudgetUsd = None,
    limits: RunLimits = Limits(),
    policy: RunPolicy = Policy(),
    delivery: RunDelivery = Delivery(),
) -> State[Any]:
    """Buy what is to be made anew. Two reviewers who ask for the same ask for one image; it is bought once.

    Returns:
        `Completed` with a list of `RunReport`s, one for each model and destination; or `Failed` named `Incomplete`,
        `BudgetReached` or `Blocked`, whose result is an `IncompleteRun`.

    Raises:
        BadInput: Anything that is wrong with the input: nothing was sent and nothing was billed.
    """
    request = RunRequest(budget_usd=budget_usd, limits=limits, policy=policy, delivery=delivery)
    ledger = catalog_block(catalog).get_ledger()
    require_budget(ledger, budget_usd)
    if images is not None:
        found = [row["image_id"] for row in ledger.review.all(image_filter(ledger, images), columns=())]
        ask(ledger, [Regeneration(image_id, reviewer) for image_id in found])
    return buy_revisions(ledger, request, store, credentials, catalog)


def buy_revisions(
    ledger: Ledger,
    request: RunRequest,
    store: S3ImageStore | LocalImageStore | str | None,
    credentials: ApiCredentials | None,
    catalog: ImageCatalog | str | None,
    *,
    of: Collection[str] | None = None,
    spent: int = 0,
) -> State[Any]:
    """Within a flow: buy what is to be made anew.

    Args:
        ledger: That of `catalog`, open.
        request: For budget, tags, limits, policy and delivery.
        store: Where the new images go; None for where those are that they replace.
        credentials: Block; None for the environment.
        catalog: Block or address.
        of: Only what replaces one of these images; None for all that reviewers asked for.
        spent: Credits of the budget that earlier runs have spent, or may have.

    Returns:
        What `imagen_regenerate` returns.

    Raises:
        BadInput: As `imagen_regenerate`.
    """

    def store_of(destination: str | None) -> ObjectStore:
        place = store or destination
        if place is None:
            raise BadInput("the images that are to be replaced lie nowhere; name a store for the new ones")
        return image_store_block(place).get_store()

    def connect(model: str) -> ImageClient:
        return credentials_block(credentials, model).get_client(model)

    prepared = prepare_batches(ledger, request, connect=connect, store_of=store_of, of=of)
    reports = []
    for whole in prepared:
        affordable = with_budget_left(whole, spent)
        if affordable is None:
            message = "the budget is used up by the runs before; the rest is left for another time"
            return Failed(name="BudgetReached", message=message, data=BadInput(message))
        report = carry_out(affordable, credentials, store, catalog)
        reports.append(report)
        spent += report.account.billed_at_most
    for report in reports:
        if not report.complete:
            get_run_logger().warning(report.summary())
            if request.policy.on_incomplete == "fail":
                return Failed(name=report.outcome, message=report.summary(), data=IncompleteRun(report))
    count = sum(report.images for report in reports)
    return Completed(message=f"{count:,} images made anew", data=reports)


def carry_out(
    prepared: Prepared,
    credentials: ApiCredentials | None,
    store: S3ImageStore | LocalImageStore | str | None,
    catalog: Any,
) -> RunReport:
    """Carry one run out, its chunks as task runs."""
    with references(credentials, store or prepared.store.destination, catalog) as refs:
        # A new id each time: what is open when a flow run is tried again is not what was open before.
        run = Run.open(prepared, str(uuid.uuid4()), get_run_logger())
        with shared_run(run.id, lambda: run):
            planned = run.plan(current_flow_run())
            try:
                report = run.complete(TaskRuns((refs[0], refs[1], refs[2]), run.request), planned.items)
            except BaseException:
                with contextlib.suppress(ImagenError):  # it must not hide why the run stopped
                    emit_end(run.report(), run)
                raise
            publish(report, run)
    return report
