"""The main chain: prompts in, verified images in a store and a catalog out, every paid call on the ledger."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import prefect.runtime
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..blocks.references import catalog_block, credentials_block, image_store_block, references
from ..core import request as options
from ..core.errors import BadInput, ImagenError
from ..core.ledger import BudgetWarning
from ..core.money import credits_to_usd
from ..core.providers import Endpoint
from ..core.request import Delivery, ImageOptions, Limits, Policy, PromptOptions, Rewrite, RunRequest
from ..core.run.checks import CheckedBatch, Prepared, check_request, prepare, take_over
from ..core.run.chunks import MAX_CHUNKS
from ..core.run.report import IncompleteRun, RunReport
from ..core.run.results import Batch
from ..core.run.run import Run
from ..tasks.chunk import process_chunk
from ..tasks.expand import expand_prompts
from ..tasks.runtime import shared_run
from . import events
from .budget import require_budget
from .parameters import Catalog, Credentials, Prompts, RunDelivery, RunLimits, RunPolicy, Store, document_parameters
from .progress import ProgressArtifact
from .publish import emit_end, publish, tag_flow_run

References = tuple[str | None, str | None, str | None]
"""Credentials, store and catalog as tasks take them: by name, never by value."""


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """Processes chunks as task runs of Prefect. See `core.run.chunks.Dispatcher`."""

    references: References
    request: RunRequest

    @property
    def is_elsewhere(self) -> bool:
        """Whether a task runner of other processes has the chunks, as those of Dask and Ray do."""
        context = FlowRunContext.get()
        return context is not None and not isinstance(context.task_runner, ThreadPoolTaskRunner)

    def submit(self, batch: Batch, number: int) -> PrefectFuture[Any]:
        """Start a task run for a chunk."""
        return process_chunk.submit(batch, number, len(batch.item_ids), *self.references, self.request)

    def failure_of(self, ended: PrefectFuture[Any]) -> BaseException | None:
        """What a task run failed with."""
        outcome = ended.result(raise_on_failure=False)
        return outcome if isinstance(outcome, BaseException) else None


def run_name() -> str:
    """`<prompts> · <model> · <edition>`, from the flow's parameters."""
    parameters = dict(prefect.runtime.flow_run.parameters or {})
    parameters |= dict(parameters.get("request") or {})  # where all of it is one parameter
    prompts = parameters.get("prompts")
    if isinstance(prompts, list):
        # No prompt: the name is in events, which outlive whatever is erased.
        what = "1 prompt" if len(prompts) == 1 else f"{len(prompts)} prompts"
    else:
        what = str(prompts).rsplit("/", 1)[-1]
    model = str(parameters.get("model") or "").rsplit("@", 1)[0].removeprefix("google/")
    edition = str(parameters.get("edition") or "")
    with contextlib.suppress(ValueError, BadInput):  # the flow itself says so
        zone = str(parameters.get("edition_timezone") or "UTC")
        edition = RunRequest(edition=edition, edition_timezone=zone).scheduled(scheduled_start()).edition
    parts = [what, model, edition]
    return " · ".join(part for part in parts if part)[:200] or "imagen_pipeline"


