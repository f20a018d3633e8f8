"""Catalogs with pictures in them, the page as a process, and a Chromium that looks at it."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from prefect_imagen.core.ledger import Ledger
from prefect_imagen.sandbox import SandboxServer

from ..inside import command

IMAGEN = Path(sys.executable).with_name("prefect-imagen")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The Chromium on the PATH, else Playwright's own. Of one module: its event loop would be in the way of others."""
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, _BROWSERS)), playwright.chromium.executable_path)
        if not Path(found).exists():
            pytest.fail(
                "no Chromium for the tests of the page: `apt-get install chromium`, or "
                f"`{sys.executable} -m playwright install --with-deps chromium`"
            )
        # Root, as in a container, has no sandbox of Chromium's.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a browser of its own, or a page beside another. No page may report an error."""
    errors: list[str] = []
    pages: list[Page] = []

    def opened(url: str, beside: Page | None = None, **options: object) -> Page:
        page = chromium.new_context(**options).new_page() if beside is None else beside.context.new_page()  # type: ignore[arg-type]
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
        page.set_default_timeout(15_000)
        pages.append(page)
        page.goto(url)
        page.wait_for_selector('[aria-current="true"][data-image-id]')
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert errors == []


@dataclass
class Desk:
    """A catalog of pictures, and the page on it."""

    folder: Path
    catalog: str
    environment: Mapping[str, str]
    _running: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Carry out a command of ours in this process."""
        code, out, err = command(list(arguments), self.environment, self.folder)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(arguments, code, out, err)

    def review(self, *arguments: str) -> str:
        """Start the page; its address."""
        process = subprocess.Popen(
            [str(IMAGEN), "review", "--no-open", "--json", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        assert process.stdout is not None
        assert process.stderr is not None
        ready, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if ready else ""
        if not line:
            process.kill()
            pytest.fail(f"no address: {process.stderr.read()}")
        return str(json.loads(line)["url"])

    def kill(self) -> None:
        """End the page that was started last, at once."""
        process = self._running[-1]
        process.kill()
        process.communicate()

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
                try:
                    process.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    raise

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with closing(Ledger(self.catalog, create=False)) as ledger:
            yield ledger


@pytest.fixture
def postgres_url(postgres_server: Callable[[str], str]) -> str:
    """A new, empty PostgreSQL schema."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    url = postgres_server("postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a folder with a ledger and so many pictures, each of its own, by a real run; once for each number."""
    made: dict[int, Path] = {}

    def make(prompts: int) -> Path:
        if prompts not in made:
            folder = tmp_path_factory.mktemp("bought")
            (folder / "prompts.txt").write_text("".join(f"fox number {n:02}\n" for n in range(prompts)))
            with SandboxServer(pictures="drawn") as sandbox:
                environment = _environment(folder, str(folder / "ledger.db"), sandbox.base_url)
                to = str(folder / "images")
                arguments = ["run", "prompts.txt", "--to", to, "--tag", "team=spring", "--json"]
                code, _, err = command(arguments, environment, folder)
            assert code == 0, err
            made[prompts] = folder
        return made[prompts]

    return make


def _environment(folder: Path, catalog: str, base_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_IMAGEN_HOME": str(folder / "home"),
        "PREFECT_IMAGEN_CATALOG": catalog,
        "AIMLAPI_API_KEY": "any",
        "AIMLAPI_BASE_URL": base_url,
        "PREFECT_IMAGEN_REVIEWER": "ada",
    }


@pytest.fixture
def desk_of(bought: Callable[[int], Path], tmp_path: Path) -> Iterator[Callable[[int], Desk]]:
    """A catalog with so many pictures, for one test."""
    made: list[Desk] = []

    def make(prompts: int) -> Desk:
        source = bought(prompts)
        catalog = tmp_path / "ledger.db"
        with closing(sqlite3.connect(source / "ledger.db")) as full, closing(sqlite3.connect(catalog)) as copy:
            full.backup(copy)
        # Nothing is bought here: there is no API at this address.
        made.append(Desk(tmp_path, str(catalog), _environment(tmp_path, str(catalog), "http://127.0.0.1:9/v1")))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk_on(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """A catalog in a database of the test's own, with so many pictures, bought from a given sandbox or its own."""
    made: list[Desk] = []

    def make(prompts: int, catalog: str, api: SandboxServer | None = None) -> Desk:
        with nullcontext(api) if api else SandboxServer(pictures="fast", image_bytes=20_000) as sandbox:
            desk = Desk(tmp_path, catalog, _environment(tmp_path, catalog, sandbox.base_url))
            made.append(desk)
            (tmp_path / "prompts.txt").write_text("".join(f"fox number {n:02}\n" for n in range(prompts)))
            done = desk.run("run", "prompts.txt", "--to", "images", "--json")
        assert done.returncode == 0, done.stderr
        return desk

    yield make
    for desk in made:
        desk.close()


def current(page: Page) -> str:
    """Id of the picture in focus; there is one, and one only."""
    focused = page.locator('[aria-current="true"]')
    assert focused.count() == 1
    return str(focused.get_attribute("data-image-id"))


def tile(page: Page, image_id: str) -> tuple[str | None, str | None]:
    """Verdict and stars of a picture, as the page shows them."""
    found = page.locator(f'[data-image-id="{image_id}"]')
    return found.get_attribute("data-verdict"), found.get_attribute("data-stars")


def all_sent(page: Page) -> None:
    page.wait_for_selector('[data-unsent="0"]', state="attached")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def port_of(url: str) -> str:
    found = re.search(r":(\d+)/", url)
    assert found is not None
    return found[1]
