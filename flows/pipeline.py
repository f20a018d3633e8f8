"""The main chain: prompts in, verified images in a store and a catalog out, every paid call on the ledger."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Annotated, Any, Literal

import prefect.runtime
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks import AimlApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.references import credentials_block, references
from ..core.delivery import MAX_BYTES
from ..core.errors import BadInput, ImagenError
from ..core.ledger import UnknownPolicy
from ..core.limits import StopReason, StopSignal
from ..core.money import usd_to_credits
from ..core.plan import open_batch
from ..core.purchase import recover_replies
from ..core.repair import ask_log
from ..core.run.checks import check_batch, check_services, with_terms
from ..core.run.report import IncompleteRun, RunReport, make_report
from ..core.run.services import RunContext
from ..tasks.attached import Work, shared_context
from ..tasks.expand import expand_prompts
from .chunks import MAX_CHUNKS, run_chunks
from .described import described
from .edition import resolve_edition
from .ending import announce, leave_traces, tag_flow_run
from .options import batch_options, run_settings
from .progress import ProgressArtifact
from .succession import name_successor, stand_in, tell_of_models

__all__ = ["ask_about_unknown", "count_run", "imagen_pipeline", "make_ready", "outcome_of", "state_of"]

_ASK_SECONDS = 120.0
AspectRatio = Annotated[
    str | None, Field(description="Such as 16:9; for every model. None: the model's default.", pattern=r"^\d+:\d+$")
]


def _run_name() -> str:
    """`<prompts> · <model> · <edition>`, from the flow's parameters."""
    parameters = prefect.runtime.flow_run.parameters or {}
    prompts = parameters.get("prompts")
    if isinstance(prompts, list):
        what = prompts[0][:40] if len(prompts) == 1 else f"{len(prompts)} prompts"
    else:
        what = str(prompts).rsplit("/", 1)[-1]
    model = str(parameters.get("model") or "").rsplit("@", 1)[0].removeprefix("google/")
    edition = str(parameters.get("edition") or "")
    with contextlib.suppress(BadInput):  # the flow itself says so
        edition = resolve_edition(edition, str(parameters.get("edition_timezone") or "UTC"))
    parts = [what, model, edition]
    return " · ".join(part for part in parts if part)[:200] or "imagen_pipeline"