@flow(
    name="imagen_pipeline",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@document_parameters
def imagen_pipeline(
    prompts: Prompts,
    store: Store,
    credentials: Credentials = None,
    catalog: Catalog = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    template: options.Template = None,
    aspect_ratio: options.AspectRatio = None,
    edition: options.Edition = "",
    edition_timezone: options.EditionTimezone = "UTC",
    budget_usd: options.BudgetUsd = None,
    tags: Annotated[dict[str, str] | None, Field(description="Labels kept with the run and with every image.")] = None,
    concurrency: Annotated[
        int | None, Field(ge=1, le=512, description="Paid calls in flight; a short form of the one in limits.")
    ] = None,
    rewrite: Annotated[
        str | Rewrite | None,
        Field(description="Language model that rewrites each prompt first, such as openai/gpt-4o-mini; or all of it."),
    ] = None,
    select: Annotated[
        PromptOptions, Field(description="Which prompts: column, variants, how many, which to leave out.")
    ] = PromptOptions(),
    image: Annotated[
        ImageOptions, Field(description="Which images: number, seed, fields of the model, fallback models.")
    ] = ImageOptions(),
    limits: RunLimits = Limits(),
    policy: RunPolicy = Policy(),
    delivery: RunDelivery = Delivery(),
) -> State[Any]:
    """Generate, download, verify, upload and catalog an image for every prompt; buy nothing that is owned.

    What is owned, what each call cost, and what may have been billed is in the ledger. The same run again buys only
    what is missing.

    Returns:
        `Completed` with a `RunReport`; or `Failed` named `Incomplete`, `BudgetReached` or `Blocked`, whose result is
        an `IncompleteRun` with the report.

    Raises:
        BadInput: Anything that is wrong with the input: nothing was sent and nothing was billed.
    """
    request = RunRequest(
        model=model,
        template=template,
        aspect_ratio=aspect_ratio,
        edition=edition,
        edition_timezone=edition_timezone,
        budget_usd=budget_usd,
        tags=tags,
        select=select,
        image=image,
        rewrite=rewrite,
        limits=limits if concurrency is None else limits.model_copy(update={"concurrency": concurrency}),
        policy=policy,
        delivery=delivery,
    )
    return final_state(generate(prompts, request, store, credentials, catalog), request.policy.on_incomplete)


def generate(
    prompts: str | list[str],
    request: RunRequest,
    store: S3ImageStore | LocalImageStore | str,
    credentials: ApiCredentials | None,
    catalog: ImageCatalog | str | None,
) -> RunReport:
    """Within a flow: carry its run out, and publish it. The run has the id of the flow run.

    Raises:
        BadInput: Anything that is wrong with the input.
    """
    with opened(prompts, request, store, credentials, catalog) as (run, refs):
        planned = expand_prompts(prompts, run.request, store=refs[1], catalog=refs[2], run_id=run.id)
        announce_model(run)
        tag_flow_run(run.request.tags)
        parameter_sets = run.batch.forms()
        images_per_item = sum(one.num_images for one in parameter_sets) / len(parameter_sets)
        try:
            with ProgressArtifact(run.ledger, run.id, images_per_item=images_per_item):
                report = run.complete(TaskRuns(refs, run.request), planned.items)
        except BaseException:
            with contextlib.suppress(ImagenError):  # it must not hide why the run stopped
                emit_end(run.report(), run)
            raise
        publish(report, run, source=prompts if isinstance(prompts, str) else None)
    return report


def scheduled_start() -> datetime:
    """When the current flow run was scheduled to start; now, outside of one."""
    return prefect.runtime.flow_run.scheduled_start_time or datetime.now(UTC)


@contextmanager
def opened(
    prompts: str | list[str],
    request: RunRequest,
    store: S3ImageStore | LocalImageStore | str,
    credentials: ApiCredentials | None,
    catalog: ImageCatalog | str | None,
    *,
    check: Callable[[Sequence[str | None]], None] = lambda _: None,
) -> Iterator[tuple[Run, References]]:
    """Check a request and its services, then open its run for this flow and its tasks.

    Where the caller of the flow has prepared the run already (the command line does), nothing is checked again.

    Args:
        prompts: As the flow got them.
        request: As the flow got it.
        store: Block or address.
        credentials: Block; None for the environment.
        catalog: Block or address.
        check: Looks at the references before anything is asked.

    Raises:
        BadInput: Anything that is wrong with the input.
        Unavailable: A service does not answer.
    """
    prepared = take_over()
    checked: CheckedBatch | None = None
    if prepared is None:
        request = request.scheduled(scheduled_start())
        block = credentials_block(credentials, request.model)
        checked = check_request(
            prompts,
            request,
            Endpoint.of(block.get_client(request.model)),
            ledger=lambda: catalog_block(catalog).get_ledger(),
            store=image_store_block(store).get_store(),
        )
    with references(credentials, store, catalog) as refs:
        check(refs)
        if prepared is None:
            prepared = connect(request, refs, checked.batch.model if checked is not None else request.model, checked)
            require_budget(prepared.ledger, request.budget_usd)
        run = Run.open(prepared, str(prefect.runtime.flow_run.id), get_run_logger())
        run.on_budget_warning = _send_budget_warning
        run.on_pause = partial(_send_pause, contextvars.copy_context(), run.request.delivery.patience)
        with shared_run(run.id, lambda: run):
            yield run, (refs[0], refs[1], refs[2])


def _send_budget_warning(run_id: str, warning: BudgetWarning) -> None:
    state = warning.state
    events.send(
        events.BudgetWarning(
            scope=state.period.value,
            period=state.window,
            provider=state.provider,
            spent_usd=float(credits_to_usd(state.spent)),
            reserved_usd=float(credits_to_usd(state.reserved)),
            cap_usd=float(credits_to_usd(state.limit)),
            share=round((state.spent + state.reserved) / state.limit, 4),
            run_id=run_id,
        )
    )


def _send_pause(flow: contextvars.Context, patience: float, run_id: str, of: Any, reason: str | None) -> None:
    """Send what a thread of the purchase has found, in the context of the flow: the thread knows no Prefect."""
    event: events.Payload = events.BuyingResumed(run_id=run_id, of=of)
    if reason is not None:
        text = reason[: events.MAX_TEXT]
        event = events.BuyingPaused(run_id=run_id, of=of, reason=text, patience_seconds=patience)
    flow.copy().run(events.send, event)


def connect(
    request: RunRequest, refs: Sequence[str | None], model: str, checked: CheckedBatch | None = None
) -> Prepared:
    """Turn references into services and check these.

    Raises:
        BadInput: A block that is not there, or anything that `prepare` finds.
        Unavailable: A service does not answer.
    """
    credentials, store, catalog = refs
    ledger = catalog_block(catalog).get_ledger()
    target = image_store_block(store or "").get_store()
    client = credentials_block(credentials, model).get_client(model)
    return prepare(request, client=client, ledger=ledger, store=target, checked=checked)


def announce_model(run: Run) -> None:
    """Send an event if the provider has announced that the model of a run will go."""
    model = run.batch.resolve()
    retiring = run.batch.terms.retiring.get(model.spec.id)
    if retiring is not None:
        events.send(
            events.ModelRetiring(
                model=model.spec.id,
                shutdown_date=retiring.shutdown,
                successor=retiring.successor,
                message=retiring.reason[: events.MAX_TEXT],
                run_id=run.id,
            )
        )


def final_state(report: RunReport, on_incomplete: Literal["fail", "warn"]) -> State[Any]:
    """The state that a flow run ends in."""
    logger = get_run_logger()
    if report.complete:
        logger.info(report.summary())
        return Completed(message=report.summary(), data=report)
    # The command line prints the report itself.
    logger.warning(report.summary(), extra={"imagen_summary": True})
    if on_incomplete == "warn":
        return Completed(name=report.outcome, message=report.summary(), data=report)
    return Failed(name=report.outcome, message=report.summary(), data=IncompleteRun(report))
