"""`prefect-imagen demo`: the whole job on embedded parts, without a key, a bill or a network."""

from __future__ import annotations

import contextlib
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from ..core.request import SHIPPED_MODEL, RunRequest
from . import options
from .console import facts, program, stderr, stdout, table
from .exit_codes import INCOMPLETE

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.run.report import RunReport
    from ..sandbox import SandboxServer
    from ..sandbox.local_s3 import LocalS3
    from .job import Job, Ready
    from .prefect_server import LocalPrefect

_BUCKET = "demo"
_PREFIX = "products"


def demo(
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Everything that is made lies there.", file_okay=False)
    ] = Path("demo-output"),
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Keep Prefect's UI, the S3 server and the sandbox up until Ctrl-C.")
    ] = False,
    folder: Annotated[bool, typer.Option("--folder", help="Deliver to a folder instead of an S3 server.")] = False,
    verbose: options.Verbose = False,
) -> int:
    """Run the whole job on this machine, without a key or a bill.

      prefect-imagen demo --keep-running

    It makes 24 images from a template, stores them in a local S3, and writes a catalog. It needs no network, and
    leaves nothing running. The same command again buys nothing, because you own all the images.
    """
    from .logs import set_up_prefect
    from .run_in_prefect import run_in_prefect
    from .signals import terminable

    place = _Place.make(output)
    place.keep_apart()
    set_up_prefect(verbose=verbose)
    console = stderr()
    with terminable(), ExitStack() as stack:
        parts = _Parts.start(place, stack, ui=keep_running, want_s3=not folder)
        ready = parts.job(place).check()
        console.print(f"{ready.checked.prompts} prompts from {place.products.name} and {place.template.name}")
        engine = partial(run_in_prefect, server=parts.prefect)
        ended = ready.run(engine, live=console.is_terminal and not verbose)
        if ended.report is None:
            return ended.exit_code
        closes = _show(stdout(), ended.report, ready, parts, place)
        if keep_running:
            _wait(stdout(), parts)
    return ended.exit_code if closes else INCOMPLETE


@dataclass(frozen=True, slots=True)
class _Place:
    """The demo's folder."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> _Place:
        """Make the folder, with prompts and template in it unless a visitor's own versions are there.

        Raises:
            BadInput: It cannot be written.
        """
        place = cls(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            for path, shipped in ((place.products, "demo-products.tsv"), (place.template, "demo-template.txt")):
                if not path.exists():
                    path.write_bytes(files(__package__).joinpath(shipped).read_bytes())
        except OSError as error:
            raise BadInput(f"--output: {root} cannot be written: {error.strerror}") from None
        return place

    @property
    def products(self) -> Path:
        return self.root / "products.tsv"

    @property
    def template(self) -> Path:
        return self.root / "template.txt"

    @property
    def sheet(self) -> Path:
        return self.root / "contact-sheet.png"

    @property
    def images(self) -> Path:
        return self.root / "images"

    def keep_apart(self) -> None:
        """Let Prefect and the spool of this process live in the demo's folder, not in the visitor's own."""
        home = self.root.absolute()
        os.environ["PREFECT_HOME"] = str(home / "prefect")
        os.environ["PREFECT_IMAGEN_HOME"] = str(home / "imagen")
        for name in ("PREFECT_API_KEY", "PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
            os.environ.pop(name, None)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The servers of the demo; `s3` is None where images go to a folder."""

    prefect: LocalPrefect
    sandbox: SandboxServer
    s3: LocalS3 | None

    @classmethod
    def start(cls, place: _Place, stack: ExitStack, *, ui: bool, want_s3: bool) -> _Parts:
        """Start them, the slowest first."""
        from ..sandbox import SandboxServer
        from ..sandbox.local_s3 import LocalS3, SeaweedFSMissing
        from .prefect_server import LocalPrefect

        prefect = LocalPrefect(place.root / "prefect" / "server.log", ui=ui).start()
        sandbox = stack.enter_context(SandboxServer(latency=0.2, jitter=0.1))
        s3: LocalS3 | None = None
        if want_s3:
            try:
                s3 = stack.enter_context(LocalS3(place.root / "s3"))
                s3.create_bucket(_BUCKET)
            except SeaweedFSMissing as error:
                stderr().print("note: ", style="yellow", end="")
                stderr().print(f"{error}; delivering to {place.images}", soft_wrap=True)
        return cls(prefect, sandbox, s3)

    def job(self, place: _Place) -> Job:
        """The run: four products in three styles and two lights."""
        from ..core.providers import Endpoint
        from .job import Job
        from .typed import read_text

        return Job(
            prompts=str(place.products),
            request=RunRequest(
                model=SHIPPED_MODEL,
                template=read_text(f"@{place.template}", "template"),
                aspect_ratio="1:1",
                budget_usd=5,
                tags={"campaign": "demo"},
            ),
            to=f"s3://{_BUCKET}/{_PREFIX}" if self.s3 is not None else str(place.images),
            api_key="any-key-will-do-for-the-sandbox",
            endpoint=Endpoint.find(base_url=self.sandbox.base_url, model=SHIPPED_MODEL),
            # A ledger each: owned images are copied to a new destination from the old one, which is not running.
            catalog=str(place.root.absolute() / ("catalog.db" if self.s3 is not None else "folder-catalog.db")),
            store_options=self.s3.options if self.s3 is not None else {},
        )


