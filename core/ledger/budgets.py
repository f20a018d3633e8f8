"""Budgets: what a run, a day or a month may cost.

A run's budget is in the run's row. Budgets of the day and the month belong to the ledger and hold for every run: for
all calls, or for those to one provider. Each has a counter for its current window. The transaction that records the
intent of a call reserves its highest price in every counter, so concurrent runs cannot exceed a budget together. Calls
with an unknown outcome stay reserved.

A window's counter is created with its first call, from the calls that the window has by then. So a budget counts from
the beginning of the window, even if it was set later.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import BadInput
from ..money import format_usd
from .database import Part
from .engine import database_now
from .schema import archived_calls, budget_windows, calls, insert_new, runs, workers
from .schema import budgets as budgets_table
from .states import UNSETTLED, CallOutcome
from .workers import LEASE_SECONDS

WARN_AT = 0.8
"""Part of a budget whose use causes a warning, once a window."""

_SETTING, _COUNTING = 7_310_942_119, 7_310_942_120  # advisory locks of PostgreSQL; SQLite has one writer anyway


class Period(enum.StrEnum):
    """What a budget is for."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and what is used of it, in credits."""

    period: Period
    limit: int
    spent: int  # surely billed
    reserved: int  # what calls in flight or unknown may still cost
    window: str  # which one: `2026-03-01`, `2026-03`, or the run's id
    timezone: str = ""  # where the window begins at midnight; empty for a run
    frees_at: datetime | None = None  # when the next window begins; None for a run
    provider: str | None = None  # whose calls count; None: all

    @property
    def used(self) -> int:
        """Spent or reserved."""
        return self.spent + self.reserved

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return max(0, self.limit - self.used)

    @property
    def name(self) -> str:
        """Whose budget it is, in a message."""
        return f"the {self.period}'s budget" + (f" for {self.provider}" if self.provider else "")

    def __str__(self) -> str:
        where = f" ({self.window}, {self.timezone})" if self.timezone else ""
        used = f"{format_usd(self.spent)} billed" + (f", {format_usd(self.reserved)} reserved" if self.reserved else "")
        text = f"{self.name} of {format_usd(self.limit)}{where} does not cover the next call: {used}"
        return text if self.frees_at is None else f"{text}; it frees at {self.frees_at:%Y-%m-%d %H:%M %Z}"


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """Four fifths of a budget are used. Given once a window."""

    state: BudgetState
    run_id: str


@dataclass(frozen=True, slots=True)
class _Budget:
    period: Period
    limit: int
    zone: ZoneInfo
    provider: str = ""

    def counts(self, provider: str | None) -> bool:
        """Whether a call to a provider counts here."""
        return self.provider in ("", provider)

    def place(self, window: str) -> dict[str, str]:
        """Which counter is that of a window, for the statements below."""
        return {"of": self.period, "seller": self.provider, "window_": window}

    def window(self, moment: datetime) -> str:
        day = moment.astimezone(self.zone).date().isoformat()
        return day if self.period is Period.DAY else day[:7]

    def bounds(self, window: str) -> tuple[datetime, datetime]:
        """When a window begins and ends: midnights in the budget's time zone."""
        first = date.fromisoformat(window if self.period is Period.DAY else f"{window}-01")
        after = first + timedelta(days=1) if self.period is Period.DAY else (first + timedelta(days=31)).replace(day=1)
        return self._midnight(first), self._midnight(after)

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        BadInput: There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(f"{name!r} is not a time zone; use a name such as UTC or Europe/Berlin") from None


_seen: weakref.WeakKeyDictionary[object, tuple[_Budget, ...]] = weakref.WeakKeyDictionary()


def _budgets(connection: Connection) -> tuple[_Budget, ...]:
    """The budgets of day and month, read once a transaction; on PostgreSQL they are locked until it ends.

    If there are any, transactions that count take turns, so that a reservation sees all earlier ones.
    """
    transaction = connection.get_transaction()
    if transaction in _seen:
        return _seen[transaction]
    postgres = connection.dialect.name == "postgresql"
    found = tuple(_read_locked(connection) if postgres else _read_budgets(connection))
    if found and postgres:
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_COUNTING})"))
    if transaction is not None:
        _seen[transaction] = found
    return found


def _read_locked(connection: Connection) -> list[_Budget]:
    """The same under a lock. Both statements go at once; the second one sees what is there once the first has ended."""
    result = connection.execute(_LOCK_AND_READ)
    cursor: Any = result.cursor
    cursor.nextset()
    found = [_Budget(Period(period), credits, zone_of(zone), seller) for period, seller, credits, zone in cursor]
    result.close()
    return found


def _read_budgets(connection: Connection) -> list[_Budget]:
    rows = connection.execute(sa.text(_READ))
    return [_Budget(Period(period), credits, zone_of(zone), seller) for period, seller, credits, zone in rows]


_READ = f"SELECT period, provider, credits, timezone FROM {budgets_table.name} ORDER BY period, provider"
# Without parameters, PostgreSQL takes several statements at once.
_LOCK_AND_READ = sa.text(f"SELECT pg_advisory_xact_lock_shared({_SETTING}); {_READ}").execution_options(
    no_parameters=True
)


