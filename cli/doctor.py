"""`prefect-imagen doctor`: every part a run needs, a line each: all well, or what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput, ImagenError
from ..core.request import DEFAULT_MODEL
from . import options
from .checks import Line, State
from .console import print_json, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from rich.console import Console

    from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
    from ..blocks.credentials import ApiCredentials
    from ..core.providers import Endpoint, ImageClient

_OLD_PRICE_DAYS = 180
_MODELS_SHOWN = 20
_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "problem": ("problem", "bold red"),
}


@dataclass(frozen=True, slots=True)
class Saved:
    """The blocks of one name; None for each that is not saved."""

    credentials: ApiCredentials | None = None
    store: S3ImageStore | LocalImageStore | None = None
    catalog: ImageCatalog | None = None


@with_flags
def doctor(
    store: options.Endpoint,
    name: Annotated[
        str, typer.Option("--blocks", metavar="NAME", help="The blocks of that name.", rich_help_panel="What to check")
    ] = "main",
    to: Annotated[
        str | None,
        typer.Option(
            metavar="DEST",
            help="A destination; else that of the block.",
            envvar="PREFECT_IMAGEN_TO",
            rich_help_panel="What to check",
        ),
    ] = None,
    no_worker: Annotated[
        bool,
        typer.Option(
            "--no-worker",
            help="Workers come later: a pool without one is fine.",
            rich_help_panel="What to check",
        ),
    ] = False,
    catalog: options.Catalog = None,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Check everything that runs and deployments need.

      prefect-imagen doctor --json

    Each part has a line: ok, or what to do. What is not saved as a block is taken from the environment, as `run` does.
    No paid call is sent.

    Exit code: 0 no problem, 1 at least one.
    """
    del verbose
    from ..core.providers import Endpoint

    lines: list[Line] = []
    console = stdout()
    endpoint = Endpoint.find(api=api, base_url=base_url) if api is not None or base_url is not None else None
    for line in _examine(name, to, catalog, store.values.get("endpoint_url"), endpoint, worker=not no_worker):
        lines.append(line)
        if not json:
            _show(console, line)
    problems = sum(line.state == "problem" for line in lines)
    if json:
        print_json({"ok": problems == 0, "checks": [_document(line) for line in lines]})
    else:
        notes = sum(line.state == "note" for line in lines)
        summary = f"{problems} problem{'s' * (problems != 1)}" if problems else "All well"
        console.print(f"\n{summary}" + (f", {notes} note{'s' * (notes != 1)}" if notes else ""), style="bold")
    return INCOMPLETE if problems else OK


def _document(line: Line) -> dict[str, Any]:
    return {"check": line.check, "state": line.state, "message": line.message}


def _show(console: Console, line: Line) -> None:
    mark, style = _MARKS[line.state]
    console.print(f"{mark:<8}", style=style, end="")
    console.print(f"{line.check:<9} ", style="bold", end="")
    console.print(line.message, soft_wrap=True)


def _tried(check: str, step: Callable[[], str], *, but: tuple[type[ImagenError], ...] = ()) -> Line:
    from .checks import one_line

    try:
        return Line(check, "ok", step())
    except but:
        raise
    except ImagenError as error:
        return Line(check, "problem", one_line(error))


def _examine(
    name: str,
    to: str | None,
    catalog: str | None,
    endpoint_url: str | None,
    endpoint: Endpoint | None,
    *,
    worker: bool,
) -> Iterator[Line]:
    from .checks import NoPrefectApi, check_api, check_packages, check_prefect, check_store, one_line

    yield _tried("versions", check_packages)
    try:
        server = _tried("server", check_prefect, but=(NoPrefectApi,))
    except NoPrefectApi as error:
        server = Line("server", "note", f"{one_line(error)}. `run` works without; deployments need it")
    yield server
    saved = Saved()
    if server.state == "ok":
        saved = load_blocks(name)
        yield _blocks_line(saved, name)
    else:
        yield Line("blocks", "note", "not looked at: they are in Prefect's server")

    def connect() -> ImageClient:
        return endpoint.open() if endpoint is not None else _client(saved)

    yield _tried("API", lambda: check_api(connect()))
    store = _store(saved, to, endpoint_url)
    if store is None:
        yield Line("bucket", "note", "no destination to check: save a store block, or give --to s3://bucket/prefix")
    else:
        yield _tried("bucket", lambda: check_store(store.get_store()))
    yield from _database_lines(saved, catalog, connect)
    if server.state == "ok":
        from .deployed import deployment_lines

        yield from deployment_lines(worker=worker)


def load_blocks(name: str) -> Saved:
    """The blocks that are saved under a name."""
    from ..blocks import AimlApiCredentials, ImageApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore

    def load(kind: type[Block]) -> Any:
        try:
            return kind.load(name)
        except ValueError:
            return None

    credentials = load(AimlApiCredentials) or load(ImageApiCredentials)
    return Saved(credentials, load(S3ImageStore) or load(LocalImageStore), load(ImageCatalog))


