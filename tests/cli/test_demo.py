"""The demo from end to end, twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import requests
from PIL import Image

from .conftest import Terminal


def test_demo_buys_once_and_leaves_nothing_running(terminal: Terminal, migrated: Callable[[Path], None]) -> None:
    migrated(terminal.folder / "out" / "prefect")
    first = terminal.run_apart("demo", "--output", "out")
    assert first.code == 0, first.err
    out = terminal.folder / "out"
    assert "24 of 24 items" in first.out
    assert "the ledger says  $2.155635 for 24 calls\n  the bill says    $2.155635 for 24 calls: they agree" in first.out
    assert first.out.count("1024×1024") == 24
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width >= 1000
        assert len(sheet.convert("RGB").getcolors(maxcolors=1 << 24) or ()) > 1000
    with sqlite3.connect(out / "catalog.db") as connection:
        rows = connection.execute("SELECT DISTINCT uri FROM catalog WHERE state = 'stored'").fetchall()
    connection.close()
    assert len(rows) == 24
    assert all(uri.startswith("s3://demo/products/") for (uri,) in rows)
    assert first.out.splitlines()[-1] == "  prefect-imagen review --catalog out/catalog.db --local-s3 out/s3"
    assert not (terminal.folder / "demo-output").exists()
    # The visitor's own keys, ledger and Prefect are left alone.
    assert terminal.sandbox.calls() == []
    assert sorted(path.name for path in terminal.folder.parent.iterdir()) == ["work"]
    assert_nothing_runs(out)

    # The page on these pictures, as the last line says; its S3 server ends with it.
    page = terminal.start(*first.out.splitlines()[-1].split()[1:], "--no-open")
    assert page.stdout is not None
    link = page.stdout.readline().strip()
    with requests.Session() as guest:
        assert guest.get(link, timeout=30).status_code == 200
        origin = link.partition("/?")[0]
        started = guest.get(f"{origin}/api/start", timeout=30).json()
        assert started["total"] == 24
        picture = guest.get(f"{origin}/pictures/{started['rows'][0]['image_id']}", timeout=30)
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    page.terminate()
    assert page.wait(30) == 143
    assert_nothing_runs(out)

    again = terminal.run_apart("demo", "--output", "out")
    assert again.code == 0, again.err
    assert "24 of them owned before: nothing was bought for those" in again.out
    assert "$0.00 for 0 calls: they agree" in again.out
    assert_nothing_runs(out)


def assert_nothing_runs(folder: Path) -> None:
    """No process works in the demo's folder, nor for it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(errors="replace")
            works_in = (process / "cwd").readlink()
        except OSError:
            continue
        assert str(folder) not in command, command
        assert not works_in.is_relative_to(folder), command
