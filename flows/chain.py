"""A chain as a flow: what one step makes goes into the next; each step is a run of its own, under one budget."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks.references import catalog_block, credentials_block, image_store_block
from ..core import request as options
from ..core.providers import ImageClient
from ..core.request import ChainStep, Delivery, Limits, Policy, PromptOptions, RunRequest
from ..core.run.chain import BudgetUsedUp, Chain
from ..core.run.chunks import MAX_CHUNKS
from ..core.run.report import IncompleteRun, RunReport
from .budget import require_budget
from .parameters import Catalog, Credentials, Prompts, RunDelivery, RunLimits, RunPolicy, Store, document_parameters
from .pipeline import scheduled_start
from .regenerate import carry_out


@flow(
    name="imagen_chain",
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@document_parameters
def imagen_chain(
    prompts: Prompts,
    steps: Annotated[list[ChainStep], Field(description="What is done, in this order: a model each.", min_length=1)],
    store: Store,
    credentials: Credentials = None,
    catalog: Catalog = None,
    edition: options.Edition = "",
    edition_timezone: options.EditionTimezone = "UTC",
    budget_usd: Annotated[
        float | None, Field(gt=0, description="Most that all steps together may cost, in USD.")
    ] = None,
    tags: Annotated[dict[str, str] | None, Field(description="Labels kept with each run and every image.")] = None,
    select: Annotated[PromptOptions, Field(description="Which prompts the first step takes.")] = PromptOptions(),
    limits: RunLimits = Limits(),
    policy: RunPolicy = Policy(),
    delivery: RunDelivery = Delivery(),
) -> State[Any]:
    """Make pictures, and others of these: generate, cut out, enlarge. Nothing that is owned is bought again.

    All steps are checked and priced before the first one buys. What a step does not deliver costs nothing further; a
    step that is stopped (a budget, a service that is away) ends the chain, and the same flow goes on from there.

    Returns:
        `Completed` with a list of `RunReport`s, one for each step; or `Failed` named `Incomplete`, `BudgetReached` or
        `Blocked`, whose result is an `IncompleteRun` with the report of the step that was not complete.

    Raises:
        BadInput: Anything that is wrong with the input: nothing was sent and nothing was billed.
    """
    logger = get_run_logger()
    common = RunRequest(
        edition=edition,
        edition_timezone=edition_timezone,
        budget_usd=budget_usd,
        tags=tags or {},
        select=select,
        limits=limits,
        policy=policy,
        delivery=delivery,
    ).scheduled(scheduled_start())
    ledger = catalog_block(catalog).get_ledger()
    require_budget(ledger, budget_usd)
    target = image_store_block(store).get_store()

    def connect(model: str) -> ImageClient:
        return credentials_block(credentials, model).get_client(model)

    chain = Chain(prompts, common, steps, connect=connect, ledger=ledger, store=target)
    logger.info("chain: %s", chain.plan.summary())
    reports: list[RunReport] = []
    try:
        while (prepared := chain.next_step(reports)) is not None:
            reports.append(report := carry_out(prepared, credentials, store, catalog))
            logger.info("step %d of %d: %s", len(reports), len(chain), report.summary())
    except BudgetUsedUp as error:
        return Failed(name="BudgetReached", message=str(error), data=error)
    short = next((one for one in reports if not one.complete), None)
    if short is not None and policy.on_incomplete == "fail":
        return Failed(name=short.outcome, message=short.summary(), data=IncompleteRun(short))
    return Completed(message=f"{reports[-1].images:,} images after {len(reports)} steps", data=reports)
