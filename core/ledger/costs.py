"""Where the money went: every credit that the provider billed belongs to exactly one line.

billed = answered calls of delivered, generated, lost and erased items (superseded calls included)
       + rewrites, also those that brought no text
       + refusals that were billed
       + the billed part of the unknown calls, which is between 0 and their reservation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .database import Part
from .identity import ItemKind
from .schema import calls, images, items, runs
from .states import CallOutcome, ImageState, ItemState


@dataclass(frozen=True, slots=True)
class CostLine:
    """Calls and what they cost, in credits."""

    calls: int = 0
    credits: int = 0

    def __add__(self, other: CostLine) -> CostLine:
        return CostLine(self.calls + other.calls, self.credits + other.credits)


@dataclass(frozen=True, slots=True)
class CostSummary:
    """Where the money went."""

    delivered: CostLine  # answered calls of items with a stored image
    generated: CostLine  # answered calls of items whose images are not all dealt with
    lost: CostLine  # answered calls of items none of whose images could be stored
    rewrites: CostLine  # answers of a language model, with or without a usable text
    erased: CostLine  # answered calls of items that were erased since
    refused: CostLine  # refusals the provider billed
    unknown: CostLine  # calls that may have been billed; `credits` is what is reserved for them
    in_flight: CostLine  # calls that were sent and are not over; `credits` is what is reserved for them
    unbilled: CostLine  # calls that surely cost nothing, unbilled refusals included

    @property
    def billed(self) -> int:
        """What was surely billed, in credits."""
        return (self.delivered + self.generated + self.lost + self.rewrites + self.erased + self.refused).credits

    @property
    def billed_at_most(self) -> int:
        """What was billed if every unknown call was, in credits."""
        return self.billed + self.unknown.credits + self.in_flight.credits


@dataclass(frozen=True, slots=True)
class AccountLine:
    """What one key of a provider was billed, in credits.

    Attributes:
        provider: None for calls of versions that did not record it.
        origin: The API.
        key_fingerprint: Salted; None where it is not known.
        calls: All of them, unbilled ones included.
        billed: What was surely billed.
        billed_at_most: The same if every unknown call was billed.
    """

    provider: str | None
    origin: str | None
    key_fingerprint: str | None
    calls: int
    billed: int
    billed_at_most: int


_BY_ITEM = {ItemState.DELIVERED: "delivered", ItemState.LOST: "lost", ItemState.ERASED: "erased"}


class Costs(Part):
    """Adds up what was paid."""

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
        for outcome, billed, kind, state, count, credits in self._rows(query):
            name = _line(CallOutcome(outcome), billed, ItemKind(kind), ItemState(state))
            lines[name] = lines.get(name, CostLine()) + CostLine(count, int(credits))
        return CostSummary(**{name: lines.get(name, CostLine()) for name in CostSummary.__dataclass_fields__})

    def by_account(self, run_id: str | None = None) -> list[AccountLine]:
        """What each key of each provider was billed, for a run or for the whole ledger: together it is `of`."""
        open_ = calls.c.outcome.in_((CallOutcome.SENT, CallOutcome.UNKNOWN))
        billed = sa.func.coalesce(calls.c.settled, 0)
        account = (calls.c.provider, calls.c.origin, calls.c.key_fingerprint)
        query = sa.select(
            *account,
            sa.func.count(),
            sa.func.sum(sa.case((open_, 0), else_=billed)),
            sa.func.sum(sa.case((open_, calls.c.reserved), else_=billed)),
        ).group_by(*account)
        if run_id is not None:
            query = query.where(calls.c.run_id == run_id)
        lines = [AccountLine(*row[:3], *(int(value) for value in row[3:])) for row in self._rows(query)]
        return sorted(lines, key=lambda line: (-line.billed, str(line.provider), str(line.key_fingerprint)))

    def by_tag(self, tag: str) -> list[dict[str, Any]]:
        """What runs cost by the value of a tag, the dearest first; runs without the tag are together under None."""
        paid = (
            sa.select(
                calls.c.run_id,
                sa.func.count().label("calls"),
                sa.func.sum(sa.case((calls.c.outcome == CallOutcome.UNKNOWN, 1), else_=0)).label("unknown"),
            )
            .group_by(calls.c.run_id)
            .subquery()
        )
        stored = (
            sa.select(calls.c.run_id, sa.func.count().label("images"))
            .join(images, images.c.call_id == calls.c.id)
            .where(images.c.state == ImageState.STORED)
            .group_by(calls.c.run_id)
            .subquery()
        )
        query = (
            sa.select(
                runs.c.tags,
                runs.c.spent,
                runs.c.reserved,
                sa.func.coalesce(paid.c.calls, 0).label("calls"),
                sa.func.coalesce(paid.c.unknown, 0).label("unknown"),
                sa.func.coalesce(stored.c.images, 0).label("images"),
            )
            .outerjoin(paid, paid.c.run_id == runs.c.id)
            .outerjoin(stored, stored.c.run_id == runs.c.id)
        )
        names = ("runs", "calls", "unknown_calls", "images", "spent_credits", "reserved_credits")
        sums: dict[str | None, list[int]] = {}
        for row in self._rows(query):
            line = sums.setdefault((row.tags or {}).get(tag), [0] * len(names))
            for place, value in enumerate((1, row.calls, row.unknown, row.images, row.spent, row.reserved)):
                line[place] += int(value)
        rows = [{"value": value, **dict(zip(names, line, strict=True))} for value, line in sums.items()]
        return sorted(rows, key=lambda row: (-row["spent_credits"], str(row["value"])))


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
