"""A ledger that was made again from objects: whose id it has, and what it still has to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .schema import calls, insert_new, items, meta
from .states import ItemState

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["fill_in", "mark_rebuilt", "take_id"]

_KEY = "rebuilt"


def take_id(ledger: Ledger, ledger_id: str) -> bool:
    """Go on as the ledger of that id, if this one has no account of its own.

    Returns:
        False where it has.
    """

    def operation(connection: Connection) -> bool:
        if connection.scalar(sa.select(calls.c.id).limit(1)) is not None:
            return False
        connection.execute(sa.update(meta).where(meta.c.key == "ledger_id").values(value=ledger_id))
        return True

    taken = ledger.write(operation)
    if taken:
        ledger.id = ledger_id
    return taken


def mark_rebuilt(connection: Connection) -> None:
    """Note that items may lack what their objects had no room for."""
    connection.execute(insert_new(connection, meta), [{"key": _KEY, "value": "yes"}])


def fill_in(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Complete items of a rebuilt ledger with what a run says of them: the same id is the same item.

    Args:
        connection: Within a write transaction.
        rows: Of items, as they would be written if they were new.
    """
    if connection.scalar(sa.select(meta.c.value).where(meta.c.key == _KEY)) is None:
        return
    names = ("model", "prompt", "parameters", "edition", "repeat", "rewrite_id", "variation")
    connection.execute(
        sa.update(items)
        .where(items.c.id == sa.bindparam("this"), items.c.prompt == "", items.c.state != ItemState.ERASED)
        .values({items.c[name]: sa.bindparam(f"new_{name}", type_=items.c[name].type) for name in names}),
        [{"this": row["id"], **{f"new_{name}": row.get(name) for name in names}} for row in rows],
    )
