"""Prompts become items of a run in the ledger. Spends nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import prefect.runtime
from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks.references import catalog_block, image_store_block
from ..core.ledger import RunSpec
from ..core.money import usd_to_credits
from ..core.plan import ModelAvailability, open_batch
from ..core.run.checks import bind_destination
from ..core.run.models import as_rows
from .attached import Catalog, Store
from .links import flow_run_url
from .manifests import PlannedRun

__all__ = ["expand_prompts"]


@task(name="expand_prompts", task_run_name="expand_prompts", cache_policy=NO_CACHE)
def expand_prompts(
    prompts: str | list[str],
    *,
    model: str = "google/imagen4/preview",
    parameters: Mapping[str, Any] | None = None,
    prompt_column: str | None = None,
    template: str | None = None,
    variants: bool = True,
    limit: int | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    edition: str = "",
    repeat: int = 1,
    skip_invalid: bool = False,
    budget_usd: float | None = None,
    tags: Mapping[str, str] | None = None,
    store: Store = None,
    catalog: Catalog = None,
    run_id: str | None = None,
    adopt_ledger: bool = False,
    wildcards: str | None = None,
    exclude: Sequence[str] | None = None,
    per_row: int | None = None,
    max_prompts: int | None = None,
    matrix: Mapping[str, Sequence[Any]] | None = None,
    rewrite: str | None = None,
    rewrites: int = 1,
    brief: str | None = None,
    rewrite_price: str | None = None,
    fallback: Sequence[str] | None = None,
    lenient: bool = False,
    terms: ModelAvailability | None = None,
) -> PlannedRun:
    """Expand prompts, check every one of them against the model, and write them into the ledger as a run.

    Args:
        prompts: Path or `s3://` URI of a TXT, CSV, TSV, JSONL or Parquet file; or a list of prompts; or a plan that
            `prefect-imagen plan --out` has written, which takes no option that would change what is bought.
        model: Id, alias, or `MODEL@CONTRACT`.
        parameters: Fields of the model, such as `aspect_ratio`, for every prompt.
        prompt_column: Column with the prompt; found by itself where there is one candidate.
        template: Jinja2 over a row's columns.
        variants: Whether `{a|b}` is multiplied out.
        limit: First N prompts.
        sample: N prompts drawn at random.
        sample_seed: Which N.
        edition: Asks for fresh images of the same prompts.
        repeat: Images of each prompt.
        skip_invalid: Leave out prompts that do not fit the model.
        budget_usd: The run's cap.
        tags: Labels kept with the run.
        store: Where the run's images will go; checked for access, and marked as this ledger's.
        catalog: The ledger; None for this user's own.
        run_id: To go on with a run; None for a new one.
        adopt_ledger: Take over a store that another ledger has marked.
        wildcards: Folder or `s3://` prefix with the values of `__name__`.
        exclude: Rules for combinations to leave out, such as `snow & beach`.
        per_row: N prompts of each row, drawn at random.
        max_prompts: More prompts than this are refused.
        matrix: Parameter → values; each prompt is bought in every combination of them.
        rewrite: Language model that `rewrite_prompts` has rewrite each prompt first; None to send it as it is.
        rewrites: Texts of each prompt, each with images of its own.
        brief: What the texts should be like.
        rewrite_price: `IN,OUT` in USD per million tokens, for a language model whose price is not known.

        fallback: Models that may stand in for `model` once it is withdrawn, in that order.
        lenient: Leave out parameters that a model cannot do, instead of refusing them.
        terms: Prices of today and what is withdrawn, from the flow; None for what the registry knows.

    Returns:
        The run.

    Raises:
        BadInput: Anything wrong with prompts, template, model, parameters or store; no run is begun.
    """
    spec = open_batch(
        prompts,
        prompt_column=prompt_column,
        template=template,
        variants=variants,
        wildcards=wildcards,
        exclude=exclude,
        per_row=per_row,
        limit=limit,
        sample=sample,
        sample_seed=sample_seed,
        max_prompts=max_prompts,
        model=model,
        parameters={name: value for name, value in (parameters or {}).items() if value is not None},
        matrix=matrix,
        rewrite=rewrite,
        rewrites=rewrites,
        brief=brief,
        rewrite_price=rewrite_price,
        edition=edition,
        repeat=repeat,
        skip_invalid=skip_invalid,
        fallback=fallback,
        lenient=lenient,
    )
    if terms is not None:
        spec = replace(spec, terms=terms)
    spec.check()
    ledger = catalog_block(catalog).get_ledger()
    destination = None
    if store is not None:
        target = image_store_block(store).get_store()
        target.preflight(tags)
        bind_destination(ledger, target, adopt=adopt_ledger)
        destination = target.destination
    run = RunSpec(
        id=run_id or uuid.uuid4().hex,
        model=spec.resolve().name,
        parameters=spec.parameters,
        models=as_rows(spec),
        destination=destination,
        edition=spec.edition,
        tags=tags or {},
        budget=usd_to_credits(budget_usd) if budget_usd is not None else None,
        flow_run_id=prefect.runtime.flow_run.id,
        flow_run_name=prefect.runtime.flow_run.name,
        flow_run_url=flow_run_url(),
    )
    ledger.runs.start(run)
    ledger.runs.add_items(run.id, spec.run_items())
    progress = ledger.runs.progress(run.id)
    return PlannedRun(run.id, progress.rows, progress.total, progress.owned)
