"""`prefect-imagen review`: a page on which people look at pictures and judge them."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import socket
import threading
import webbrowser
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import BadInput
from . import options
from .console import facts, stdout
from .exit_codes import OK
from .flags import with_flags

_PAGE = "Page"
_FIRST_PORT = 20_000
_PORTS = 10_000


@with_flags
def review(
    chosen: options.ChosenOfRun,
    store: options.Reach,
    run: options.OfRun = None,
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="The same as --verdict none.", rich_help_panel="Which images")
    ] = False,
    order: options.Order = None,
    catalog: options.Catalog = None,
    reviewer: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_IMAGEN_REVIEWER",
            metavar="NAME",
            help="Who judges; by default the user of this machine.",
            rich_help_panel=_PAGE,
            show_default=False,
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Only look.", rich_help_panel=_PAGE)] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            metavar="PORT",
            help="To listen on; by default one that is always the same for this ledger, if it is free. 0: any.",
            rich_help_panel=_PAGE,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="To listen on. Anybody who can reach it and has the link can use the page; the link is not encrypted.",
            rich_help_panel=_PAGE,
        ),
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.", rich_help_panel=_PAGE)] = False,
    local_s3: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Start the S3 server of `prefect-imagen demo` whose data is there.",
            rich_help_panel=_PAGE,
            file_okay=False,
            exists=True,
        ),
    ] = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Open a page to look at images, judge them and order others.

      prefect-imagen review --unreviewed --reviewer Ada

    The first line of output is the address of the page. It runs on this machine until Ctrl-C. Nothing is bought or
    deleted.
    """
    del verbose
    from ..core.review.access import Access
    from ..core.review.desk import LedgerDesk
    from ..core.review.filters import query_of, read_order
    from ..core.review.pictures import Pictures
    from ..core.review.server import create_app, origin_of, serve
    from ..core.review.thumbnails import Thumbnails
    from ..core.storage.sources import Sources
    from .catalogs import existing_ledger
    from .chosen import read_chosen
    from .signals import terminable
    from .typed import read_store

    name = None if read_only else _reviewer(reviewer)
    with ExitStack() as stack:
        stack.enter_context(terminable())
        ledger = stack.enter_context(existing_ledger(catalog))
        ledger.be_patient(0)
        choice = read_chosen(ledger, chosen, run)
        if unreviewed:
            if choice.verdict not in (None, "none"):
                raise BadInput(f"--unreviewed and --verdict {choice.verdict} exclude each other")
            choice = choice.model_copy(update={"verdict": "none"})
        reach = read_store(store)
        if local_s3 is not None:
            from ..sandbox.local_s3 import LocalS3

            reach |= stack.enter_context(LocalS3(local_s3)).options
        pictures = Pictures(Sources.of(reach))
        stack.callback(pictures.close)
        thumbnails = Thumbnails(pictures)
        stack.callback(thumbnails.close)
        listener = _listen(host, port, f"{ledger.id} {name}")
        stack.callback(listener.close)
        access = Access(ledger.id, host)
        link = access.link(origin_of(listener), query_of(choice, read_order(order)))
        app = create_app(LedgerDesk(ledger, name), pictures, thumbnails, access)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server in the foreground is meant to end
            serve(app, listener, lambda: _announce(link, name, browser=not no_open, as_json=json))
    return OK


def _reviewer(name: str | None) -> str:
    """Who judges.

    Raises:
        BadInput: Nobody is named.
    """
    if name is None:
        with contextlib.suppress(OSError, KeyError):
            name = getpass.getuser()
    if not (name or "").strip():
        raise BadInput(
            "a verdict needs the name of its reviewer: --reviewer NAME, or PREFECT_IMAGEN_REVIEWER; or --read-only"
        )
    return str(name).strip()


def _listen(host: str, port: int | None, scope: str) -> socket.socket:
    """Listen on a port.

    Where none is given it is always the same for a ledger and a reviewer, if it is free: what a browser has not sent
    yet is kept under the address of the page.

    Raises:
        BadInput: The port is taken.
    """
    from ..core.http.server import listen

    if port is not None:
        return listen(host, port)
    usual = _FIRST_PORT + int(hashlib.sha256(scope.encode()).hexdigest(), 16) % _PORTS
    try:
        return listen(host, usual)
    except BadInput:
        return listen(host, 0)


def _announce(link: str, reviewer: str | None, *, browser: bool, as_json: bool) -> None:
    console = stdout()
    # The first line is the address and nothing else, for programs that start the page.
    console.file.write(f"{dumps({'url': link})}\n" if as_json else f"{link}\n")
    if not as_json:
        facts(console, [("reviewer", reviewer or "none: read only"), ("", "Ctrl-C stops the page; verdicts are kept")])
    console.file.flush()
    if browser:
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
