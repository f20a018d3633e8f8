"""The step that spends money: every item is claimed, reserved, sent, recorded and settled in the ledger."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.request import RunRequest
from ..core.run.results import Batch, Generated, PlannedRun
from .runtime import (
    Catalog,
    Credentials,
    RunConfig,
    Store,
    attached,
    batch_of,
    bind_alone,
    raise_if_unavailable,
    unavailable_only,
)


@task(
    name="generate_images",
    task_run_name="generate_images",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=unavailable_only,
)
def generate_images(
    run: PlannedRun | Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Generated:
    """Buy what is not owned. Items bought before, by any run, are not bought again.

    Args:
        run: A run, for everything there is to do in it, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought. Also finds owned images that are not there yet.
        catalog: The ledger; None for this user's own.
        request: Calls in flight, rate, what to do with items that are unknown.

    Returns:
        The items that have images to be delivered now. This process leases them until `catalog_images`.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block; prompts that `rewrite_prompts` should have seen first.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest())
    with attached(run.run_id, config) as (work, alone):
        bind_alone(work, alone=alone)
        generated = work.generate(batch_of(work, run), texts_required=alone)
        raise_if_unavailable(work, alone=alone)
    return generated
