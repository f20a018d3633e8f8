"""Rules that the database itself holds, and the history that it writes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import ItemState, Unbilled, Unknown
from prefect_imagen.core.ledger.schema import calls, history, images, items, runs
from prefect_imagen.core.request import UnknownPolicy


def test_no_state_or_outcome_that_is_not_known(harness: Any) -> None:
    (item,) = harness.plan(1)
    harness.buy(item)
    for table, values in (
        (items, {"state": "bogus"}),
        (items, {"kind": "film"}),
        (calls, {"outcome": "planned"}),
        (images, {"state": ""}),
        (runs, {"outcome": "over"}),
    ):
        with pytest.raises(sa.exc.IntegrityError, match="is_known"):
            harness.ledger.write(lambda c, table=table, values=values: c.execute(sa.update(table).values(values)))


def test_one_call_of_an_item_in_flight(harness: Any) -> None:
    (item,) = harness.plan(1)
    harness.ledger.calls.settle(harness.send(item), Unknown("cut"))
    harness.ledger.items.release([item])
    harness.send(item, unknown=UnknownPolicy.RETRY)
    again = sa.update(calls).where(calls.c.number == 1).values(outcome="sent")
    with pytest.raises(sa.exc.IntegrityError):
        harness.ledger.write(lambda connection: connection.execute(again))


def test_every_change_of_an_item_and_its_calls_is_in_its_history(harness: Any) -> None:
    item, other = harness.plan(2)
    harness.buy(other)
    first = harness.send(item)
    harness.ledger.calls.settle(first, Unbilled("500", ItemState.CLAIMED))
    second = harness.send(item)
    harness.ledger.calls.settle(second, Unknown("cut"))
    harness.ledger.items.release([item])
    changes = harness.ledger.items.history(item)
    assert [(one.call_id, one.before, one.after) for one in changes if one.call_id is None] == [
        (None, "planned", "claimed"),
        (None, "claimed", "sent"),
        (None, "sent", "claimed"),
        (None, "claimed", "sent"),
        (None, "sent", "unknown"),
    ]
    assert [(one.call_id, one.before, one.after) for one in changes if one.call_id is not None] == [
        (first, None, "sent"),
        (first, "sent", "unbilled"),
        (second, None, "sent"),
        (second, "sent", "unknown"),
    ]
    assert [one.at for one in changes] == sorted(one.at for one in changes)
    assert abs(changes[-1].at - harness.call(second).ended_at).total_seconds() < 60
    assert {row.subject for row in harness.rows(history)} > {item, other, first, second}