class Budgets(Part):
    """The budgets of a ledger."""

    def set(self, period: Period, limit: int, timezone: str = "UTC", *, provider: str | None = None) -> None:
        """Set what a day or a month may cost, in credits. It holds from the next call on, for every run of the ledger.

        Args:
            period: DAY or MONTH: each run has a budget of its own.
            limit: Highest cost, in credits.
            timezone: IANA name of the zone whose midnights begin a day and a month.
            provider: Whose calls count; None for all calls. Both can be set.

        Raises:
            BadInput: RUN, or no such time zone.
        """
        if period is Period.RUN:
            raise BadInput("a run's budget is given with the run (--budget-usd)")
        zone_of(timezone)
        row = {
            "period": period,
            "provider": provider or "",
            "credits": limit,
            "timezone": timezone,
            "set_at": datetime.now(UTC),
        }

        def operation(connection: Connection) -> None:
            _clear(connection, period, provider)
            connection.execute(sa.insert(budgets_table), [row])

        self._database.write(operation)

    def clear(self, period: Period, *, provider: str | None = None) -> None:
        """Remove the budget of the day or the month: that for all calls, or that for a provider."""
        self._database.write(lambda connection: _clear(connection, period, provider))

    def bound_everything(self) -> bool:
        """Whether a day or a month is capped for all calls, whoever is bought from."""
        return any(state.provider is None for state in self.states())

    def states(self, run_id: str | None = None) -> list[BudgetState]:
        """The budgets that are set, and what is used of each: of a run (if one is named), of the day, of the month."""
        return self._database.ask(
            lambda connection: [*_run_states(connection, run_id), *_window_states(connection, datetime.now(UTC))]
        )

    def may_free(self, run_id: str, period: Period) -> bool:
        """Whether calls are in flight that may yet cost less than is reserved for them in one of a run's budgets."""

        def question(connection: Connection) -> bool:
            alive = workers.c.heartbeat >= database_now(connection) - LEASE_SECONDS
            query = (
                sa.select(calls.c.id)
                .join(workers, workers.c.id == calls.c.holder_id)
                .where(calls.c.outcome == CallOutcome.SENT, workers.c.ended_at.is_(None), alive)
                .limit(1)
            )
            if period is Period.RUN:
                query = query.where(calls.c.run_id == run_id)
            return connection.scalar(query) is not None

        return self._database.ask(question)

    def pop_warnings(self, run_id: str) -> list[BudgetWarning]:
        """Budgets of which four fifths are used by now; each is returned once, to the first caller.

        The row that says that a budget was returned is changed in the same transaction.
        """

        def operation(connection: Connection) -> list[BudgetWarning]:
            used = runs.c.reserved + runs.c.spent >= runs.c.budget * WARN_AT
            unsaid = sa.update(runs).where(runs.c.id == run_id, runs.c.budget.is_not(None), runs.c.warned.is_not(True))
            told = connection.execute(unsaid.where(used).values(warned=True))
            states = _run_states(connection, run_id) if told.rowcount == 1 else []
            for state in _window_states(connection, datetime.now(UTC)):
                if state.used >= state.limit * WARN_AT:
                    place = {"of": state.period, "seller": state.provider or "", "window_": state.window}
                    states += [state] if connection.execute(_WARN, place).rowcount == 1 else []
            return [BudgetWarning(state, run_id) for state in states]

        return self._database.write(operation)


def _clear(connection: Connection, period: Period, provider: str | None) -> None:
    """Remove a budget and its counters; they are made from the calls again when it is set anew."""
    if connection.dialect.name == "postgresql":
        # Waits for every transaction that has read the budgets, so that none counts by the old ones after this.
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_SETTING})"))
    _seen.pop(connection.get_transaction(), None)
    for table in (budgets_table, budget_windows):
        mine = (table.c.period == period, table.c.provider == (provider or ""))
        connection.execute(sa.delete(table).where(*mine))


def reserve(connection: Connection, run_id: str, provider: str | None, amount: int, now: datetime) -> Period | None:
    """Reserve an amount of credits in every budget, or in none, for calls that are sent `now` to a provider.

    Returns:
        The budget that does not cover the amount; None if all do.
    """
    budgets = [budget for budget in _budgets(connection) if budget.counts(provider)]
    if connection.execute(_RESERVE, {"run": run_id, "amount": amount}).rowcount != 1:
        return Period.RUN
    for number, budget in enumerate(budgets):
        window = budget.window(now)
        _open_window(connection, budget, window)
        if connection.execute(_COUNT, {**budget.place(window), "amount": amount, "budget": budget.limit}).rowcount != 1:
            for other in budgets[:number]:
                _add(connection, other, other.window(now), -amount, 0)
            connection.execute(_POST, {"run": run_id, "reservation": amount, "amount": 0})
            return budget.period
    return None


