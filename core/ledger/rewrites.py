"""Rewrites: the texts that a language model writes for prompts before images are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from .conditions import items_of_run, rows_among
from .database import Part
from .schema import calls, items, rewrites, run_items
from .states import CallOutcome, ItemState, buyable_states


@dataclass(frozen=True, slots=True)
class RewriteStatus:
    """Where a rewrite stands."""

    state: ItemState  # DELIVERED if there is a text
    text: str | None
    reason: str | None  # why there is no text


@dataclass(frozen=True, slots=True)
class FailedRewrite:
    """A text that a language model was asked for, and that is not there."""

    # `refused` where nothing of use came, `unknown` where it is not known, `planned` where it was not come to
    state: str
    prompt: str  # what was to be rewritten
    variation: int  # which of its texts
    source: str  # file and line that asked for it first
    reason: str


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """The texts a run's images are made from."""

    states: Mapping[str, int]  # distinct texts by state; one that is there is `delivered`
    kept: int  # items that were made from the prompt as it was given
    failed: tuple[FailedRewrite, ...]  # texts that are not there, at most 100 of them


_IMAGE, _TEXT = items.alias(), items.alias()


class Rewrites(Part):
    """The rewrites of a ledger."""

    def statuses(self, rewrite_ids: Sequence[str]) -> dict[str, RewriteStatus]:
        """Where rewrites stand, by their id."""
        return self._database.ask(lambda connection: rewrite_statuses(connection, rewrite_ids))

    def states(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """States of the rewrites that images wait for, by the rewrite's id."""
        query = sa.select(_TEXT.c.id, _TEXT.c.state).join(_IMAGE, _IMAGE.c.rewrite_id == _TEXT.c.id)
        return {row.id: ItemState(row.state) for row in self._rows_among(query, _IMAGE.c.id, item_ids)}

    def missing(
        self, item_ids: Sequence[str], *, unknown: UnknownPolicy = UnknownPolicy.HOLD, retry_refused: bool = False
    ) -> list[str]:
        """Rewrites without a text that images wait for, each once; of images that are to be bought.

        A rewrite that brought no text before is included only if it would be asked for again: see `buyable_states`.
        """
        buyable = buyable_states(unknown, retry_refused=retry_refused)
        again = (*buyable, ItemState.LOST) if retry_refused else buyable  # see `core.ledger.items.Items.claim`
        query = (
            sa.select(_TEXT.c.id)
            .join(_IMAGE, _IMAGE.c.rewrite_id == _TEXT.c.id)
            .where(_IMAGE.c.state.in_(buyable), _TEXT.c.state.in_((*again, ItemState.CLAIMED, ItemState.SENT)))
        )
        return list(dict.fromkeys(row.id for row in self._rows_among(query, _IMAGE.c.id, item_ids)))

    def report(self, run_id: str, *, limit: int) -> RewriteReport | None:
        """Count the rewrites that a run's images are made from; None if its prompts are sent as they are.

        At most `limit` rewrites without a text are listed.
        """
        mine = sa.select(items.c.id, items.c.rewrite_id).where(items.c.id.in_(items_of_run(run_id))).subquery()
        counted = (
            sa.select(_TEXT.c.state, sa.func.count(sa.distinct(_TEXT.c.id)))
            .join(mine, mine.c.rewrite_id == _TEXT.c.id)
            .group_by(_TEXT.c.state)
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
            sa.select(
                _TEXT.c.state, _TEXT.c.prompt, _TEXT.c.variation, _TEXT.c.reason, run_items.c.source, run_items.c.line
            )
            .join(first, first.c.rewrite_id == _TEXT.c.id)
            .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.position == first.c.position))
            .where(_TEXT.c.state != ItemState.DELIVERED)
            .order_by(first.c.position)
            .limit(limit)
        )

        def question(connection: Connection) -> RewriteReport | None:
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

        return self._database.ask(question)


def rewrite_statuses(connection: Connection, rewrite_ids: Iterable[str]) -> dict[str, RewriteStatus]:
    """Where rewrites stand, by their id."""
    query = sa.select(items.c.id, items.c.state, items.c.reason, rewrites.c.text).outerjoin(
        rewrites, rewrites.c.item_id == items.c.id
    )
    rows = rows_among(connection, query, items.c.id, rewrite_ids)
    return {row.id: RewriteStatus(ItemState(row.state), row.text, row.reason) for row in rows}
