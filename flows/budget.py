"""A budget for what a deployment buys: a schedule or an event starts it, and nobody is there to say yes."""

from __future__ import annotations

import prefect.runtime

from ..core.errors import BadInput
from ..core.ledger import Ledger


def require_budget(ledger: Ledger, budget_usd: float | None) -> None:
    """Refuse to buy without a budget in a run of a deployment, or in a flow that such a run calls.

    Args:
        ledger: Its budgets of the day and the month count, too.
        budget_usd: The budget of the run.

    Raises:
        BadInput: Nothing bounds what the run may spend.
    """
    if budget_usd is None and prefect.runtime.deployment.id is not None and not ledger.budgets.bound_everything():
        raise BadInput(
            "a run of a deployment needs a budget, since nobody is asked before it buys: set `budget_usd` among the "
            "deployment's parameters (`request.budget_usd` of imagen_fanout), or a budget for all runs of the catalog "
            "with `prefect-imagen budget --day 20`"
        )
