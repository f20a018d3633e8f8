"""Where the money went: every credit that the provider billed belongs to exactly one line.

billed = answered calls of delivered, generated, lost and erased items (superseded calls included)
       + rewrites, also those that brought no text
       + refusals that were billed
       + the billed part of the unknown calls, which is between 0 and their reservation

Calls that were moved into an archive count by their sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .database import Part
from .identity import ItemKind
from .schema import archived_calls, calls, images, items, rewrites, runs
from .states import UNSETTLED, CallOutcome, ImageState, ItemState


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


_IMAGE = sa.literal(ItemKind.IMAGE.value)
_BY_ITEM = {ItemState.DELIVERED: "delivered", ItemState.LOST: "lost", ItemState.ERASED: "erased"}


class Costs(Part):
    """Adds up what was paid."""

    def of(self, run_id: str | None = None) -> CostSummary:
        """Add up the calls of a run; of the whole ledger for None."""
        amount = sa.case(
            (calls.c.outcome.in_(UNSETTLED), calls.c.reserved),
            else_=sa.func.coalesce(calls.c.settled, 0),
        )
        # "|| ''" keeps SQLite from reading all calls in the order of an index, where few items are asked for.
        columns = (calls.c.outcome.concat("").label("outcome"), calls.c.billed, items.c.kind, items.c.state)
        query = (
            sa.select(*columns, sa.func.count().label("calls"), sa.func.sum(amount).label("credits"))
            .join(items, items.c.id == calls.c.item_id)
            .group_by(*columns)
        )
        gone = (archived_calls.c.outcome, archived_calls.c.billed, _IMAGE, archived_calls.c.item_state)
        moved = sa.select(*gone, *(sa.func.sum(archived_calls.c[name]) for name in ("calls", "settled"))).group_by(
            *gone
        )
        if run_id is None:
            query = _of_all(query, amount)
        else:
            query, moved = query.where(calls.c.run_id == run_id), moved.where(archived_calls.c.run_id == run_id)
        lines: dict[str, CostLine] = {}
        # One statement: rows that are moved meanwhile count once.
        for outcome, billed, kind, state, count, credits in self._rows(sa.union_all(query, moved)):
            name = _line(CallOutcome(outcome), billed, ItemKind(kind), ItemState(state))
            lines[name] = lines.get(name, CostLine()) + CostLine(int(count), int(credits))
        return CostSummary(**{name: lines.get(name, CostLine()) for name in CostSummary.__dataclass_fields__})

    def by_account(self, run_id: str | None = None) -> list[AccountLine]:
        """What each key of each provider was billed, for a run or for the whole ledger: together it is `of`."""
        account = ("provider", "origin", "key_fingerprint")
        # The order of an index, so that nothing has to be sorted.
        groups = (calls.c.outcome, calls.c.billed, *(calls.c[name] for name in account))
        sums = (sa.func.count(), sa.func.coalesce(sa.func.sum(calls.c.settled), 0), sa.func.sum(calls.c.reserved))
        query = sa.select(*groups, *sums).group_by(*groups)
        known = (sa.func.nullif(archived_calls.c[name], "") for name in account)
        gone = (archived_calls.c.outcome, archived_calls.c.billed, *known)
        added = (sa.func.sum(archived_calls.c[name]) for name in ("calls", "settled"))
        moved = sa.select(*gone, *added, sa.literal(0)).group_by(*gone)
        if run_id is not None:
            query, moved = query.where(calls.c.run_id == run_id), moved.where(archived_calls.c.run_id == run_id)
        found: dict[tuple[Any, ...], list[int]] = {}
        for outcome, _, *names, count, settled, reserved in self._rows(sa.union_all(query, moved)):
            billed, at_most = (0, reserved) if outcome in UNSETTLED else (settled, settled)
            before = found.setdefault(tuple(names), [0, 0, 0])
            found[tuple(names)] = [a + int(b) for a, b in zip(before, (count, billed, at_most), strict=True)]
        lines = [AccountLine(*names, *amounts) for names, amounts in found.items()]
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
        moved = (
            sa.select(
                archived_calls.c.run_id,
                *(sa.func.sum(archived_calls.c[name]).label(name) for name in ("calls", "images")),
            )
            .group_by(archived_calls.c.run_id)
            .subquery()
        )
        query = (
            sa.select(
                runs.c.tags,
                runs.c.spent,
                runs.c.reserved,
                (sa.func.coalesce(paid.c.calls, 0) + sa.func.coalesce(moved.c.calls, 0)).label("calls"),
                sa.func.coalesce(paid.c.unknown, 0).label("unknown"),
                (sa.func.coalesce(stored.c.images, 0) + sa.func.coalesce(moved.c.images, 0)).label("images"),
            )
            .outerjoin(moved, moved.c.run_id == runs.c.id)
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


def _of_all(query: sa.Select[Any], amount: sa.ColumnElement[int]) -> sa.Select[Any]:
    """The same sums for the whole ledger, where most of the time is to look up the item of each call.

    So all calls are added up as if they were for delivered images, which nearly all are; those that are not are taken
    out again, and added as what they are.
    """
    rare = items.c.state.in_([state for state in ItemState if state is not ItemState.DELIVERED])
    texts = sa.and_(items.c.id.in_(sa.select(rewrites.c.item_id)), items.c.state == ItemState.DELIVERED)
    found = sa.union_all(query.where(rare), query.where(texts)).cte()
    delivered = (sa.literal(ItemKind.IMAGE.value), sa.literal(ItemState.DELIVERED.value))
    common = (calls.c.outcome, calls.c.billed)
    every = sa.select(*common, *delivered, sa.func.count(), sa.func.sum(amount)).group_by(*common)
    taken_out = sa.select(found.c.outcome, found.c.billed, *delivered, -found.c.calls, -found.c.credits)
    return sa.select(*sa.union_all(every, sa.select(found), taken_out).subquery().c)


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
