"""Limits that processes and machines share, in the ledger's database and in its time.

One row per key and model holds the schedule of permits and the rate observed from 429s; it outlives the runs. One row
per active run (a *share*) holds the limits its user configured and its slots for calls in flight; it ends with its
worker, so a process that dies frees its slots. Keys are stored as fingerprints only (`ImageClient.fingerprint`).

A lease is one short transaction for about a second of sending, and none at all while no limit is configured or
observed: then a run only looks, every two seconds, whether there is one by now.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import ImagenError
from ..limits.adaptive import AdaptiveRate
from ..limits.quota import Demand, Grant, Schedule, ThrottleEvent
from .database import Database
from .engine import database_now
from .schema import calls, fields, insert_new, quota_shares, quotas, workers
from .workers import Worker, dead_workers

_TOO_MANY = 429


class SharedQuota:
    """A quota that all runs of a ledger with the same key and model share.

    Args:
        key: Fingerprint of the API key.
        wire_models: Names under which its calls are in the ledger.
        per_minute: Calls a minute as this run's user says; the lowest of all runs at work counts.
        in_flight: Calls in flight over all processes as this run's user says; likewise.
    """

    def __init__(
        self,
        ledger: Database,
        key: str,
        model: str,
        wire_models: Sequence[str],
        per_minute: float | None = None,
        in_flight: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._key = key
        self._model = model
        self._wire_models = tuple(wire_models)
        self._configured = per_minute
        self._most = in_flight
        self._share_id = uuid.uuid4().hex
        self._has_share = False

    def lease(self, demand: Demand) -> Grant:
        """Take permits and slots.

        Raises:
            LedgerUnavailable: The database does not answer.
        """
        if not self._bounded():
            return Grant(None)
        me = self._ledger.worker
        offset, permits, slots, cooldown = self._ledger.write_apart(
            lambda connection: self._lease(connection, me, demand)
        )
        self._has_share = True
        return Grant(None if permits is None else [turn + offset for turn in permits], slots, cooldown)

    def _bounded(self) -> bool:
        """Whether there is anything to lease: configured by this or another active run, or observed."""
        if self._configured is not None or self._most is not None:
            return True
        me = self._ledger.worker

        def question(connection: Connection) -> bool:
            observed = connection.scalar(sa.select(quotas.c.ceiling).where(*self._mine(quotas)))
            return observed is not None or bool(self._others(connection, me))

        return self._ledger.ask(question)

    def _mine(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return table.c.key == self._key, table.c.model == self._model

    def _lease(
        self, connection: Connection, me: Worker, demand: Demand
    ) -> tuple[float, list[float] | None, int | None, float]:
        schedule = self._locked(connection)
        now = database_now(connection)
        offset = time.monotonic() - now  # the database's clock in this process's time; never too early
        others = self._others(connection, me)
        configured = _lowest([self._configured, *(share.per_minute for share in others)])
        most = _lowest([self._most, *(share.in_flight for share in others)])
        slots = None if most is None else _slots(int(most), demand, others)
        after, permits = schedule.lease(now, configured, demand.calls)
        if after != schedule:
            self._keep(connection, after)
        self._write_share(connection, me, demand, slots)
        return offset, permits, slots, after.remaining_cooldown(now)

    def _locked(self, connection: Connection) -> Schedule:
        """The schedule, held until the transaction ends (SQLite has one writer anyway)."""
        query = sa.select(quotas).where(*self._mine(quotas)).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            connection.execute(insert_new(connection, quotas), [{"key": self._key, "model": self._model}])
            row = connection.execute(query).one()
        observed = AdaptiveRate(row.ceiling, bool(row.proved), row.busy)
        return Schedule(observed, row.next_at, row.leased_at, row.cut_at, row.cool_until)

    def _keep(self, connection: Connection, schedule: Schedule) -> None:
        observed = schedule.observed
        connection.execute(
            sa.update(quotas)
            .where(*self._mine(quotas))
            .values(
                **fields(observed, "ceiling", "busy"),
                **fields(schedule, "next_at", "leased_at", "cut_at"),
                proved=int(observed.confirmed),
                cool_until=schedule.cooldown_until,
            )
        )

    def _others(self, connection: Connection, me: Worker) -> list[sa.Row[Any]]:
        """Shares of other runs with the same key and model whose process is alive."""
        query = (
            sa.select(quota_shares)
            .join(workers, workers.c.id == quota_shares.c.holder_id)
            .where(*self._mine(quota_shares), quota_shares.c.id != self._share_id, workers.c.ended_at.is_(None))
        )
        rows = connection.execute(query).all()
        dead = set(dead_workers(connection, me, among={row.holder_id for row in rows})) if rows else set()
        return [row for row in rows if row.holder_id not in dead]

    def _write_share(self, connection: Connection, me: Worker, demand: Demand, slots: int | None) -> None:
        values = {"wanted": demand.in_flight, "granted": slots or 0}
        if self._has_share:
            connection.execute(sa.update(quota_shares).where(quota_shares.c.id == self._share_id).values(**values))
            return
        gone = sa.select(workers.c.id).where(workers.c.ended_at.is_not(None))
        connection.execute(sa.delete(quota_shares).where(quota_shares.c.holder_id.in_(gone)))
        share = {"id": self._share_id, "holder_id": me.id, "key": self._key, "model": self._model, **values}
        configured = {"per_minute": self._configured, "in_flight": self._most}
        connection.execute(insert_new(connection, quota_shares), [{**share, **configured}])

    def on_throttled(self, event: ThrottleEvent) -> None:
        """Learn from a 429. The ledger knows what all processes together were let through."""
        with contextlib.suppress(ImagenError):  # what was bought is recorded whatever becomes of this
            self._ledger.write_apart(lambda connection: self._on_throttled(connection, event))

    def _on_throttled(self, connection: Connection, event: ThrottleEvent) -> None:
        schedule = self._locked(connection)
        now = database_now(connection)
        accepted = max(event.accepted, self._accepted(connection, event.streak))
        seen = ThrottleEvent(event.sent, event.streak, event.consecutive_429s, event.limit, accepted, event.cooldown)
        self._keep(connection, schedule.on_throttled(now, seen))

    def _accepted(self, connection: Connection, streak: float) -> int:
        until = datetime.now(UTC) - timedelta(seconds=streak)
        query = sa.select(sa.func.count()).where(
            calls.c.wire_model.in_(self._wire_models),
            calls.c.sent_at > until - timedelta(seconds=60),
            calls.c.sent_at <= until,
            calls.c.http_status.is_not(None),
            calls.c.http_status != _TOO_MANY,
        )
        return int(connection.scalar(query) or 0)

    def close(self) -> None:
        """Give the slots back."""
        if self._has_share:
            self._has_share = False
            with contextlib.suppress(ImagenError):  # the end of its worker does the same
                mine = sa.delete(quota_shares).where(quota_shares.c.id == self._share_id)
                self._ledger.write(lambda connection: connection.execute(mine))


def _lowest(configured: Sequence[float | None]) -> float | None:
    return min((value for value in configured if value is not None), default=None)


def _slots(most: int, demand: Demand, others: Sequence[sa.Row[Any]]) -> int:
    """Slots for one of several: an even part, and what the others leave; never one that somebody else still has.

    Who has more than an even part gives it back as calls end; what is in use is never taken away.
    """
    fair = max(1, most // (len(others) + 1))
    left_over: int = most - sum(min(share.wanted, most) for share in others)
    free: int = most - sum(share.granted for share in others)
    wanted = min(demand.in_flight, max(fair, left_over))
    return max(min(wanted, free), min(demand.busy, free), 0)
