"""Replies on disk: small ones in a log of the process, large ones in files of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect_imagen.core.files import sync_folder
from prefect_imagen.core.providers import RawReply
from prefect_imagen.core.purchase import ReplySpool
from prefect_imagen.core.purchase.reply_log import ReplyLog

from ...waiting import until

LARGE = b"x" * 20_000


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def logs(folder: Path) -> list[Path]:
    return list(folder.glob("*.replies"))


@pytest.fixture(params=["log", "file"])
def body(request: pytest.FixtureRequest) -> bytes:
    """A small body and a large one."""
    odd = b'{"a":\n"\xff\x00"}\n\n'
    return odd if request.param == "log" else odd + LARGE


def test_a_reply_is_kept_whole_and_private(tmp_path: Path, body: bytes) -> None:
    spool = ReplySpool(tmp_path / "replies")
    reply = RawReply(201, {"x-request-id": "é"}, body, "cut short", "https://api.example/v1")
    spool.save("pi-1", reply)
    assert (spool.load("pi-1"), list(spool.call_ids())) == (reply, ["pi-1"])
    assert len(body) < spool.size("pi-1") == spool.used()
    assert {path.stat().st_mode & 0o077 for path in [spool.folder, *spool.folder.iterdir()]} == {0}
    spool.delete("pi-1")
    spool.delete("pi-1")
    assert (spool.load("pi-1"), spool.size("pi-1"), spool.used(), list(spool.call_ids())) == (None, 0, 0, [])
    spool.close()
    assert names(spool.folder) == []


def test_an_answer_that_was_asked_for_once_more_takes_the_place_of_the_first(tmp_path: Path, body: bytes) -> None:
    spool = ReplySpool(tmp_path)
    for status in (200, 201):
        spool.save("pi-1", RawReply(status, {}, body))
    assert spool.load("pi-1") == RawReply(201, {}, body)
    spool.close()
    after = ReplySpool(tmp_path)
    assert (after.load("pi-1"), list(after.call_ids())) == (RawReply(201, {}, body), ["pi-1"])
    after.delete("pi-1")
    assert names(tmp_path) == []


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]\nx", json.dumps({"status": "x"}).encode()])
def test_a_damaged_spool_file_is_nothing(tmp_path: Path, garbage: bytes) -> None:
    spool = ReplySpool(tmp_path)
    (tmp_path / "pi-1.reply").write_bytes(garbage)
    assert spool.load("pi-1") is None


def test_a_reply_whose_end_is_missing_is_nothing(tmp_path: Path) -> None:
    """A crash of the machine may leave the name of a file and a part of its content."""
    spool = ReplySpool(tmp_path)
    reply = RawReply(200, {}, LARGE)
    spool.save("pi-1", reply)
    path = tmp_path / "pi-1.reply"
    whole = path.read_bytes()
    for cut in [*range(200), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        assert spool.load("pi-1") is None
    spool.save("pi-1", reply)
    assert path.read_bytes() == whole


def test_large_replies_that_come_together_share_the_flush_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = ReplySpool(tmp_path)
    flushed: list[set[str]] = []
    go = threading.Event()

    def sync(folder: Path) -> None:
        go.wait(30)
        flushed.append({path.stem for path in folder.iterdir()})
        sync_folder(folder)

    monkeypatch.setattr("prefect_imagen.core.purchase.replies.sync_folder", sync)
    with ThreadPoolExecutor(20) as threads:
        saved = [threads.submit(spool.save, f"pi-{n}", RawReply(200, {}, LARGE)) for n in range(20)]
        until(lambda: len(names(tmp_path)) == 20, "20 files")
        until(lambda: spool._named == 20, "20 that wait for their names")
        go.set()
        for one in saved:
            one.result(30)
    assert spool._named == 20
    assert len(flushed) <= 2
    assert flushed[-1] == {f"pi-{n}" for n in range(20)}


def test_a_disk_that_fills_up_leaves_no_half_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    spool = ReplySpool(tmp_path)
    spool.save("pi-0", RawReply(200, {}, b"{}"))
    with monkeypatch.context() as patch:
        patch.setattr("prefect_imagen.core.purchase.reply_log.os.pwrite", lambda *_: 7)  # a part of it
        patch.setattr("prefect_imagen.core.files.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.save("pi-1", RawReply(200, {}, body))
    assert list(spool.call_ids()) == list(ReplySpool(tmp_path).call_ids()) == ["pi-0"]
    spool.save("pi-1", RawReply(200, {}, body))
    assert ReplySpool(tmp_path).load("pi-1") == RawReply(200, {}, body)


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_one_flush_is_enough_for_all_that_were_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (flushed.append(descriptor), fdatasync(descriptor)))
    log = ReplyLog(tmp_path)
    for number in range(5_000):  # more than a file takes
        log.append(f"pi-{number}", b"x" * 400)
    log.flush()
    log.flush()
    assert len(flushed) == len(logs(tmp_path)) == 3
    log.append("pi-last", b"x")
    log.flush()
    assert len(flushed) == 4


def test_a_log_that_was_removed_is_not_taken_for_safe(tmp_path: Path) -> None:
    log = ReplyLog(tmp_path)
    log.append("pi-1", b"x")
    logs(tmp_path)[0].unlink()
    with pytest.raises(OSError, match="was removed"):
        log.flush()


def test_files_of_which_all_is_over_are_removed(tmp_path: Path) -> None:
    log = ReplyLog(tmp_path)
    for number in range(60):
        log.append(f"pi-{number}", bytes(100_000))
    assert len(logs(tmp_path)) == 6
    order = list(range(60))
    random.Random(7).shuffle(order)
    for number in order:
        log.delete(f"pi-{number}")
    assert (len(logs(tmp_path)), log.used(), log.names()) == (1, 0, set())
    log.close()
    assert logs(tmp_path) == []


def test_what_is_over_leaves_nothing_of_its_content(tmp_path: Path) -> None:
    log = ReplyLog(tmp_path)
    log.append("pi-1", b"https://cdn.example/secret")
    log.append("pi-2", b"other")
    ReplyLog(tmp_path).delete("pi-1")
    assert b"secret" not in logs(tmp_path)[0].read_bytes()
    assert ReplyLog(tmp_path).names() == {"pi-2"}


_KILLED = """
import os, sys
from pathlib import Path
from prefect_imagen.core.purchase.reply_log import ReplyLog
log = ReplyLog(Path(sys.argv[1]))
for number in range(100):
    log.append(f"pi-{number}", b"content %d" % number)
