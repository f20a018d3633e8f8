"""Prompts that are to be rewritten get their texts. Each is a paid call, on the ledger like any other."""

from __future__ import annotations

from collections import Counter
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.ledger import LedgerUnavailable
from ..core.limits import StopReason
from ..core.run.services import RunSettings
from ..core.threads import in_threads
from .attached import Catalog, Credentials, Store, Work, attached, raise_if_unavailable
from .generate import wanted_items
from .manifests import Batch, PlannedRun, Rewritten
from .retries import unavailable_only

__all__ = ["rewrite_prompts"]

_AT_ONCE = 500


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
    settings: RunSettings | None = None,
) -> Rewritten:
    """Have a language model write the texts that images wait for. Texts that were bought before are not bought again.

    Does nothing where `expand_prompts` was not told to `rewrite`.

    Args:
        run: A run, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought.
        catalog: The ledger; None for this user's own.
        settings: As for `generate_images`.

    Returns:
        The items, for `generate_images`, and how their texts stand.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block, a language model whose price is not known.
    """
    work = Work(credentials, store, catalog, settings or RunSettings())
    with attached(run.run_id, work) as (context, alone):
        if alone and context.client is not None:
            context.ledger.bind(context.client.origin())
        wanted = wanted_items(run, context)
        rewriter = context.rewriter()
        for begin in range(0, len(wanted), _AT_ONCE):
            try:
                rewriter.rewrite(wanted[begin : begin + _AT_ONCE], partial(in_threads, context.purchase_pool))
            except LedgerUnavailable as error:
                context.halt.set(StopReason.LEDGER, str(error))
            if context.halt.is_set:
                break
        raise_if_unavailable(context.halt, alone=alone)
        states = context.ledger.rewrites.states(wanted)
    return Rewritten(run.run_id, tuple(wanted), dict(Counter(state.value for state in states.values())))
