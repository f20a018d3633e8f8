"""How a run went: every item, every credit, in a form for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import BadInput, ImagenError
from ..ledger import CostSummary, ImageState, ItemState, LeasedItem, Ledger, OpenItem, RewriteReport, describe_workers
from ..limits import StopReason
from ..money import credits_to_usd, format_usd
from .models import run_models

_LISTED = 100
_SETTLED = (ItemState.DELIVERED,)


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run, counted.

    Attributes:
        run_id: The run.
        outcome: `Completed`, `Incomplete`, `BudgetReached` or `Blocked`.
        message: Why it did not complete.
        destination: Where the images are.
        catalog: The ledger's address, without its password.
        rows: Rows of the source, duplicates included.
        items: Distinct items.
        states: Items by state, every state present.
        owned: Items delivered by earlier runs.
        images: Stored images of the run's items.
        quarantined: Images that were paid and are not images.
        damaged: Stored images that are not whole, or could not be checked.
        account: The run's own calls.
        open: Items that were not delivered, at most 100 of them.
        held: Items that another run is working on.
        rewrites: The texts they are made from; None where prompts are sent as they are.
        model: What was bought, at the end.
        replaced: Models that were wanted before it, and are withdrawn.
        successor: What the provider names instead of `model`, where it is not served any more.
        omitted: Parameters that were left out, since the model cannot do them (`lenient`).
        stop: Why the run was stopped; None for a run that came to its end.
        budget: Whose budget was reached, if that is why: `run`, `day` or `month`.
    """

    run_id: str
    outcome: str
    message: str
    destination: str | None
    catalog: str
    rows: int
    items: int
    states: Mapping[str, int]
    owned: int
    images: int
    quarantined: int
    account: CostSummary
    open: tuple[OpenItem, ...] = field(default=())
    held: int = 0
    rewrites: RewriteReport | None = None
    model: str = ""
    replaced: tuple[str, ...] = ()
    successor: str | None = None
    omitted: tuple[str, ...] = ()
    stop: StopReason | None = None
    budget: str | None = None
    damaged: int = 0

    @property
    def complete(self) -> bool:
        """Whether every item is delivered."""
        return self.outcome == "Completed"

    @property
    def delivered(self) -> int:
        """Items delivered, owned ones included."""
        return self.states[ItemState.DELIVERED]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it. Amounts in credits and in USD."""
        money = {
            name: {"calls": line.calls, "credits": line.credits}
            for name in CostSummary.__dataclass_fields__
            if (line := getattr(self.account, name))
        }
        return {
            "run_id": self.run_id,
            "outcome": self.outcome,
            "message": self.message,
            "stop": self.stop,
            "budget": self.budget,
            "destination": self.destination,
            "catalog": self.catalog,
            "rows": self.rows,
            "items": self.items,
            "states": {str(state): count for state, count in self.states.items()},
            "owned": self.owned,
            "images": self.images,
            "quarantined": self.quarantined,
            "damaged": self.damaged,
            "held": self.held,
            "model": self.model,
            "replaced": list(self.replaced),
            "successor": self.successor,
            "omitted": list(self.omitted),
            "account": {
                **money,
                "billed_credits": self.account.billed,
                "billed_usd": float(credits_to_usd(self.account.billed)),
                "billed_at_most_usd": float(credits_to_usd(self.account.billed_at_most)),
            },
            "open": [{name: getattr(item, name) for name in OpenItem.__dataclass_fields__} for item in self.open],
            "rewrites": asdict(self.rewrites) if self.rewrites is not None else None,
        }

    def summary(self) -> str:
        """One line for a log or a state message."""
        counts = ", ".join(f"{count} {state}" for state, count in self.states.items() if count)
        money = f"{format_usd(self.account.billed)} billed in this run"
        if self.account.unknown.calls:
            money += f", {format_usd(self.account.unknown.credits)} unknown"
        tail = f" — {self.message}" if self.message else ""
        return f"{counts or 'nothing to do'}; {money}{tail}"


class IncompleteRun(ImagenError):
    """A run ended with items that are not delivered. `report` says which, why, and what was billed."""

    def __init__(self, report: RunReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return self.report.summary()


def make_report(
    ledger: Ledger,
    run_id: str,
    *,
    outcome: str | None = None,
    message: str = "",
    destination: str | None = None,
    ended: bool = False,
) -> RunReport:
    """Count a run as the ledger has it.

    Args:
        ledger: Open.
        run_id: The run.
        outcome: How it ended; None to tell from the items.
        message: Why.
        destination: Where the images are; None for what the run's row says.
        ended: The run works on nothing any more: whatever of it is held, somebody else holds.
    """
    progress = ledger.runs.progress(run_id)
    run = ledger.runs.get(run_id)
    unfinished = progress.total - sum(progress.items[state] for state in _SETTLED)
    # Its own process holds items as long as the run goes on; two runs of one process are told apart only at the end.
    own = run["holder_id"] if run["ended_at"] is None and not ended else None
    held = ledger.items.leased(run_id, destination=run["destination"], but_worker=own)
    elsewhere = ledger.archives.elsewhere(run_id, run["destination"])
    if outcome is None:
        outcome = "Incomplete" if unfinished or held or elsewhere else "Completed"
    if held and not message:
        message = f"{len(held)} items are held: {describe_workers(held)}"
    if elsewhere and not message:
        message = _archived(elsewhere, run["destination"])
    return RunReport(
        run_id=run_id,
        outcome=outcome,
        message=message,
        destination=destination or run["destination"],
        catalog=ledger.description,
        rows=progress.rows,
        items=progress.total,
        states={state.value: count for state, count in progress.items.items()},
        owned=progress.owned,
        images=progress.images,
        quarantined=ledger.images.count_in(ImageState.QUARANTINED, run_id),
        account=ledger.costs.of(run_id),
        open=tuple(_open_items(ledger, run_id, held)),
        held=len(held),
        damaged=ledger.images.count_damaged(run_id),
        rewrites=ledger.rewrites.report(run_id, limit=_LISTED),
        **_models(run),
    )


def _archived(elsewhere: Mapping[str, int], destination: str) -> str:
    """What to do about items whose rows are moved out."""
    commands = ", ".join(f"`prefect-imagen archive --restore {name} --yes`" for name in elsewhere)
    return (
        f"{sum(elsewhere.values())} items are archived, and their images are not at {destination}: they are owned, so "
        f"nothing was bought, and nothing copied. {commands} puts their rows back; then the same command copies them"
    )


def _open_items(ledger: Ledger, run_id: str, held: Sequence[LeasedItem]) -> list[OpenItem]:
    """The items that are not delivered; those that another run holds say so."""
    reasons = {item.item_id: f"held by {item.worker}" for item in held}
    found = ledger.runs.open_items(run_id, limit=_LISTED)
    return [replace(item, reason=reasons.get(item.item_id, item.reason)) for item in found]


def _models(run: Mapping[str, Any]) -> dict[str, Any]:
    """What was bought, in place of what, and what was left out."""
    try:
        models = run_models(run)
    except BadInput:  # of a user's file of models that is not here
        return {"model": run["model"]}
    place = next((n for n, one in enumerate(models) if not one.withdrawn), len(models) - 1)
    return {
        "model": models[place].model.name,
        "replaced": tuple(one.model.name for one in models[:place]),
        "omitted": models[place].omitted,
    }