@flow(
    name="imagen_pipeline",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@described
def imagen_pipeline(
    prompts: Annotated[
        str | list[str],
        Field(
            description="Path or s3:// URI of a TXT, CSV, TSV, JSONL or Parquet file of prompts; the prompts "
            "themselves; or a plan of `prefect-imagen plan --out`, which is executed exactly."
        ),
    ],
    store: Annotated[
        S3ImageStore | LocalImageStore | str,
        Field(description="Where images go: a saved store, `s3://bucket/prefix`, or a folder."),
    ],
    credentials: Annotated[
        AimlApiCredentials | None, Field(description="API key. None: AIMLAPI_API_KEY of the environment.")
    ] = None,
    catalog: Annotated[
        ImageCatalog | str | None,
        Field(description="Ledger and catalog: a saved block, or the path of an SQLite file. None: this user's own."),
    ] = None,
    model: Annotated[str, Field(description="Id, alias, or MODEL@CONTRACT.")] = "google/imagen4/preview",
    prompt_column: Annotated[str | None, Field(description="Column with the prompt.")] = None,
    template: Annotated[str | None, Field(description="Jinja2 template over the columns of a row.")] = None,
    variants: Annotated[bool, Field(description="Whether {a|b} in prompts is multiplied out.")] = True,
    aspect_ratio: AspectRatio = None,
    num_images: Annotated[int | None, Field(ge=1, le=10, description="Images a request; each is paid.")] = None,
    seed: Annotated[int | None, Field(ge=0, description="Same seed for every prompt. None: one from its id.")] = None,
    parameters: Annotated[
        dict[str, Any] | None, Field(description="Further fields of the model, such as enhance_prompt.")
    ] = None,
    edition: Annotated[
        str, Field(description="Asks for fresh images of the same prompts; {scheduled_date} is filled in.")
    ] = "",
    edition_timezone: Annotated[str, Field(description="Where {scheduled_date} begins at midnight.")] = "UTC",
    repeat: Annotated[int, Field(ge=1, le=1000, description="Images of each prompt, each its own purchase.")] = 1,
    limit: Annotated[int | None, Field(ge=1, description="First N prompts.")] = None,
    sample: Annotated[int | None, Field(ge=1, description="N prompts drawn at random.")] = None,
    sample_seed: Annotated[int, Field(description="Which random N.")] = 0,
    skip_invalid: Annotated[bool, Field(description="Leave out prompts that do not fit the model.")] = False,
    tags: Annotated[dict[str, str] | None, Field(description="Labels kept with the run and its images.")] = None,
    budget_usd: Annotated[float | None, Field(gt=0, description="Most this run may cost, in USD.")] = None,
    concurrency: Annotated[int, Field(ge=1, le=512, description="Paid calls in flight.")] = 8,
    requests_per_minute: Annotated[
        float | None,
        Field(gt=0, description="Highest rate of paid calls, over all runs with this key and model. None: learnt."),
    ] = None,
    shared_concurrency: Annotated[
        int | None, Field(ge=1, description="Paid calls in flight over all runs with this key and model.")
    ] = None,
    chunk_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=1000)], Field(description="Items a chunk of task runs.")
    ] = "auto",
    on_incomplete: Annotated[
        Literal["fail", "warn"], Field(description="End as Failed or as Completed when items are not delivered.")
    ] = "fail",
    unknown: Annotated[
        UnknownPolicy, Field(description="Items that may have been billed: hold, retry (may pay twice), or fail.")
    ] = UnknownPolicy.HOLD,
    retry_refused: Annotated[bool, Field(description="Ask again for what the provider refused before.")] = False,
    spool_max_bytes: Annotated[
        int, Field(ge=1, description="Bytes that are paid and not stored yet, above which nothing more is bought.")
    ] = MAX_BYTES,
    drain_seconds: Annotated[
        float, Field(ge=0, le=3600, description="When stopped, seconds that calls in flight have to be answered.")
    ] = 25.0,
    patience: Annotated[float, Field(ge=0, le=86_400, description="Seconds to wait for a store that is away.")] = 120.0,
    key_template: Annotated[str, Field(description="Names of objects.")] = "{model}/{item_id}/{call}-{index}.{ext}",
    trust_unbilled_5xx: Annotated[
        bool, Field(description="Take a 5xx as unbilled, as the API's docs say, and try again.")
    ] = False,
    adopt_ledger: Annotated[bool, Field(description="Take over a destination of another ledger.")] = False,
    wildcards: Annotated[
        str | None, Field(description="Folder or s3:// prefix with the values of __name__ in prompts.")
    ] = None,
    exclude: Annotated[
        list[str] | None, Field(description="Combinations of variants to leave out, such as: snow & beach.")
    ] = None,
    per_row: Annotated[int | None, Field(ge=1, description="N prompts of each row, drawn at random.")] = None,
    max_prompts: Annotated[int | None, Field(ge=1, description="Refuse to run more prompts than this.")] = None,
    matrix: Annotated[
        dict[str, list[Any]] | None,
        Field(description='Each prompt in every combination of these values: {"aspect_ratio": ["1:1", "16:9"]}.'),
    ] = None,
    rewrite: Annotated[
        str | None, Field(description="Language model that rewrites each prompt first, such as openai/gpt-4o-mini.")
    ] = None,
    rewrites: Annotated[int, Field(ge=1, le=100, description="Texts of each prompt, each with its own images.")] = 1,
    brief: Annotated[str | None, Field(description="What the rewritten prompts should be like.")] = None,
    rewrite_fallback: Annotated[
        Literal["keep", "fail"],
        Field(description="An image whose prompt could not be rewritten: fail, or keep the prompt as it is."),
    ] = "fail",
    rewrite_price: Annotated[
        str | None,
        Field(description="IN,OUT in USD per million tokens, for a language model whose price is not known."),
    ] = None,
    fallback: Annotated[
        list[str] | None,
        Field(
            description="Models that stand in once the model is withdrawn, in that order; parameters are translated."
        ),
    ] = None,
    lenient: Annotated[
        bool, Field(description="Leave out parameters that the model cannot do, and say so, instead of refusing them.")
    ] = False,
    ask_catalogue: Annotated[
        bool, Field(description="Ask the API's catalogue first: prices, and models that are withdrawn.")
    ] = True,
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
    given = dict(locals())  # the parameters by name, before anything else has one
    settings, options = run_settings(given), batch_options(given)
    batch = with_terms(
        open_batch(prompts, **options), credentials_block(credentials).base_url, offline=not ask_catalogue
    )
    forms = batch.forms()
    images_per_item = sum(form.num_images for form in forms) / len(forms)
    if batch.rewrite is not None:
        settings = replace(settings, rewrite_price=batch.rewrite.price)
    check_batch(batch, budget=usd_to_credits(budget_usd) if budget_usd is not None else None)
    run_id = str(prefect.runtime.flow_run.id)
    with references(credentials, store, catalog) as (credentials_ref, store_ref, catalog_ref):
        work = Work(credentials_ref, store_ref, catalog_ref, settings)
        with shared_context(run_id, work) as context:
            make_ready(context, adopt=adopt_ledger, tags=tags or {})
            planned = expand_prompts(
                prompts,
                **options,
                budget_usd=budget_usd,
                tags=tags,
                store=store_ref,
                catalog=catalog_ref,
                run_id=run_id,
                adopt_ledger=adopt_ledger,
                terms=batch.terms,
            )
            tell_of_models(batch, run_id)
            tag_flow_run(tags or {})
            ask_about_unknown(context)
            try:
                with ProgressArtifact(context.ledger, run_id, images_per_item=images_per_item):
                    where = credentials_ref, store_ref, catalog_ref
                    failures = run_chunks(context, chunk_size, planned.items, *where)
                    while (following := stand_in(context, batch)) is not None:
                        batch = following
                        failures += run_chunks(context, chunk_size, planned.items, *where)
            except BaseException as error:
                # Cancelled, or a bug: nothing new is sent while the task runner waits for what is in flight.
                context.halt.set(StopReason.STOPPED, f"the run was stopped ({type(error).__name__})")
                with contextlib.suppress(ImagenError):  # it must not hide why the run stopped
                    announce(count_run(context, []), context)
                raise
            if unknown is UnknownPolicy.FAIL:
                context.ledger.items.fail_unknown(run_id)
            report = name_successor(count_run(context, failures, ended=True), context, batch)
            context.ledger.runs.finish(run_id, report.outcome)
            leave_traces(report, context, source=prompts if isinstance(prompts, str) else None)
    return state_of(report, on_incomplete)


