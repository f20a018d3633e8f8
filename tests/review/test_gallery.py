"""The page as files."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, expect
from prefect_imagen.core.storage import open_store
from prefect_imagen.sandbox.local_s3 import LocalS3

from .conftest import Desk, current, press, tile

Desks = Callable[..., Desk]
Browse = Callable[..., Page]


def test_it_opens_from_a_disk_and_its_verdicts_become_a_file(desk_of: Desks, browse: Browse) -> None:
    desk = desk_of(30)
    done = desk.run("gallery", "--out", "shown", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["images"], told["failed"]) == (30, {})
    page = browse(told["uri"])
    first = current(page)
    press(page, "p", "x", "4", "p")
    assert tile(page, first) == ("approved", "0")
    expect(page.locator("#unsent")).to_have_text("4 unsaved")
    page.reload()
    page.wait_for_selector('[aria-current="true"][data-image-id]')
    assert tile(page, first) == ("approved", "0")
    assert page.locator("[aria-posinset='4']").get_attribute("aria-current") == "true", (
        "it opens at the first unreviewed"
    )
    press(page, "Home", " ")
    expect(page.locator("dialog#loupe img")).to_have_js_property("naturalWidth", 1024)
    press(page, "Escape", "/")
    page.keyboard.type("number 07")
    press(page, "Enter")
    expect(page.locator("[data-image-id]")).to_have_count(1)

    page.locator('[data-action="save"]').click()
    page.keyboard.type("Ada")
    with page.expect_download() as download:
        press(page, "Enter")
    lines = [json.loads(line) for line in Path(str(download.value.path())).read_text().splitlines()]
    assert [line["verdict"] for line in lines] == ["approved", "rejected", None, "approved"]
    assert {line["reviewer"] for line in lines} == {"Ada"}
    with desk.ledger() as ledger:
        assert {line["ledger"] for line in lines} == {ledger.id}
        hashes = {row["image_id"]: row["sha256"] for row in ledger.catalog.rows()}
    assert all(line["sha256"] == hashes[line["image_id"]] for line in lines)
    expect(page.locator("#unsent")).to_have_text("0 unsaved")
    download.value.save_as(desk.folder / "verdicts.jsonl")
    for _ in range(2):  # taken in once, however often
        applied = desk.run("verdicts", "--apply", "verdicts.jsonl")
        assert applied.returncode == 0, applied.stderr
    with desk.ledger() as ledger:
        assert len(list(ledger.verdicts.all())) == 4
        assert ledger.verdicts.latest([first])[first].reviewer == "Ada"


def test_it_is_served_from_a_bucket_and_written_once(
    desk_of: Desks, browse: Browse, s3_server: LocalS3, tmp_path: Path
) -> None:
    desk = desk_of(6)
    s3 = s3_server
    s3.create_bucket("shown")
    desk.environment = {
        **desk.environment,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    to = ("gallery", "--out", "s3://shown/spring", "--endpoint-url", s3.endpoint_url, "--json")
    first, again = desk.run(*to), desk.run(*to)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert json.loads(first.stdout)["written"] > 0
    assert json.loads(again.stdout)["written"] == 0
    store = open_store("s3://shown/spring", **s3.options)
    page = store.head("index.html")
    assert page is not None
    assert page.content_type == "text/html"
    for entry in store.list():
        path = tmp_path / "copy" / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        store.get(entry.key, path)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "copy"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = browse(f"http://127.0.0.1:{server.server_address[1]}/index.html")
        press(shown, "x")
        assert shown.locator('[data-verdict="rejected"]').count() == 1
        server.shutdown()


def test_nothing_of_others_is_overwritten(desk_of: Desks, tmp_path: Path) -> None:
    desk = desk_of(6)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    done = desk.run("gallery", "--out", "site")
    assert (done.returncode, "index.html of something else" in done.stderr) == (2, True)
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    assert desk.run("gallery", "--out", "site").returncode == 2
