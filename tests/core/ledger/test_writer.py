"""Group commits: what is reported is committed, and no operation harms its neighbours."""

from __future__ import annotations

import math
import multiprocessing
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import Item, ItemState, Ledger, LedgerUnavailable, RunItem, RunSpec
from prefect_imagen.core.ledger.schema import items, meta
from prefect_imagen.core.ledger.writer import Writer

from ...waiting import until

OpenLedger = Callable[..., Ledger]


def put(key: str) -> Callable[[sa.Connection], str]:
    def operation(connection: sa.Connection) -> str:
        connection.execute(sa.insert(meta).values(key=key, value=""))
        return key

    return operation


def keys(ledger: Ledger) -> set[str]:
    with ledger.read() as connection:
        return set(connection.scalars(sa.select(meta.c.key))) - {"schema_version", "ledger_id", "folder_names"}


def queued(ledger: Ledger, count: int) -> None:
    """Wait until so many operations wait for the next commit."""
    while ledger._writer._jobs.qsize() < count:
        time.sleep(0.001)


def test_what_waits_during_a_commit_is_committed_together(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    commits: list[None] = []
    sa.event.listen(ledger.engine, "commit", lambda _connection: commits.append(None))
    entered, go = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    with ThreadPoolExecutor(41) as threads:
        first = threads.submit(ledger.write, slow)
        assert entered.wait(60)
        others = [threads.submit(ledger.write, put(f"k{n}")) for n in range(40)]
        queued(ledger, 40)
        go.set()
        assert [future.result() for future in others] == [f"k{n}" for n in range(40)]
        first.result()
    assert len(keys(ledger)) == 40
    assert len(commits) == 2


def test_what_comes_before_is_done_once_and_does_not_wait_for_a_database_that_is_away(
    database: str, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger(database)
    done: list[str] = []
    entered, go = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    def flush() -> None:
        done.append("flushed")

    def step(connection: sa.Connection, values: list[str]) -> list[str]:
        done.append(f"{len(values)} written")
        return values

    def write(value: str) -> str:
        return ledger._writer.run_together(step, value, after=flush)

    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(ledger.write, slow)
        assert entered.wait(60)
        waiting = [threads.submit(write, str(number)) for number in range(8)]
        until(lambda: len(done) == 8, "each of those that wait to flush for itself")
        go.set()
        assert [one.result(60) for one in waiting] == list("01234567")
        first.result(60)
    assert done == ["flushed"] * 9 + ["8 written"]


def test_an_operation_that_fails_fails_alone(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    entered, go = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    def wrong(connection: sa.Connection) -> None:
        connection.execute(sa.insert(meta).values(key="half", value=""))
        raise LookupError("mine")

    with ThreadPoolExecutor(12) as threads:
        first = threads.submit(ledger.write, slow)
        assert entered.wait(60)
        good = [threads.submit(ledger.write, put(f"a{n}")) for n in range(4)]
        bad = threads.submit(ledger.write, wrong)
        good += [threads.submit(ledger.write, put(f"b{n}")) for n in range(4)]
        queued(ledger, 9)
        go.set()
        first.result()
        for future in good:
            future.result()
        with pytest.raises(LookupError, match="mine"):
            bad.result()
    assert keys(ledger) == {f"{letter}{n}" for letter in "ab" for n in range(4)}


def test_a_deadlock_is_tried_again(postgres: str, open_ledger: OpenLedger) -> None:
    """Two processes lock two rows in opposite order: PostgreSQL ends one of them, which starts over."""
    one, other = open_ledger(postgres), open_ledger(postgres)
    one.write(put("a"))
    one.write(put("b"))
    met = threading.Barrier(2)
    tries: list[str] = []

    def cross(first: str, second: str) -> Callable[[sa.Connection], None]:
        seen: list[None] = []

        def operation(connection: sa.Connection) -> None:
            tries.append(first)
            connection.execute(sa.update(meta).where(meta.c.key == first).values(value=meta.c.value + "x"))
            if not seen:
                seen.append(None)
                met.wait(60)
            connection.execute(sa.update(meta).where(meta.c.key == second).values(value=meta.c.value + "x"))

        return operation

    with ThreadPoolExecutor(2) as threads:
        futures = [threads.submit(one.write, cross("a", "b")), threads.submit(other.write, cross("b", "a"))]
        for future in futures:
            future.result()
    assert len(tries) == 3
    with one.read() as connection:
        assert set(connection.scalars(sa.select(meta.c.value).where(meta.c.key.in_(["a", "b"])))) == {"xx"}


def test_an_operation_that_waits_for_another_is_an_error_not_a_hang(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    with pytest.raises(RuntimeError, match="cannot wait"):
        ledger.write(lambda _connection: ledger.write(put("a")))


def test_after_close_nothing_is_written(database: str) -> None:
    ledger = Ledger(database)
    ledger.write(put("before"))
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.write(put("after"))
    ledger.close()


def test_close_finishes_what_was_asked_for(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = Ledger(sqlite)
    entered, go = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    with ThreadPoolExecutor(8) as threads:
        threads.submit(ledger.write, slow)
        assert entered.wait(60)
        waiting = [threads.submit(ledger.write, put(f"k{n}")) for n in range(5)]
        queued(ledger, 5)
        closing = threads.submit(ledger.close)
        go.set()
        closing.result()
        assert [future.result() for future in waiting] == [f"k{n}" for n in range(5)]
    assert len(keys(open_ledger(sqlite))) == 5


def test_a_server_that_went_away_and_came_back(postgres: str, open_ledger: OpenLedger) -> None:
    """Connections that the server ended are unavailable once at most, and never shown with a password."""
    import psycopg

    ledger = open_ledger(postgres)
    ledger.write(put("a"))

    def cut(connection: sa.Connection) -> None:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        connection.execute(sa.insert(meta).values(key="lost", value=""))

    with pytest.raises(LedgerUnavailable, match="does not answer"):
        ledger.write(cut)
    assert ledger.write(put("b")) == "b"
    assert keys(ledger) == {"a", "b"}


def test_a_question_whose_connection_breaks_is_asked_again(postgres: str, open_ledger: OpenLedger) -> None:
    import psycopg

    ledger = open_ledger(postgres)
    asked: list[None] = []

    def question(connection: sa.Connection) -> int:
        asked.append(None)
        if len(asked) == 1:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with psycopg.connect(postgres, autocommit=True) as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return int(connection.exec_driver_sql("SELECT 7").scalar_one())

    with pytest.raises(LedgerUnavailable, match="does not answer"):
        ledger.ask(question)
    asked.clear()
    ledger.be_patient(60)
    assert ledger.ask(question) == 7
    assert len(asked) == 2


def test_whatever_happens_to_the_writer_nobody_waits_for_ever(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that has no memory left, or whose clock fails."""
    ledger = open_ledger(sqlite)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_commit", lambda *_: [].pop())
        with pytest.raises(IndexError):
            ledger.write(put("a"))
    assert ledger.write(put("b")) == "b"
    assert keys(ledger) == {"b"}


def test_the_level_of_isolation_is_not_the_server_s(postgres: str, open_ledger: OpenLedger) -> None:
    """On a server whose default is another one, processes that share a ledger would lose conflicts without end."""
    ledger = open_ledger(f"{postgres}%20-cdefault_transaction_isolation%3Dserializable")
    show = (
        "SELECT reset_val, current_setting('transaction_isolation') FROM pg_settings "
        "WHERE name = 'default_transaction_isolation'"
    )

    def levels(connection: sa.Connection) -> tuple[str, ...]:
        return tuple(connection.exec_driver_sql(show).one())

    assert ledger.write(levels) == ledger.ask(levels) == ("serializable", "read committed")


def test_a_connection_is_asked_once_whether_it_is_there_if_it_was_idle_or_is_to_be_read(
    postgres: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each transaction would cost a round trip more. A question and a write can begin anew, a read cannot."""
    ledger = open_ledger(postgres)
    asked: list[Any] = []
    monkeypatch.setattr(ledger.engine.dialect, "do_ping", asked.append)
    monkeypatch.setattr("prefect_imagen.core.ledger.postgres._FRESH_SECONDS", math.inf)
    ledger.write(put("a"))
    assert ledger.has_readable_names
    assert not asked
    assert keys(ledger) == {"a"}
    assert len(asked) == 1
    monkeypatch.setattr("prefect_imagen.core.ledger.postgres._FRESH_SECONDS", 0.0)
    assert keys(ledger) == {"a"}
    assert len(asked) == 2
    assert ledger.has_readable_names
    assert len(asked) == 3


def test_a_server_that_is_read_only_for_a_while_is_waited_for(postgres: str, open_ledger: OpenLedger) -> None:
    """As a standby is until it takes over."""
    ledger = open_ledger(postgres)
    tries: list[None] = []

    def refused_once(connection: sa.Connection) -> str:
        tries.append(None)
        if len(tries) == 1:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        return put("a")(connection)

    with pytest.raises(LedgerUnavailable, match="read-only"):
        ledger.write(refused_once)
    tries.clear()
    ledger.be_patient(60)
    assert ledger.write(refused_once) == "a"
    assert len(tries) == 2
    assert keys(ledger) == {"a"}


def test_a_locked_sqlite_file_is_unavailable(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_imagen.core.ledger.engine._BUSY_SECONDS", 0.05)
    ledger = open_ledger(sqlite)
    with sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.write(put("a"))
        other.execute("ROLLBACK")
    other.close()
    assert ledger.write(put("a")) == "a"


def test_a_locked_sqlite_file_is_waited_for(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is to be written waits in line, in its order, and is written once."""
    monkeypatch.setattr("prefect_imagen.core.ledger.engine._BUSY_SECONDS", 0.05)
    ledger = open_ledger(sqlite)
    ledger.be_patient(60)
    with (
        sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None) as other,
        ThreadPoolExecutor(9) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        waiting = [pool.submit(ledger.write, put(f"k{n}")) for n in range(9)]
        done, _ = wait(waiting, timeout=0.7, return_when=FIRST_COMPLETED)
        assert not done, "written to a locked file, or given up"
        other.execute("ROLLBACK")
        assert [future.result(60) for future in waiting] == [f"k{n}" for n in range(9)]
    other.close()
    assert len(keys(ledger)) == 9


def test_patience_with_a_database_ends_for_all_at_once(
    sqlite: str, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_imagen.core.ledger.engine._BUSY_SECONDS", 0.01)
    ledger = open_ledger(sqlite)
    ledger.be_patient(1.0)
    with (
        sqlite3.connect(sqlite.removeprefix("sqlite:///"), isolation_level=None) as other,
        ThreadPoolExecutor(60) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        waiting = [pool.submit(ledger.write, put(f"k{n}")) for n in range(60)]
        assert all(isinstance(future.exception(90), LedgerUnavailable) for future in waiting)
        assert time.monotonic() - started < 45, "each waited by itself"
        other.execute("ROLLBACK")
    other.close()


def test_a_mistake_in_a_statement_is_not_waited_for(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)
    ledger.be_patient(3600)
    with pytest.raises(LedgerUnavailable, match="no such table"):
        ledger.write(lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere"))


@pytest.mark.parametrize("fresh", [0.0, 3600.0], ids=["idle", "just used"])
def test_a_postgres_that_is_away_is_waited_for(
    own_postgres: Any, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch, fresh: float
) -> None:
    monkeypatch.setattr("prefect_imagen.core.ledger.postgres._FRESH_SECONDS", fresh)
    ledger = open_ledger(own_postgres.url())
    ledger.be_patient(60)
    ledger.write(put("a"))
    own_postgres.stop()
    with ThreadPoolExecutor(2) as pool:
        written, read = pool.submit(ledger.write, put("b")), pool.submit(keys, ledger)
        done, _ = wait((written, read), timeout=1, return_when=FIRST_COMPLETED)
        assert not done, "the database is away: nothing can be written or read, and nobody gives up yet"
        own_postgres.start()
        assert written.result(60) == "b"
        assert read.result(60) >= {"a"}
    assert keys(ledger) == {"a", "b"}


def test_a_postgres_that_is_frozen_is_waited_for_as_long_as_there_is_patience(
    own_postgres: Any, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_imagen.core.ledger.outage._SHORTEST_LIMIT", 1.0)
    ledger = open_ledger(own_postgres.url())
    ledger.be_patient(60)
    ledger.write(put("a"))
    with ThreadPoolExecutor(3) as pool:
        own_postgres.freeze()
        written, read = pool.submit(ledger.write, put("b")), pool.submit(keys, ledger)
        done, _ = wait((written, read), timeout=1, return_when=FIRST_COMPLETED)
        assert not done
        own_postgres.thaw()
        assert written.result(60) == "b"
        assert read.result(60) >= {"a"}
        # The run is stopped: there is less patience, also for what waits already; and it is spent once for all.
        own_postgres.freeze()
        waiting = [pool.submit(ledger.write, put("c")), pool.submit(keys, ledger)]
        done, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
        assert not done
        ledger.be_patient(2)
        began = time.monotonic()
        waiting += [pool.submit(ledger.write, put(f"d{n}")) for n in range(5)]
        assert all(isinstance(one.exception(50), LedgerUnavailable) for one in waiting)
        assert time.monotonic() - began < 45, "less than what each would wait by itself"
        own_postgres.thaw()
    ledger.be_patient(30)
    ledger.write(put("e"))
    assert keys(ledger) >= {"a", "b", "e"}


def test_a_file_that_vanished_is_unavailable(tmp_path: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(str(tmp_path / "folder" / "ledger.db"))
    ledger.engine.dispose()
    subprocess.run(["rm", "-r", str(tmp_path / "folder")], check=True)
    with pytest.raises(LedgerUnavailable):
        ledger.costs.of()
    with pytest.raises(LedgerUnavailable):
        ledger.write(put("a"))


def _fill(url: str, name: str) -> None:
    ledger = Ledger(url)
    ledger.runs.start(RunSpec(name, "m"))
    for n in range(60):
        item = Item("m", f"{name} {n}", {})
        ledger.runs.add_items(name, [RunItem(n, item, "x", n)])
        assert [claimed.id for claimed in ledger.items.claim([item.id])] == [item.id]
    ledger.close()


@pytest.mark.slow
def test_two_processes_write_one_sqlite_file(sqlite: str, open_ledger: OpenLedger) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(sqlite, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with open_ledger(sqlite).read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(items.c.state == ItemState.PLANNED)) == 120


def test_values_that_wait_for_one_step_are_done_by_one_run_of_it(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    entered, go = threading.Event(), threading.Event()
    runs: list[list[str]] = []

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    def step(connection: sa.Connection, values: list[str]) -> list[str]:
        runs.append(values)
        connection.execute(sa.insert(meta), [{"key": value, "value": ""} for value in values])
        return [value.upper() for value in values]

    with ThreadPoolExecutor(22) as threads:
        first = threads.submit(ledger.write, slow)
        assert entered.wait(60)
        futures = [threads.submit(ledger._writer.run_together, step, f"k{n}") for n in range(10)]
        single = threads.submit(ledger.write, put("other"))
        futures += [threads.submit(ledger._writer.run_together, step, f"k{n}") for n in range(10, 20)]
        queued(ledger, 21)
        go.set()
        assert [future.result() for future in futures] == [f"K{n}" for n in range(20)]
        first.result()
        assert single.result() == "other"
    assert [len(values) for values in runs] == [20]
    assert keys(ledger) == {f"k{n}" for n in range(20)} | {"other"}


def test_a_value_that_fails_fails_alone(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    entered, go = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        entered.set()
        assert go.wait(60)

    def step(connection: sa.Connection, values: list[str]) -> list[str]:
        connection.execute(sa.insert(meta), [{"key": value, "value": ""} for value in values])
        if "bad" in values:
            raise LookupError("mine")
        return values

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(ledger.write, slow)
        assert entered.wait(60)
        futures = [threads.submit(ledger._writer.run_together, step, name) for name in ("a", "bad", "b")]
        queued(ledger, 3)
        go.set()
        first.result()
        assert futures[0].result() == "a"
        with pytest.raises(LookupError, match="mine"):
            futures[1].result()
        assert futures[2].result() == "b"
    assert keys(ledger) == {"a", "b"}
