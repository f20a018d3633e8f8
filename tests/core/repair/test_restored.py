"""A ledger that is an older copy of itself buys nothing until it has taken in what it does not know any more."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect_imagen.core.delivery import Marker
from prefect_imagen.core.errors import BadInput
from prefect_imagen.core.ledger import Ledger, LedgerBehind, LedgerMismatch, LedgerMissing, LedgerNotUsable, back_up
from prefect_imagen.core.storage import LocalStore

from ...chain import as_process
from ...postgres import PostgresServer, postgres_programs
from ...waiting import until
from .conftest import Workshop
from .test_reconcile import compare

OpenLedger = Callable[..., Ledger]


def file_of(workshop: Workshop) -> Path:
    return Path(str(workshop.ledger.url.database))


def copy(workshop: Workshop, to: Path) -> None:
    """Back the ledger up while it is in use."""
    assert back_up(str(workshop.ledger.url.render_as_string()), to) == to.stat().st_size


def restore(workshop: Workshop, backup: Path, open_ledger: OpenLedger) -> None:
    path = file_of(workshop)
    workshop.ledger.close()
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    shutil.copy(backup, path)
    workshop.ledger = open_ledger(f"sqlite:///{path}")


def catch_up(workshop: Workshop, count: int) -> None:
    """The whole way out: the run is refused, the ledger takes its own in, and the run buys what is missing."""
    bought = workshop.billed()
    found = compare(workshop)
    assert found.counts["behind"] == 1
    assert not found.clean
    with pytest.raises(LedgerBehind, match=r"reconcile --to \S+ --apply"):
        workshop.run(count)
    assert workshop.billed() == bought
    assert compare(workshop, apply=True).clean
    assert compare(workshop).counts == {}
    assert workshop.run(count) == {"delivered": count}


def test_a_backup_of_an_earlier_run_is_restored(workshop: Workshop, open_ledger: OpenLedger, tmp_path: Path) -> None:
    workshop.run(2)
    copy(workshop, tmp_path / "backup.db")
    workshop.run(6)
    restore(workshop, tmp_path / "backup.db", open_ledger)
    catch_up(workshop, 6)
    assert workshop.billed() == 6
    workshop.check(settled=True)


def test_a_backup_from_the_middle_of_a_run_is_restored(
    workshop: Workshop, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    """It has calls in flight, and images that are not stored yet."""
    options = {**workshop.options(40), "catalog": str(workshop.ledger.url.render_as_string())}
    workshop.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.3}])
    with subprocess.Popen(as_process(options), stdout=subprocess.DEVNULL) as run:
        until(lambda: workshop.billed() >= 12, "calls were billed")
        copy(workshop, tmp_path / "backup.db")
    assert run.returncode == 0
    restore(workshop, tmp_path / "backup.db", open_ledger)
    states = {call.outcome for call in workshop.calls()}
    assert "sent" in states
    catch_up(workshop, 40)
    assert workshop.billed() == 40
    workshop.check(settled=True)


def test_the_last_changes_were_deleted(workshop: Workshop, open_ledger: OpenLedger) -> None:
    """A killed process leaves them in the file `-wal`, which looks like rubbish."""
    workshop.run(4)
    workshop.ledger.close()
    options = {**workshop.options(40), "catalog": str(workshop.ledger.url.render_as_string())}
    workshop.sandbox.set_faults([{"fault": "slow_reply", "seconds": 0.3}])
    with subprocess.Popen(as_process(options), stdout=subprocess.DEVNULL) as run:
        until(lambda: len(workshop.files()) >= 12, "images were stored")
        os.kill(run.pid, signal.SIGKILL)
    path = file_of(workshop)
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    workshop.sandbox.wait_idle()
    stored = len(workshop.files())
    bought = workshop.billed()
    workshop.ledger = open_ledger(f"sqlite:///{path}")
    catch_up(workshop, 40)
    # What was in flight when the process was killed, and left no object, is all that can be bought again.
    assert workshop.billed() - bought == 40 - stored


def test_a_copy_that_is_used_beside_its_original_stops(
    workshop: Workshop, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    workshop.run(2)
    original = workshop.ledger
    copy(workshop, tmp_path / "copy.db")
    workshop.ledger = open_ledger(f"sqlite:///{tmp_path}/copy.db")
    workshop.run(4)
    workshop.ledger = original
    with pytest.raises(LedgerBehind):
        workshop.run(6)
    assert workshop.billed() == 4


def test_a_repair_that_buys_is_stopped_as_well(workshop: Workshop, open_ledger: OpenLedger, tmp_path: Path) -> None:
    workshop.sandbox.set_faults([{"fault": "cut_after_billing", "times": 1}])
    workshop.run(2)
    workshop.sandbox.clear_faults()
    assert workshop.states() == {"delivered": 1, "unknown": 1}
    copy(workshop, tmp_path / "backup.db")
    workshop.run(4)
    restore(workshop, tmp_path / "backup.db", open_ledger)
    posts = workshop.sandbox.stats()["posts"]
    report = workshop.repair(unknown="retry")
    assert "catalog behind its store" in report.problems[0]
    assert workshop.sandbox.stats()["posts"] == posts


def test_each_destination_has_a_number_of_its_own(workshop: Workshop, open_ledger: OpenLedger, tmp_path: Path) -> None:
    first, second = workshop.store, str(tmp_path / "second")
    workshop.run(2)
    copy(workshop, tmp_path / "backup.db")
    workshop.run(4)
    restore(workshop, tmp_path / "backup.db", open_ledger)
    workshop.store = second
    for _ in range(3):
        workshop.run(1, prefix="owl")
    workshop.store = first
    catch_up(workshop, 4)
    workshop.check(settled=True)


def test_the_marker_is_written_seldom(workshop: Workshop) -> None:
    began = time.monotonic()
    workshop.run(100, chunk=1, concurrency=8)
    seconds = time.monotonic() - began
    mark = json.loads(Path(workshop.store, ".prefect-imagen-ledger.json").read_text())
    assert 2 <= mark["number"] == workshop.ledger.marks.number(Path(workshop.store).as_uri())
    assert mark["number"] <= 2 + 100 / 10 + seconds / 5


def test_a_marker_of_an_older_package_is_bound_and_goes_on(workshop: Workshop) -> None:
    Path(workshop.store).mkdir()
    path = Path(workshop.store, ".prefect-imagen-ledger.json")
    path.write_text(json.dumps({"ledger_id": workshop.ledger.id, "api_origin": "sandbox"}))
    workshop.run(1)
    assert json.loads(path.read_text())["number"] >= 1


def test_a_marker_ahead_stops_a_run_in_the_middle(workshop: Workshop) -> None:
    workshop.run(1)
    marker = Marker(workshop.ledger, LocalStore(Path(workshop.store)))
    path = Path(workshop.store, ".prefect-imagen-ledger.json")
    mark = json.loads(path.read_text())
    path.write_text(json.dumps({**mark, "number": mark["number"] + 5}))
    with pytest.raises(LedgerBehind):
        marker.before_call()
    path.write_text(json.dumps({**mark, "ledger_id": "another"}))
    with pytest.raises(LedgerMismatch, match="taken"):
        marker.before_call()
    assert json.loads(path.read_text())["ledger_id"] == "another"


def test_postgresql_is_backed_up_and_restored_as_documented(
    workshop: Workshop, own_postgres: PostgresServer, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    programs = postgres_programs()
    assert programs is not None
    if not (programs / "pg_dump").exists():
        pytest.skip("there is no pg_dump here")
    page = (Path(__file__).parents[3] / "docs" / "account.md").read_text()
    dump, restore = re.findall(r"^pg_.*$", page, re.MULTILINE)
    url = own_postgres.url()
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "LEDGER": url}

    def shell(command: str) -> None:
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, env=environment, check=True)

    with pytest.raises(LedgerNotUsable, match="pg_dump"):
        back_up(url, tmp_path / "ledger.dump")
    workshop.ledger = open_ledger(url)
    workshop.run(2)
    shell(dump)
    workshop.run(5)
    workshop.ledger.close()
    shell(restore)
    workshop.ledger = open_ledger(url)
    catch_up(workshop, 5)
    assert workshop.billed() == 5
    workshop.check(settled=True)


def test_a_backup_is_its_owners_and_replaces_nothing(sqlite: str, open_ledger: OpenLedger, tmp_path: Path) -> None:
    ledger = open_ledger(sqlite)
    ledger.marks.advance("file:///a", 0)
    copy = tmp_path / "copy.db"
    back_up(sqlite, copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]
    assert open_ledger(str(copy)).marks.number("file:///a") == 1
    with pytest.raises(BadInput, match="exists"):
        back_up(sqlite, copy)
    with pytest.raises(BadInput, match="cannot be written"):
        back_up(sqlite, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(LedgerMissing):
        back_up(str(tmp_path / "none.db"), tmp_path / "other.db")
    assert not (tmp_path / "none.db").exists()
