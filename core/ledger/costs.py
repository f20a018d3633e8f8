"""The sum that always closes: every credit the provider billed belongs to exactly one line.

billed = calls of delivered, generated, lost and erased items (calls that a newer one superseded included)
       + rewrites, those that came to nothing included
       + refusals that were billed
       + the billed part of the unknown calls, which lies between 0 and their reservation
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from .database import Database
from .identity import ItemKind
from .schema import calls, items
from .states import CallOutcome, ItemState


@dataclass(frozen=True, slots=True)
class CostLine:
    """Calls and what they cost, in credits."""

    calls: int = 0
    credits: int = 0

    def __add__(self, other: CostLine) -> CostLine:
        return CostLine(self.calls + other.calls, self.credits + other.credits)


@dataclass(frozen=True, slots=True)
class CostSummary:
    """Where the money went.

    Attributes:
        delivered: Answered calls of items with a stored image.
        generated: Answered calls of items whose images are not all dealt with.
        lost: Answered calls of items none of whose images could be stored.
        rewrites: Answers of a language model, whether or not a text came of them.
        erased: Answered calls of items that were erased since.
        refused: Refusals the provider billed.
        unknown: Calls that may have been billed; `credits` is what is reserved for them.
        in_flight: Calls that were sent and are not over; `credits` is what is reserved for them.
        unbilled: Calls that surely cost nothing, unbilled refusals included.
    """

    delivered: CostLine
    generated: CostLine
    lost: CostLine
    rewrites: CostLine
    erased: CostLine
    refused: CostLine
    unknown: CostLine
    in_flight: CostLine
    unbilled: CostLine

    @property
    def billed(self) -> int:
        """What was surely billed, in credits."""
        return (self.delivered + self.generated + self.lost + self.rewrites + self.erased + self.refused).credits

    @property
    def billed_at_most(self) -> int:
        """What was billed if every unknown call was, in credits."""
        return self.billed + self.unknown.credits + self.in_flight.credits


_BY_ITEM = {ItemState.DELIVERED: "delivered", ItemState.LOST: "lost", ItemState.ERASED: "erased"}


class Costs:
    """Adds up what was paid.

    Args:
        database: The open ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, run_id: str | None = None) -> CostSummary:
        """Add up the calls of a run; of the whole ledger for None."""
        amount = sa.case(
            (calls.c.outcome.in_((CallOutcome.SENT, CallOutcome.UNKNOWN)), calls.c.reserved),
            else_=sa.func.coalesce(calls.c.settled, 0),
        )
        columns = (calls.c.outcome, calls.c.billed, items.c.kind, items.c.state)
        query = (
            sa.select(*columns, sa.func.count(), sa.func.sum(amount))
            .join(items, items.c.id == calls.c.item_id)
            .group_by(*columns)
        )
        if run_id is not None:
            query = query.where(calls.c.run_id == run_id)
        lines: dict[str, CostLine] = {}
        with self._database.read() as connection:
            for outcome, billed, kind, state, count, credits in connection.execute(query):
                name = _line(CallOutcome(outcome), billed, ItemKind(kind), ItemState(state))
                lines[name] = lines.get(name, CostLine()) + CostLine(count, int(credits))
        return CostSummary(**{name: lines.get(name, CostLine()) for name in CostSummary.__dataclass_fields__})


def _line(outcome: CallOutcome, billed: bool | None, kind: ItemKind, state: ItemState) -> str:
    match outcome:
        case CallOutcome.ANSWERED if kind is ItemKind.REWRITE:
            return "rewrites"
        case CallOutcome.REFUSED if kind is ItemKind.REWRITE and billed:
            return "rewrites"
        case CallOutcome.ANSWERED:
            return _BY_ITEM.get(state, "generated")
        case CallOutcome.REFUSED:
            return "refused" if billed else "unbilled"
        case CallOutcome.UNBILLED:
            return "unbilled"
        case CallOutcome.UNKNOWN:
            return "unknown"
        case CallOutcome.SENT:
            return "in_flight"
