"""Opening, migrating and binding a ledger."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.files import home
from prefect_imagen.core.ledger import Ledger, LedgerMismatch, LedgerNotUsable, LedgerUnavailable
from prefect_imagen.core.ledger.engine import describe_url, has_password, normalise_url
from prefect_imagen.core.ledger.schema import meta

OpenLedger = Callable[..., Ledger]


def test_opened_again_it_is_the_same_ledger(database: str, open_ledger: OpenLedger) -> None:
    first = open_ledger(database)
    assert len(first.id) == 32
    assert open_ledger(database).id == first.id
    assert open_ledger(database, create=False).id == first.id


def test_threads_that_open_a_new_ledger_at_once_agree(database: str, open_ledger: OpenLedger) -> None:
    start = threading.Barrier(4)

    def opened(_: int) -> str:
        start.wait()
        return open_ledger(database).id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(opened, range(4)))) == 1


@pytest.mark.slow
def test_processes_that_open_a_new_ledger_at_once_agree(sqlite: str) -> None:
    code = f"from prefect_imagen.core.ledger import Ledger; x = Ledger({sqlite!r}); print(x.id); x.close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len({output for output, _ in outputs}) == 1


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_schema_is_refused(database: str, open_ledger: OpenLedger, create: bool) -> None:
    ledger = open_ledger(database)
    newer = sa.update(meta).where(meta.c.key == "schema_version").values(value="99")
    ledger.write(lambda connection: connection.execute(newer))
    with pytest.raises(LedgerNotUsable, match=r"version 99.*upgrade"):
        Ledger(database, create=create)


def test_what_is_not_there_is_not_made_for_a_reader(database: str) -> None:
    with pytest.raises(LedgerNotUsable, match="there is no ledger"):
        Ledger(database, create=False)


def test_an_empty_file_is_no_ledger_for_a_reader_and_a_new_one_for_a_writer(
    tmp_path: Path, open_ledger: OpenLedger
) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(LedgerNotUsable, match="there is no ledger"):
        Ledger(str(path), create=False)
    assert open_ledger(str(path)).id


def test_a_file_that_is_something_else_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to have a header of its own\n" * 20)
    with pytest.raises(LedgerUnavailable, match=r"notes\.txt does not answer: file is not a database"):
        Ledger(str(path))


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerNotUsable, match="cannot be made"):
        Ledger(str(tmp_path / "file" / "ledger.db"))


def test_a_failed_opening_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something else entirely\n" * 100)
    before = set(threading.enumerate())
    with pytest.raises(LedgerUnavailable):
        Ledger(str(tmp_path / "x"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("imagen") and thread not in before]


def test_sqlite_commits_are_durable(sqlite: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(sqlite)

    def pragmas(connection: sa.Connection) -> tuple[object, ...]:
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous"))

    assert ledger.write(pragmas) == ("wal", 2)
    with ledger.read() as connection:
        assert pragmas(connection) == ("wal", 2)


def test_a_ledger_belongs_to_one_api(database: str, open_ledger: OpenLedger) -> None:
    ledger = open_ledger(database)
    assert ledger.origin is None
    ledger.bind("sandbox")
    ledger.bind("sandbox")
    assert ledger.origin == "sandbox"
    with pytest.raises(LedgerMismatch, match=r"account of sandbox.*https://api\.aimlapi\.com") as caught:
        ledger.bind("https://api.aimlapi.com")
    assert isinstance(caught.value, BadInput)
    assert open_ledger(database).origin == "sandbox"


def test_of_all_that_bind_at_once_one_decides(database: str, open_ledger: OpenLedger) -> None:
    ledgers = [open_ledger(database) for _ in range(4)]
    start = threading.Barrier(4)

    def bind(number: int) -> bool:
        start.wait()
        try:
            ledgers[number].bind(f"https://{number % 2}.test")
        except LedgerMismatch:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(bind, range(4))) == 2


def test_paths_and_urls_are_read_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("a.db", f"{tmp_path}/a.db", f"sqlite:///{tmp_path}/a.db", "sqlite:///a.db"):
        assert normalise_url(url).database == f"{tmp_path}/a.db"
    for url in ("postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg2://u@h/d"):
        assert normalise_url(url).drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "://",
        "sqlite+aiosqlite:////data/ledger.db",
        "sqlite+nobody:////data/ledger.db",
        "sqlite://host//data/ledger.db",
        "sqlite:///file:/data/ledger.db?uri=true",
        "sqlite:////data/ledger.db?mode=ro",
    ],
)
def test_what_cannot_hold_a_ledger_is_refused(url: str) -> None:
    with pytest.raises(LedgerNotUsable):
        normalise_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "host=db user=app password=s3cret dbname=imagen",
        "password = s3cret host=db",
        "app:s3cret@db/imagen",
        "//app:s3cret@db/imagen",
        "postgresql//app:s3cret@db/imagen",
        "jdbc:postgresql:/db/imagen?user=app&password=s3cret",
        "Server=db;User Id=app;Password=s3cret;",
        "ledger.db?key=s3cret",
        "file:ledger.db?key=s3cret",
        "sqlite+pysqlcipher://:s3cret@/ledger.db?cipher=aes-256-cfb",
        "sqlite:///ledger.db?key=s3cret",
        "sqlite://app:s3cret@db/ledger.db",
        "postgresql://app:s3@cret@db/imagen",
        "postgresql://app:s3cret@db:port/imagen",
        "postgresql://app:s3 cret@[::1/imagen",
        "mysql://app:s3cret@db/imagen",
    ],
)
def test_an_address_that_is_refused_is_not_quoted(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LedgerNotUsable) as caught:
        Ledger(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(part in str(caught.value) for part in ("s3cret", "s3@", "cret@", "s3 cret")), shown
    assert list(tmp_path.iterdir()) == [], "it was taken for the name of a file"


@pytest.mark.parametrize(
    "query",
    [
        "password=s3cret",
        "sslpassword=s3cret",
        "options=-c%20x%3Ds3cret",
        "passfile=/home/s3cret",
        "sslkey=/home/s3cret.pem",
        "service=s3cret",
        "bogus=s3cret",
        "password=s3cret%2F%40&bogus=1",
    ],
)
def test_nothing_of_a_query_that_may_be_a_secret_is_shown(query: str) -> None:
    url = f"postgresql://app:s3cret%2F%40@127.0.0.1:1/imagen?{query}"
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger(url)
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in describe_url(normalise_url(url))
    assert has_password(f"postgresql://127.0.0.1:1/imagen?{query}")


@pytest.mark.parametrize(
    "rest",
    [
        "127.0.0.1:1/host=x password=s3cret",
        "127.0.0.1:1/imagen;password=s3cret",
        "app%3As3cret@127.0.0.1:1/imagen",
        "app%3As3cret%40127.0.0.1:1/imagen",
        "app;password=s3cret@127.0.0.1:1/imagen",
        "127.0.0.1:1/imagen?user=app:s3cret",
        "127.0.0.1:1/imagen?host=127.0.0.1%20password%3Ds3cret",
        "127.0.0.1:1/imagen?host=127.0.0.1&host=app:s3cret@db",
        "127.0.0.1:1/imagen?application_name=x%20password%3Ds3cret",
    ],
)
def test_what_stands_where_it_does_not_belong_is_not_shown(rest: str) -> None:
    url = f"postgresql://{rest}"
    assert "s3cret" not in describe_url(normalise_url(url))
    assert has_password(url)
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger(url)
    assert "s3cret" not in str(caught.value)


def test_what_is_no_secret_is_shown() -> None:
    for url in (
        "postgresql://app@db/imagen?sslmode=require&connect_timeout=5",
        "postgresql://app@/imagen?host=db1:5432,[::1]:5433&sslmode=require",
        "postgresql:///imagen?host=/var/run/postgresql&sslmode=require",
    ):
        assert not has_password(url)
        assert "sslmode=require" in describe_url(normalise_url(url))
    assert not has_password("/data/ledger.db")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_ledger_is_for_its_owner_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        ledger = Ledger(str(tmp_path / "home" / "deep" / "ledger.db"))
        ledger.write(lambda connection: connection.execute(sa.insert(meta), [{"key": "a", "value": "b"}]))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").rglob("*")}
        modes["home"] = stat.S_IMODE((tmp_path / "home").stat().st_mode)
        ledger.close()
    finally:
        os.umask(before)
    assert {name for name in modes if name.startswith("ledger.db")} >= {"ledger.db", "ledger.db-wal"}
    assert all(mode == (0o600 if name.startswith("ledger") else 0o700) for name, mode in modes.items()), modes


def test_no_password_is_shown() -> None:
    for url in ("postgresql://app:s3cret@h/d", "postgresql://app@h/d?password=s3cret&sslpassword=s3cret"):
        assert "s3cret" not in describe_url(normalise_url(url))
        assert "app@h" in describe_url(normalise_url(url)) or "app:***@h" in describe_url(normalise_url(url))


def test_a_database_that_is_not_there_is_unavailable_and_keeps_its_password() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger("postgresql://app:s3cret@127.0.0.1:1/imagen?password=s3cret2")
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_ledger_is_not_pickled(sqlite: str, open_ledger: OpenLedger) -> None:
    with pytest.raises(TypeError, match="ImageCatalog"):
        pickle.dumps(open_ledger(sqlite))


def test_home_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_IMAGEN_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.setenv("PREFECT_IMAGEN_HOME", "")
    assert home() == Path.home() / ".prefect-imagen"