def post(connection: Connection, run_id: str, ended: Sequence[tuple[str | None, datetime, int, int]]) -> None:
    """Release reservations and book what was billed, in the windows in which the calls were sent.

    `ended` says of each call to whom and when it was sent, what is reserved for it, and what it cost.
    """
    budgets = _budgets(connection)
    reserved, settled = sum(call[2] for call in ended), sum(call[3] for call in ended)
    connection.execute(_POST, {"run": run_id, "reservation": reserved, "amount": settled})
    for budget in budgets:
        windows: dict[str, tuple[int, int]] = {}
        for provider, sent_at, reservation, cost in ended:
            if not budget.counts(provider):
                continue
            window = budget.window(sent_at)
            before = windows.get(window, (0, 0))
            windows[window] = (before[0] - reservation, before[1] + cost)
        for window, (released, spent) in windows.items():
            _add(connection, budget, window, released, spent)


_RESERVE = (
    sa.update(runs)
    .where(
        runs.c.id == sa.bindparam("run"),
        sa.or_(runs.c.budget.is_(None), runs.c.reserved + runs.c.spent + sa.bindparam("amount") <= runs.c.budget),
    )
    .values(reserved=runs.c.reserved + sa.bindparam("amount"))
)
_POST = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(reserved=runs.c.reserved - sa.bindparam("reservation"), spent=runs.c.spent + sa.bindparam("amount"))
)
_THIS = sa.and_(
    budget_windows.c.period == sa.bindparam("of"),
    budget_windows.c.provider == sa.bindparam("seller"),
    budget_windows.c.window == sa.bindparam("window_"),
)
_COUNT = (
    sa.update(budget_windows)
    .where(_THIS, budget_windows.c.reserved + budget_windows.c.spent + sa.bindparam("amount") <= sa.bindparam("budget"))
    .values(reserved=budget_windows.c.reserved + sa.bindparam("amount"))
)
_ADD = (
    sa.update(budget_windows)
    .where(_THIS)
    .values(
        reserved=budget_windows.c.reserved + sa.bindparam("more"), spent=budget_windows.c.spent + sa.bindparam("cost")
    )
)


_WARN = sa.update(budget_windows).where(_THIS, budget_windows.c.warned.is_(False)).values(warned=True)


def _add(connection: Connection, budget: _Budget, window: str, reserved: int, spent: int) -> None:
    connection.execute(_ADD, {**budget.place(window), "more": reserved, "cost": spent})


def _open_window(connection: Connection, budget: _Budget, window: str) -> None:
    """Create the counter of a window from the calls that were sent in it."""
    if _counter(connection, budget, window) is None:
        reserved, spent = _sum(connection, budget, window)
        row = {
            "period": budget.period,
            "provider": budget.provider,
            "window": window,
            "reserved": reserved,
            "spent": spent,
            "warned": False,
        }
        connection.execute(insert_new(connection, budget_windows), [row])


def _counter(connection: Connection, budget: _Budget, window: str) -> tuple[int, int] | None:
    query = sa.select(budget_windows.c.reserved, budget_windows.c.spent).where(_THIS)
    row = connection.execute(query, budget.place(window)).one_or_none()
    return None if row is None else (row.reserved, row.spent)


def _sum(connection: Connection, budget: _Budget, window: str) -> tuple[int, int]:
    """Credits reserved and spent by the calls of a window."""
    begin, end = budget.bounds(window)
    open_ = calls.c.outcome.in_(UNSETTLED)
    query = sa.select(
        sa.func.coalesce(sa.func.sum(sa.case((open_, calls.c.reserved), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((open_, 0), else_=calls.c.settled)), 0),
    ).where(calls.c.sent_at >= begin, calls.c.sent_at < end)
    # Windows begin at midnight: everywhere, a quarter of an hour is in one of them.
    moved = sa.select(sa.literal(0), sa.func.coalesce(sa.func.sum(archived_calls.c.settled), 0)).where(
        archived_calls.c.sent_from >= begin, archived_calls.c.sent_from < end
    )
    if budget.provider:
        query = query.where(calls.c.provider == budget.provider)
        moved = moved.where(archived_calls.c.provider == budget.provider)
    sums = connection.execute(sa.union_all(query, moved)).all()
    return sum(int(row[0]) for row in sums), sum(int(row[1]) for row in sums)


def _window_states(connection: Connection, now: datetime) -> list[BudgetState]:
    """The budgets of day and month, and what is used of their current windows."""
    states = []
    for budget in _read_budgets(connection):
        window = budget.window(now)
        reserved, spent = _counter(connection, budget, window) or _sum(connection, budget, window)
        frees_at = budget.bounds(window)[1]
        zone, provider = budget.zone.key, budget.provider or None
        states.append(BudgetState(budget.period, budget.limit, spent, reserved, window, zone, frees_at, provider))
    return states


def _run_states(connection: Connection, run_id: str | None) -> list[BudgetState]:
    """A run's budget, if it has one."""
    query = sa.select(runs.c.budget, runs.c.spent, runs.c.reserved)
    rows = connection.execute(query.where(runs.c.id == run_id, runs.c.budget.is_not(None)))
    return [BudgetState(Period.RUN, row.budget, row.spent, row.reserved, str(run_id)) for row in rows]