def _show(console: Console, report: RunReport, ready: Ready, parts: _Parts, place: _Place) -> bool:
    """Print images, money and places; returns whether the ledger and the provider's bill agree."""
    from ..core.contact_sheet import contact_sheet
    from ..core.money import format_usd
    from .summary import print_open

    rows = table("prompt", "size", "cost", "object", right=("cost",))
    for row in ready.prepared.ledger.catalog.rows(run_id=report.run_id):
        size = f"{row['width']}×{row['height']}" if row["width"] else row["state"]
        rows.add_row(row["prompt"], size, format_usd(row["cost_credits"]), _short(row["object_key"] or ""))
    console.print(rows)
    print_open(console, report)
    sheet = contact_sheet(ready.prepared.ledger, ready.prepared.store, report.run_id)
    if sheet is not None:
        sheet.save(place.sheet)
    bill = parts.sandbox.bill()
    closes: bool = bill["credits"] == report.account.billed
    agree = "they agree" if closes else "THEY DIFFER"
    owned = f", {report.owned} of them owned before: nothing was bought for those" if report.owned else ""
    catalog = ready.job.catalog
    facts(
        console,
        [
            ("delivered", f"{report.delivered} of {report.items} items{owned}"),
            ("the ledger says", f"{format_usd(report.account.billed)} for {report.account.delivered.calls} calls"),
            ("the bill says", f"{format_usd(bill['credits'])} for {len(bill['entries'])} calls: {agree}"),
            ("images", f"{report.destination}" + (f", data in {place.root / 's3'}" if parts.s3 is not None else "")),
            ("contact sheet", str(place.sheet) if sheet is not None else ""),
            ("catalog", catalog),
        ],
    )
    console.print("\nAsk the catalog", style="bold")
    query = "SELECT prompt, width, height, cost_usd, uri FROM catalog LIMIT 5"
    console.print(f'  sqlite3 -box {_relative(catalog)} "{query}"', soft_wrap=True)
    console.print("\nWhat to try next", style="bold")
    again = f"{program()} demo" + ("" if place.root == Path("demo-output") else f" --output {place.root}")
    if parts.s3 is None:
        again += " --folder"
    steps = [
        (again, "the same again: all is owned, nothing is bought"),
        (f"${{EDITOR:-nano}} {place.products}", "add a product, then again: only the new images are bought"),
        (f"{program()} status --catalog {_relative(catalog)}", "how the run went, from the ledger"),
        (f"{again} --keep-running", "look at the run in Prefect's UI"),
        (f"{program()} plan {place.products} --template @{place.template}", "what it would cost for real"),
    ]
    width = max(len(command) for command, _ in steps)
    for command, why in steps:
        console.print(f"  {command:<{width}}  ", end="", soft_wrap=True)
        console.print(f"# {why}", style="dim", soft_wrap=True)
    console.print("\nLook at the pictures and judge them", style="bold")
    data = f" --local-s3 {place.root / 's3'}" if parts.s3 is not None else ""
    console.print(f"  {program()} review --catalog {_relative(catalog)}{data}", soft_wrap=True)
    return closes


def _short(key: str) -> str:
    """An object key with its two ids shortened, for a table. Those of calls begin alike: their end is shown."""
    *folders, name = key.split("/")
    parts = [f"{part[:8]}…" if len(part) > 32 else part for part in folders]
    return "/".join([*parts, f"{name[:3]}…{name[-12:]}" if len(name) > 32 else name])


def _relative(path: str) -> str:
    return os.path.relpath(path)


def _wait(console: Console, parts: _Parts) -> None:
    console.print("\nStill running; Ctrl-C stops it all", style="bold")
    rows: list[tuple[str, Any]] = [("Prefect's UI", parts.prefect.origin), ("sandbox", parts.sandbox.base_url)]
    if parts.s3 is not None:
        rows.append(("S3", f"{parts.s3.endpoint_url}, keys in {parts.s3.folder / 's3.json'}"))
    facts(console, rows)
    console.file.flush()

    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    console.print("Stopping.")
