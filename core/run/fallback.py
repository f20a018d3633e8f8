"""Models that are withdrawn and providers that fail: what a run says of them, and how it goes on with a fallback."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..limits import StopReason
from ..providers import Endpoint, WithdrawnModel
from .checks import with_terms
from .models import as_rows
from .report import RunReport

if TYPE_CHECKING:
    from .run import Run


def log_notices(run: Run) -> None:
    """Log what is to be known about the models of a run: withdrawn, retiring, parameters left out."""
    batch = run.batch
    if batch.active_index:
        run.logger.warning("%s is withdrawn; %s is used instead", batch.models()[0].name, batch.resolve().name)
    for note in batch.terms.notes:
        run.logger.warning("%s", note)
    for omission in batch.candidates()[batch.active_index].omitted:
        run.logger.warning("left out: %s", omission)


def switch_to_fallback(run: Run) -> bool:
    """Go on with the next model of the run, if the API does not serve the current one or its provider sells nothing.

    Nothing is bought from a provider any more once no call of it succeeds, or its key, credit, rate or budget has ended
    the purchase; a fallback of another provider is bought from instead.

    Returns:
        Whether there is something to buy again: false if something else stopped the run, or no model is left.
    """
    services, batch, halt = run.services, run.batch, run.services.halt
    reason, account = halt.reason, halt.account
    before, terms = batch.resolve(), batch.terms
    if reason is StopReason.MODEL:
        why, terms = f"{before.name} is not served", terms.withdrawing(before)
    elif reason is not None and account is not None:
        why = f"nothing more can be bought from {account} ({reason}: {halt.message})"
        terms = terms.closing(account, halt.message)
    else:
        return False
    following = replace(batch, terms=terms)
    try:
        model = following.resolve()
    except WithdrawnModel:
        return False
    if not halt.clear(reason):
        return False
    services.ledger.runs.set_models(services.run_id, as_rows(following))
    switched = services.ledger.runs.switch_items(services.run_id, following.run_items())
    run.logger.warning("%s; %s is used instead in %d rows", why, model.name, switched)
    run.batch = following
    return True


def name_successor(run: Run, report: RunReport) -> RunReport:
    """The report of a run whose model is not served, with the successor that the provider names."""
    services, batch = run.services, run.batch
    if services.halt.reason is not StopReason.MODEL or services.client is None:
        return report
    successor = batch.resolve().spec.lifecycle.successor
    try:
        with_terms(replace(batch, fallback=()), Endpoint.of(services.client))
    except WithdrawnModel as error:
        successor = error.successor or successor
    if successor is None:
        return report
    return replace(report, successor=successor, message=f"{report.message}; its successor is {successor}")
