"""Prompts that are to be rewritten get their texts. Each is a paid call, on the ledger like any other."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.request import RunRequest
from ..core.run.results import Batch, PlannedRun, Rewritten
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
    name="rewrite_prompts",
    task_run_name="rewrite_prompts",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=unavailable_only,
)
def rewrite_prompts(
    run: PlannedRun | Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Rewritten:
    """Have a language model write the texts that images wait for. Texts that were bought before are not bought again.

    Does nothing where `expand_prompts` was not told to `rewrite`.

    Args:
        run: A run, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought.
        catalog: The ledger; None for this user's own.
        request: As for `generate_images`.

    Returns:
        The items, for `generate_images`, and the state of their texts.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block, a language model whose price is not known.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest())
    with attached(run.run_id, config) as (work, alone):
        bind_alone(work, alone=alone)
        rewritten = work.rewrite(batch_of(work, run))
        raise_if_unavailable(work, alone=alone)
    return rewritten
