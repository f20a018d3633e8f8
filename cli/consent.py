"""A yes before much is spent: from the person at the terminal; where there is none, from an option or a budget."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from ..core.request import RunRequest
from .console import stderr

if TYPE_CHECKING:
    from ..core.ledger import Ledger
    from ..core.run.checks import Prepared

ASK_ABOVE_USD = 10

Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help=f"Do not ask before spending more than ${ASK_ABOVE_USD}.",
        rich_help_panel=RunRequest.section,
    ),
]


def require_consent(runs: Sequence[Prepared], budget_usd: float | None, *, yes: bool) -> None:
    """Ask before more than $10 is spent. Without a terminal, a budget of the run, day or month stands for the answer.

    Args:
        runs: What is about to be bought; sharing one ledger.
        budget_usd: The budget of these runs, if they have one.
        yes: The answer was given on the command line.

    Raises:
        typer.Abort: The answer is no.
        BadInput: Nobody can be asked, and nothing bounds the spending.
    """
    if not runs or _is_given(runs[0].ledger, budget_usd, yes=yes):
        return
    from ..core.money import usd_to_credits
    from ..core.plan import make_plan

    most = usd_to_credits(ASK_ABOVE_USD)
    batches = [(run.checked.batch, run.checked.prompts) for run in runs if run.checked is not None]
    if all(batch.rewrite is None for batch, _ in batches):
        forms = sum(prompts * batch.repeat * sum(form.price for form in batch.forms()) for batch, prompts in batches)
        if forms <= most:
            return
    plans = [make_plan(batch, runs[0].ledger) for batch, _ in batches]
    price, price_high = sum(plan.price for plan in plans), sum(plan.price_high for plan in plans)
    images = sum(plan.images for plan in plans)
    consent_to(images, price, price_high, runs[0].ledger, budget_usd, yes=yes)


def consent_to(
    images: int, price: int, price_high: int, ledger: Ledger, budget_usd: float | None, *, yes: bool
) -> None:
    """The same for what is counted and priced already, in credits; raises what `require_consent` raises."""
    from ..core.money import credits_to_usd, format_usd, usd_to_credits

    if price <= usd_to_credits(ASK_ABOVE_USD) or _is_given(ledger, budget_usd, yes=yes):
        return
    text = f"{images:,} images for about {format_usd(price)} (at most {format_usd(price_high)})"
    if not _at_terminal():
        raise BadInput(
            f"this would buy {text}, and there is no terminal to ask on: give the run a budget, "
            f"--budget-usd {math.ceil(credits_to_usd(price_high))}, or set one for all runs of the catalog, "
            "`prefect-imagen budget --day 20`; or add --yes"
        )
    if budget_usd is not None:
        text += f", under a budget of ${budget_usd:,.2f}"
    typer.confirm(f"Buy {text}?", abort=True, err=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty() and stderr().is_terminal


def _is_given(ledger: Ledger, budget_usd: float | None, *, yes: bool) -> bool:
    """Whether nobody has to be asked: the answer was given, or a budget stands for it where nobody is there."""
    return yes or (not _at_terminal() and (budget_usd is not None or ledger.budgets.bound_everything()))
