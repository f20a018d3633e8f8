"""How a run went: every item, every credit, in a form for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from ..errors import BadInput, ImagenError
from ..ledger import CallOutcome, CostSummary, ImageState, ItemState, Ledger, describe_workers
from ..ledger.schema import calls, images, items, run_items
from ..money import credits_to_usd, format_usd
from .models import run_models

__all__ = ["FailedRewrite", "IncompleteRun", "OpenItem", "RewriteReport", "RunReport", "make_report"]

_LISTED = 100
_SETTLED = (ItemState.DELIVERED,)


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that was not delivered, and why.

    Attributes:
        item_id: The item.
        state: Where it stands.
        prompt: Its text.
        source: File and line that asked for it.
        reason: In a sentence.
        client_request_id: Of its last call, to ask the provider about.
        reserved: Credits that the last call may have cost, where that is not known.
    """

    item_id: str
    state: str
    prompt: str
    source: str
    reason: str
    client_request_id: str | None
    reserved: int


@dataclass(frozen=True, slots=True)
class FailedRewrite:
    """A text that a language model was asked for, and that is not there.

    Attributes:
        state: `refused` where nothing of use came, `unknown` where it is not known, `planned` where it was not come to.
        prompt: What was to be rewritten.
        variation: Which of its texts.
        source: File and line that asked for it first.
        reason: In a sentence.
    """

    state: str
    prompt: str
    variation: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """The texts a run's images are made from.

    Attributes:
        states: Distinct texts by state; one that is there is `delivered`.
        kept: Items that were made from the prompt as it was given.
        failed: Texts that are not there, at most 100 of them.
    """

    states: Mapping[str, int]
    kept: int
    failed: tuple[FailedRewrite, ...]


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
        account: The run's own calls.
        open: Items that were not delivered, at most 100 of them.
        held: Items that another run is working on.
        rewrites: The texts they are made from; None where prompts are sent as they are.
        model: What was bought, at the end.
        replaced: Models that were wanted before it, and are withdrawn.
        successor: What the provider names instead of `model`, where it is not served any more.
        omitted: Parameters that were left out, since the model cannot do them (`lenient`).
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
            "destination": self.destination,
            "catalog": self.catalog,
            "rows": self.rows,
            "items": self.items,
            "states": {str(state): count for state, count in self.states.items()},
            "owned": self.owned,
            "images": self.images,
            "quarantined": self.quarantined,
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
    if outcome is None:
        outcome = "Incomplete" if unfinished or held else "Completed"
    if held and not message:
        message = f"{len(held)} items are held: {describe_workers(held)}"
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
        quarantined=_quarantined(ledger, run_id),
        account=ledger.costs.of(run_id),
        open=tuple(_open_items(ledger, run_id, {item.item_id: f"held by {item.worker}" for item in held})),
        held=len(held),
        rewrites=_rewrites(ledger, run_id),
        **_models(run),
    )


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


def _mine(run_id: str) -> sa.Select[tuple[str]]:
    return sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)


def _quarantined(ledger: Ledger, run_id: str) -> int:
    query = (
        sa.select(sa.func.count())
        .select_from(images)
        .where(images.c.item_id.in_(_mine(run_id)), images.c.state == ImageState.QUARANTINED)
    )
    with ledger.read() as connection:
        return connection.scalar(query) or 0


def _rewrites(ledger: Ledger, run_id: str) -> RewriteReport | None:
    image, text = items.alias(), items.alias()
    mine = sa.select(image.c.id, image.c.rewrite_id).where(image.c.id.in_(_mine(run_id))).subquery()
    counted = (
        sa.select(text.c.state, sa.func.count(sa.distinct(text.c.id)))
        .join(mine, mine.c.rewrite_id == text.c.id)
        .group_by(text.c.state)
    )
    # An item was made from its prompt as it is where none of its answered calls carried another text.
    answered = sa.and_(calls.c.item_id == mine.c.id, calls.c.outcome == CallOutcome.ANSWERED)
    kept = sa.select(sa.func.count()).where(
        mine.c.rewrite_id.is_not(None),
        sa.exists().where(answered),
        ~sa.exists().where(answered, calls.c.prompt.is_not(None)),
    )
    first = (
        sa.select(mine.c.rewrite_id, sa.func.min(run_items.c.position).label("position"))
        .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.item_id == mine.c.id))
        .group_by(mine.c.rewrite_id)
        .subquery()
    )
    failed = (
        sa.select(text.c.state, text.c.prompt, text.c.variation, text.c.reason, run_items.c.source, run_items.c.line)
        .join(first, first.c.rewrite_id == text.c.id)
        .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.position == first.c.position))
        .where(text.c.state != ItemState.DELIVERED)
        .order_by(first.c.position)
        .limit(_LISTED)
    )
    with ledger.read() as connection:
        if connection.scalar(sa.select(mine.c.id).where(mine.c.rewrite_id.is_not(None)).limit(1)) is None:
            return None
        states = {str(state): count for state, count in connection.execute(counted)}
        without = connection.execute(failed).all()
        return RewriteReport(
            states={state.value: states[state] for state in ItemState if state in states},
            kept=connection.scalar(kept) or 0,
            failed=tuple(
                FailedRewrite(row.state, row.prompt, row.variation, f"{row.source}:{row.line}", row.reason or "")
                for row in without
            ),
        )


def _open_items(ledger: Ledger, run_id: str, held: Mapping[str, str]) -> list[OpenItem]:
    first = (
        sa.select(run_items.c.item_id, sa.func.min(run_items.c.position).label("position"))
        .where(run_items.c.run_id == run_id)
        .group_by(run_items.c.item_id)
        .subquery()
    )
    other = calls.alias()
    last = sa.select(sa.func.max(other.c.number)).where(other.c.item_id == items.c.id).scalar_subquery()
    image_reason = sa.select(sa.func.min(images.c.reason)).where(images.c.item_id == items.c.id).scalar_subquery()
    query = (
        sa.select(
            items.c.id,
            items.c.state,
            items.c.prompt,
            items.c.reason,
            image_reason.label("image_reason"),
            run_items.c.source,
            run_items.c.line,
            calls.c.id.label("call_id"),
            calls.c.reserved,
            calls.c.settled,
        )
        .join(first, first.c.item_id == items.c.id)
        .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.position == first.c.position))
        .outerjoin(calls, sa.and_(calls.c.item_id == items.c.id, calls.c.number == last))
        .where(items.c.state.not_in(_SETTLED))
        .order_by(first.c.position)
        .limit(_LISTED)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [
        OpenItem(
            item_id=row.id,
            state=row.state,
            prompt=row.prompt,
            source=f"{row.source}:{row.line}",
            reason=held.get(row.id) or row.reason or row.image_reason or "",
            client_request_id=row.call_id,
            reserved=row.reserved if row.call_id is not None and row.settled is None else 0,
        )
        for row in rows
    ]