def make_ready(context: RunContext, *, adopt: bool, tags: dict[str, str]) -> None:
    """Check the services, then settle what earlier processes left behind."""
    if context.client is None:
        raise BadInput("there are no API credentials to buy with")
    check_services(context.client, context.ledger, context.store, adopt=adopt, tags=tags)
    # In this order: the replies of processes that are alive are left to them, and so would be those of one that is not
    # known to be dead yet. An answer that lies in the spool must not be bought again.
    freed = context.ledger.release_dead_workers()
    recorded = recover_replies(context.ledger, context.spool.replies)
    logger = get_run_logger()
    if recorded:
        logger.info("recorded %d replies that an earlier process left in the spool", recorded)
    if freed > recorded:
        logger.warning("%d calls of a process that died are unknown: see `prefect-imagen status`", freed - recorded)


def ask_about_unknown(context: RunContext) -> None:
    """What earlier runs left unknown of these items, the API's log may tell: then nobody has to decide."""
    if context.client is None:
        return
    asked = ask_log(context.ledger, context.client, run_id=context.run_id, seconds=_ASK_SECONDS)
    if asked.calls:
        get_run_logger().info(
            "the API's log on %d unknown calls: %d not billed, %d billed and their answers lost, %d silent%s",
            asked.calls,
            asked.unbilled,
            asked.billed,
            asked.silent,
            f" ({asked.problem})" if asked.problem else "",
        )


def count_run(context: RunContext, failures: list[str], *, ended: bool = False) -> RunReport:
    halt = context.halt
    report = make_report(context.ledger, context.run_id, message="; ".join(failures), ended=ended)
    if report.complete or halt.reason is None:
        return report
    return replace(report, outcome=outcome_of(halt), message=f"{halt.reason}: {halt.message}")


def outcome_of(halt: StopSignal) -> str:
    """The name of the state that a halted run ends in."""
    return "BudgetReached" if halt.reason is StopReason.BUDGET else "Blocked"


def state_of(report: RunReport, on_incomplete: Literal["fail", "warn"]) -> State[Any]:
    logger = get_run_logger()
    if report.complete:
        logger.info(report.summary())
        return Completed(message=report.summary(), data=report)
    logger.warning(report.summary())
    if on_incomplete == "warn":
        return Completed(name=report.outcome, message=report.summary(), data=report)
    return Failed(name=report.outcome, message=report.summary(), data=IncompleteRun(report))
