"""Rewrites: the texts that a language model writes for prompts before images are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..request import UnknownPolicy
from .conditions import in_batches
from .database import Database
from .schema import items, rewrites
from .states import ItemState, buyable_states


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
            for batch in in_batches(item_ids):
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
            for batch in in_batches(item_ids):
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


def rewrite_statuses(connection: Connection, rewrite_ids: Iterable[str]) -> dict[str, RewriteStatus]:
    """Where rewrites stand, by their id."""
    found: dict[str, RewriteStatus] = {}
    for batch in in_batches(rewrite_ids):
        query = (
            sa.select(items.c.id, items.c.state, items.c.reason, rewrites.c.text)
            .outerjoin(rewrites, rewrites.c.item_id == items.c.id)
            .where(items.c.id.in_(batch))
        )
        for row in connection.execute(query):
            found[row.id] = RewriteStatus(ItemState(row.state), row.text, row.reason)
    return found
