"""Models that go: what is said of it, and who stands in when one is gone in the middle of a run."""

from __future__ import annotations

from dataclasses import replace

from prefect import get_run_logger

from ..core.aimlapi import WithdrawnModel
from ..core.limits import StopReason
from ..core.plan import AnyBatch
from ..core.run.checks import with_terms
from ..core.run.models import as_rows
from ..core.run.report import RunReport
from ..core.run.services import RunContext
from .events import emit_model_retiring

__all__ = ["name_successor", "stand_in", "tell_of_models"]


def tell_of_models(batch: AnyBatch, run_id: str) -> None:
    """Log what is to be known of a run's models, and send an event for the one it buys from if that will go."""
    logger = get_run_logger()
    wanted, model = batch.models()[0], batch.resolve()
    if batch.active_index:
        logger.warning("%s is withdrawn; %s stands in for it", wanted.name, model.name)
    for note in batch.terms.notes:
        logger.warning("%s", note)
    for omission in batch.candidates()[batch.active_index].omitted:
        logger.warning("left out: %s", omission)
    retiring = batch.terms.retiring.get(model.spec.id)
    if retiring is not None:
        emit_model_retiring(
            model.spec.id,
            shutdown_date=retiring.shutdown,
            successor=retiring.successor,
            message=retiring.reason,
            run_id=run_id,
        )


def name_successor(report: RunReport, context: RunContext, batch: AnyBatch) -> RunReport:
    """The report of a run that stopped because its model is not served, with what the provider names instead."""
    if context.halt.reason is not StopReason.MODEL or context.client is None:
        return report
    model = batch.resolve()
    successor = model.spec.lifecycle.successor
    try:
        with_terms(replace(batch, fallback=()), context.client.base_url)
    except WithdrawnModel as error:
        successor = error.successor or successor
    if successor is None:
        return report
    return replace(report, successor=successor, message=f"{report.message}; its successor is {successor}")


def stand_in(context: RunContext, batch: AnyBatch) -> AnyBatch | None:
    """Let the next model of a run stand in for one that the API has just said it does not serve.

    Returns:
        The batch on its new terms; None if the run was halted by something else, or nobody is left to stand in.
    """
    if context.halt.reason is not StopReason.MODEL:
        return None
    gone = batch.resolve()
    following = replace(batch, terms=batch.terms.withdrawing(gone))
    try:
        model = following.resolve()
    except WithdrawnModel:
        return None
    if not context.halt.clear(StopReason.MODEL):
        return None
    context.ledger.runs.set_models(context.run_id, as_rows(following))
    switched = context.ledger.runs.switch_items(context.run_id, following.run_items())
    get_run_logger().warning("%s is not served; %s stands in for it in %d rows", gone.name, model.name, switched)
    return following
