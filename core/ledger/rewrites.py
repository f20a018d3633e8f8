"""Rewrites: the texts that a language model writes for prompts before images are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from ..values import batched
from .conditions import items_of_run
from .database import Database
from .schema import calls, items, rewrites, run_items
from .states import CallOutcome, ItemState, buyable_states


@dataclass(frozen=True, slots=True)
class RewriteStatus:
    """Where a rewrite stands.

    Attributes:
        state: DELIVERED if there is a text.
        text: The text, if there is one.
        reason: Why there is no text.
    """

    state: ItemState
    text: str | None
    reason: str | None


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


class Rewrites:
    """The rewrites of a ledger.

    Args:
        database: The open ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def statuses(self, rewrite_ids: Sequence[str]) -> dict[str, RewriteStatus]:
        """Where rewrites stand, by their id."""
        with self._database.read() as connection:
            return rewrite_statuses(connection, rewrite_ids)

    def states(self, item_ids: Sequence[str]) -> dict[str, ItemState]:
        """States of the rewrites that images wait for, by the rewrite's id."""
        image, text = items.alias(), items.alias()
        found: dict[str, ItemState] = {}
        with self._database.read() as connection:
            for batch in batched(item_ids):
                query = sa.select(text.c.id, text.c.state).join(image, image.c.rewrite_id == text.c.id)
                rows = connection.execute(query.where(image.c.id.in_(batch)))
                found.update((row.id, ItemState(row.state)) for row in rows)
        return found

    def missing(
        self, item_ids: Sequence[str], *, unknown: UnknownPolicy = UnknownPolicy.HOLD, retry_refused: bool = False
    ) -> list[str]:
        """Rewrites without a text that images wait for, each once; of images that are to be bought.

        A rewrite that brought no text before is included only if it would be asked for again.

        Args:
            item_ids: The images.
            unknown: Whether unknown items are bought again.
            retry_refused: Whether refused items are asked for again.
        """
        image, text = items.alias(), items.alias()
        buyable = buyable_states(unknown, retry_refused=retry_refused)
        # See `core.ledger.items.claim`.
        again = (*buyable, ItemState.LOST) if retry_refused else buyable
        found: dict[str, None] = {}
        with self._database.read() as connection:
            for batch in batched(item_ids):
                query = (
                    sa.select(text.c.id)
                    .join(image, image.c.rewrite_id == text.c.id)
                    .where(
                        image.c.id.in_(batch),
                        image.c.state.in_(buyable),
                        text.c.state.in_((*again, ItemState.CLAIMED, ItemState.SENT)),
                    )
                )
                found |= dict.fromkeys(connection.scalars(query))
        return list(found)

    def report(self, run_id: str, *, limit: int) -> RewriteReport | None:
        """Count the rewrites that a run's images are made from; None if its prompts are sent as they are.

        Args:
            run_id: The run.
            limit: Highest number of rewrites that are listed.
        """
        image, text = items.alias(), items.alias()
        mine = sa.select(image.c.id, image.c.rewrite_id).where(image.c.id.in_(items_of_run(run_id))).subquery()
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
            sa.select(
                text.c.state, text.c.prompt, text.c.variation, text.c.reason, run_items.c.source, run_items.c.line
            )
            .join(first, first.c.rewrite_id == text.c.id)
            .join(run_items, sa.and_(run_items.c.run_id == run_id, run_items.c.position == first.c.position))
            .where(text.c.state != ItemState.DELIVERED)
            .order_by(first.c.position)
            .limit(limit)
        )
        with self._database.read() as connection:
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


def rewrite_statuses(connection: Connection, rewrite_ids: Iterable[str]) -> dict[str, RewriteStatus]:
    """Where rewrites stand, by their id."""
    found: dict[str, RewriteStatus] = {}
    for batch in batched(rewrite_ids):
        query = (
            sa.select(items.c.id, items.c.state, items.c.reason, rewrites.c.text)
            .outerjoin(rewrites, rewrites.c.item_id == items.c.id)
            .where(items.c.id.in_(batch))
        )
        for row in connection.execute(query):
            found[row.id] = RewriteStatus(ItemState(row.state), row.text, row.reason)
    return found