for number in range(0, 100, 2):
    log.delete(f"pi-{number}")
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_what_it_kept_and_the_next_one_clears_it_away(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    log = ReplyLog(tmp_path)
    assert log.names() == {f"pi-{number}" for number in range(1, 100, 2)}
    assert {log.read(name) for name in log.names()} == {b"content %d" % number for number in range(1, 100, 2)}
    log.append("pi-mine", b"mine")
    for name in log.names() - {"pi-mine"}:
        assert log.delete(name)
    assert len(logs(tmp_path)) == 1
    assert (log.names(), log.read("pi-1")) == ({"pi-mine"}, None)


def test_a_log_that_is_appended_to_stays_though_nothing_is_kept_in_it(tmp_path: Path) -> None:
    mine = ReplyLog(tmp_path)
    mine.append("pi-1", b"x")
    other = ReplyLog(tmp_path)
    assert other.delete("pi-1")
    ReplyLog(tmp_path)
    mine.append("pi-2", b"y")
    assert (other.names(), other.read("pi-2")) == ({"pi-2"}, b"y")
    assert other.delete("pi-2")
    mine.close()
    assert logs(tmp_path) == []


def test_a_crash_of_the_machine_takes_only_what_was_not_flushed(tmp_path: Path) -> None:
    """Any part of what was not flushed may be missing, or zeros."""
    log = ReplyLog(tmp_path)
    log.append("pi-1", b"flushed")
    log.flush()
    flushed = logs(tmp_path)[0].stat().st_size
    log.append("pi-2", b"not flushed")
    log.append("pi-3", b"not flushed either")
    whole = logs(tmp_path)[0].read_bytes()
    for length in range(flushed, len(whole)):
        for tail in (b"", bytes(len(whole) - length)):
            logs(tmp_path)[0].write_bytes(whole[:length] + tail)
            after = ReplyLog(tmp_path)
            contents = {name: after.read(name) for name in after.names()}
            assert contents.pop("pi-1") == b"flushed"
            assert set(contents.values()) <= {b"not flushed", b"not flushed either", None}


def test_threads_may_append_flush_and_end_at_once(tmp_path: Path) -> None:
    log = ReplyLog(tmp_path)

    def work(thread: int) -> None:
        for number in range(200):
            name = f"pi-{thread}-{number}"
            log.append(name, name.encode() * 200)
            log.flush()
            assert log.read(name) == name.encode() * 200
            if number % 10:
                log.delete(name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    kept = {f"pi-{thread}-{number}" for thread in range(8) for number in range(0, 200, 10)}
    assert log.names() == ReplyLog(tmp_path).names() == kept