def _blocks_line(saved: Saved, name: str) -> Line:
    parts = {"credentials": saved.credentials, "store": saved.store, "catalog": saved.catalog}
    missing = [part for part, block in parts.items() if block is None]
    if missing:
        return Line(
            "blocks", "note", f"{name!r} has no {', '.join(missing)}: `prefect-imagen blocks create` saves all three"
        )
    slugs = ", ".join(f"{block.get_block_type_slug()}/{name}" for block in parts.values() if block is not None)
    return Line("blocks", "ok", slugs)


def _client(saved: Saved) -> ImageClient:
    """The API of the saved credentials; else that of the environment."""
    from ..blocks.credentials import credentials_from_environment

    return (saved.credentials or credentials_from_environment()).get_client()


def _store(saved: Saved, to: str | None, endpoint_url: str | None) -> S3ImageStore | LocalImageStore | None:
    from ..blocks.stores import store_block

    return store_block(to, endpoint_url=endpoint_url) if to else saved.store


def _database_lines(saved: Saved, catalog: str | None, connect: Callable[[], ImageClient]) -> Iterator[Line]:
    """The ledger, its account, and the models that are bought through it."""
    from ..core.ledger import Ledger, LedgerMissing
    from .catalogs import catalog_url
    from .checks import describe_ledger, one_line

    url = catalog_url(catalog)
    if catalog is None and saved.catalog is not None:
        url = saved.catalog.url.get_secret_value()
    try:
        ledger = Ledger(url, create=False)
    except LedgerMissing as error:
        yield Line("database", "ok", f"{one_line(error)} yet; the first run makes it")
        yield from _model_lines([])
        return
    except ImagenError as error:
        yield Line("database", "problem", one_line(error))
        yield from _model_lines([])
        return
    try:
        yield Line("database", "ok", describe_ledger(ledger))
        yield from _account_lines(ledger, connect)

        used = dict.fromkeys(str(row["model"]) for row in ledger.runs.brief())
    except ImagenError as error:
        yield Line("database", "problem", one_line(error))
        used = {}
    finally:
        ledger.close()
    yield from _model_lines(list(used)[:_MODELS_SHOWN])


def _account_lines(ledger: Any, connect: Callable[[], ImageClient]) -> Iterator[Line]:
    try:
        client = connect()
        origin = client.origin()
        bound = ledger.mismatch(origin, client.provider.name)
    except ImagenError:
        bound = origin = None  # said by the line about the API
    if bound:
        yield Line(
            "database",
            "problem",
            f"this ledger is the account of {bound}, but the key is for {origin}: use another catalog, or that key",
        )
    waiting = ledger.calls.unknown()
    if waiting:
        yield Line(
            "account",
            "note",
            f"{len(waiting):,} calls may have been billed and wait for you to decide: see `prefect-imagen status`",
        )


def _model_lines(used: list[str]) -> Iterator[Line]:
    """Price and lifecycle of the models that were bought so far; of the default one where there are none."""
    from datetime import UTC, date, datetime

    from ..core.money import format_usd
    from ..core.providers import load_registry

    registry = load_registry()
    today = datetime.now(UTC).date()
    for name in used or [DEFAULT_MODEL]:
        try:
            spec = registry.resolve(name, allow_withdrawn=True).spec
        except BadInput as error:
            yield Line("price", "problem", str(error))
            continue
        price = spec.price
        if price is None:
            yield Line("price", "note", f"{spec.id}: no public price; the API's catalogue is asked for it")
            yield _lifecycle_line(spec)
            continue
        said = f"{spec.id}: {format_usd(price.credits)} an image"
        if price.credits_high != price.credits:
            said += f", at most {format_usd(price.credits_high)}"
        # Some are known by the year or the month only: then from its first day.
        age = (today - date.fromisoformat(f"{price.as_of}-01-01"[:10])).days
        if age > _OLD_PRICE_DAYS:
            yield Line("price", "note", f"{said}, as of {price.as_of}: compare with the provider's list")
        else:
            yield Line("price", "ok", f"{said} ({price.source})")
        yield _lifecycle_line(spec)


def _lifecycle_line(spec: Any) -> Line:
    life = spec.lifecycle
    instead = f": move to {life.successor}" if life.successor else ""
    if life.status == "withdrawn":
        return Line("model", "problem", f"{spec.id} was withdrawn {life.withdrawn_at or ''}".rstrip() + instead)
    if life.status == "deprecated" or life.upstream_shutdown:
        when = f", its maker shut it down on {life.upstream_shutdown}" if life.upstream_shutdown else ""
        return Line("model", "note", f"{spec.id} is {life.status}{when}{instead}")
    return Line("model", "ok", f"{spec.id} is {life.status}")
