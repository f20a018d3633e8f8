"""The step that spends money: every item is claimed, reserved, sent, recorded and settled in the ledger."""

from __future__ import annotations

from collections import Counter

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..core.errors import BadInput
from ..core.ledger import ClaimedItem, ItemState
from ..core.run.services import RunContext, RunSettings
from .attached import Catalog, Credentials, Store, Work, attached, raise_if_unavailable
from .manifests import Batch, Generated, PlannedRun
from .retries import unavailable_only

__all__ = ["generate_images", "wanted_items"]


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
    settings: RunSettings | None = None,
) -> Generated:
    """Buy what is not owned. Items bought before, by any run, are not bought again.

    Args:
        run: A run, for everything there is to do in it, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought. Also finds owned images that are not there yet.
        catalog: The ledger; None for this user's own.
        settings: Calls in flight, rate, what to do with unknowns.

    Returns:
        The items that have images to be delivered now. They are held by this process until `catalog_images`.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block; prompts that `rewrite_prompts` should have seen first.
    """
    work = Work(credentials, store, catalog, settings or RunSettings())
    with attached(run.run_id, work) as (context, alone):
        ledger = context.ledger
        if alone and context.client is not None:
            ledger.bind(context.client.origin())
        wanted = wanted_items(run, context)
        claimed = ledger.items.claim(
            wanted, unknown=context.settings.unknown, retry_refused=context.settings.retry_refused
        )
        to_buy = [item for item in claimed if item.state is ItemState.CLAIMED]
        try:
            if alone:
                _check_texts(to_buy)
            context.buy(to_buy)
        finally:
            ledger.items.release([item.id for item in to_buy], keep_paid=True)
        raise_if_unavailable(context.halt, alone=alone)
        states = ledger.items.states([item.id for item in claimed])
    ready = tuple(item.id for item in claimed if states.get(item.id) in (ItemState.GENERATED, ItemState.DELIVERED))
    return Generated(run.run_id, ready, dict(Counter(state.value for state in states.values())))


def wanted_items(run: PlannedRun | Batch, context: RunContext) -> list[str]:
    """Ids of the items of a batch, or of all there is to do in a run."""
    if isinstance(run, Batch):
        return list(run.item_ids)
    return list(
        context.ledger.items.pending(
            run.run_id,
            destination=context.destination,
            unknown=context.settings.unknown,
            retry_refused=context.settings.retry_refused,
        )
    )


def _check_texts(items: list[ClaimedItem]) -> None:
    """Within `imagen_pipeline` a text may be missing because the run was halted; on its own, a step was left out.

    Raises:
        BadInput: It was.
    """
    missing = sum(1 for item in items if item.rewrite is not None and item.rewrite.state is ItemState.PLANNED)
    if missing:
        raise BadInput(f"{missing} prompts are to be rewritten first: call rewrite_prompts before generate_images")
