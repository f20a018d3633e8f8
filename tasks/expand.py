"""Prompts become items of a run in the ledger. Spends nothing."""

from __future__ import annotations

import uuid

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks.references import catalog_block, image_store_block
from ..core.delivery import Marker
from ..core.inputs import InputReader, InputShelf
from ..core.plan import open_batch
from ..core.request import RunRequest
from ..core.run.results import PlannedRun
from ..core.run.run import keep_inputs, write_run
from .runtime import Catalog, Store, current_flow_run, running


@task(name="expand_prompts", task_run_name="expand_prompts", cache_policy=NO_CACHE)
def expand_prompts(
    prompts: str | list[str],
    request: RunRequest | None = None,
    *,
    budget_usd: float | None = None,
    store: Store = None,
    catalog: Catalog = None,
    run_id: str | None = None,
) -> PlannedRun:
    """Expand prompts, check every one of them against the model, and write them into the ledger as a run.

    Args:
        prompts: Path or `s3://` URI of a TXT, CSV, TSV, JSONL or Parquet file; or a list of prompts; or a plan that
            `prefect-imagen plan --out` has written, which takes no option that would change what is bought.
        request: Model, template, selection of prompts, parameters of the images; None for the defaults.
        budget_usd: The run's cap, in USD; a short form of the request's.
        store: Where the run's images will go; checked for access, and marked as this ledger's.
        catalog: The ledger; None for this user's own.
        run_id: To go on with a run; None for a new one.

    Returns:
        The run.

    Raises:
        BadInput: Anything wrong with prompts, template, model, parameters or store; no run is begun.
    """
    run = running(run_id)
    if run is not None and run.has_batch:  # within a flow, which has checked it
        return run.plan(current_flow_run())
    request = request or RunRequest()
    if budget_usd is not None:
        request = request.model_copy(update={"budget_usd": budget_usd})
    ledger = catalog_block(catalog).get_ledger()
    batch = open_batch(prompts, request, InputReader(lambda: ledger))
    batch.check()
    destination = target = None
    if store is not None:
        target = image_store_block(store).get_store()
        target.preflight(request.tags)
        Marker(ledger, target).bind(adopt=request.delivery.adopt_ledger)
        destination = target.destination
    planned = write_run(ledger, run_id or uuid.uuid4().hex, batch, request, destination, current_flow_run())
    keep_inputs(ledger, planned.run_id, batch, InputShelf(target if request.delivery.keep_inputs else None))
    return planned
