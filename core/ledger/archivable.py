"""Which items can be archived, and why the others stay."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .conditions import rows_among
from .identity import ItemKind
from .schema import archive_work, calls, images, items, revisions, run_items, runs, workers
from .selection import Selection
from .states import CLOSED, FINISHED, UNSETTLED, ImageState, ItemState
from .workers import dead_workers

_REVISION = items.alias("revision")

REASONS = {
    "held": "a process works on them",
    "wanted": "a run that is going on asks for them",
    "unknown": "a call of theirs may have been billed: `prefect-imagen repair` settles it",
    "undelivered": "images of theirs are paid and not stored: `prefect-imagen repair` delivers them",
    "replaced": "a new image in the place of one of theirs is still to be made",
    "lost": "their images were lost: `prefect-imagen repair --lost` may fetch them, or a run buy them again",
    "refused": "the provider refused them: a run may ask again (--retry-refused)",
    "unfinished": "they were never bought",
    "taken": "an archive that is not finished takes them",
}
"""Why an item stays, in the order in which the reasons are looked at."""


def selected(connection: Connection, selection: Selection) -> sa.ColumnElement[bool]:
    """Condition on items. Rewrites stay: items of other editions are made from them, too."""
    # The criteria themselves, instead of a list of ids: pages are then read in the order of the ids.
    criteria = selection.items(connection).whereclause
    return sa.and_(items.c.kind == ItemKind.IMAGE, criteria if criteria is not None else sa.true())


def _active_runs(connection: Connection) -> list[str]:
    """Ids of runs that a live process works on."""
    query = sa.select(runs.c.id, runs.c.holder_id).where(runs.c.ended_at.is_(None))
    going = connection.execute(
        query.join(workers, workers.c.id == runs.c.holder_id).where(workers.c.ended_at.is_(None))
    )
    found = [(row.id, row.holder_id) for row in going]
    dead = set(dead_workers(connection, None, {holder for _, holder in found})) if found else set()
    return [run_id for run_id, holder in found if holder not in dead]


def why_stays(connection: Connection) -> sa.ColumnElement[str | None]:
    """SQL expression for the reason why an item stays; null if it can be moved."""
    of_item = calls.c.item_id == items.c.id
    asked = (sa.and_(run_items.c.run_id == one, run_items.c.item_id == items.c.id) for one in _active_runs(connection))
    wanted = sa.or_(sa.false(), *(sa.exists().where(one) for one in asked))
    made = sa.exists().where(_REVISION.c.id == revisions.c.item_id, _REVISION.c.state.in_(CLOSED))
    replaced = sa.exists().where(
        images.c.item_id == items.c.id, revisions.c.call_id == images.c.call_id, revisions.c.idx == images.c.idx, ~made
    )
    return sa.case(
        (items.c.archive_part.is_not(None), "archived"),
        (items.c.holder_id.is_not(None), "held"),
        (items.c.state.in_((ItemState.CLAIMED, ItemState.SENT)), "held"),
        (items.c.state == ItemState.UNKNOWN, "unknown"),
        (sa.exists().where(of_item, calls.c.outcome.in_(UNSETTLED)), "unknown"),
        (items.c.state == ItemState.GENERATED, "undelivered"),
        (items.c.state == ItemState.LOST, "lost"),
        (items.c.state == ItemState.REFUSED, "refused"),
        (items.c.state.not_in(FINISHED), "unfinished"),
        (sa.exists().where(images.c.item_id == items.c.id, images.c.state == ImageState.PENDING), "undelivered"),
        (wanted, "wanted"),
        (replaced, "replaced"),
        (sa.exists().where(archive_work.c.item_id == items.c.id), "taken"),
        else_=None,
    )


def wanted_now(connection: Connection, item_ids: set[str]) -> set[str]:
    """Those of some items that a run which is going on asks for."""
    found: set[str] = set()
    for run_id in _active_runs(connection):
        query = sa.select(run_items.c.item_id).where(run_items.c.run_id == run_id)
        found.update(row.item_id for row in rows_among(connection, query, run_items.c.item_id, item_ids))
    return found
