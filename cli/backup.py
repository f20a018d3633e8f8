"""`prefect-imagen backup`: a consistent copy of a ledger that is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .console import print_json, stdout
from .exit_codes import OK
from .flags import with_flags


@with_flags
def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the copy.")],
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Copy a ledger in SQLite while runs use it: a file of one moment, which only its owner may read.

    [dim]prefect-imagen backup ledger-2026-03-01.db[/dim]

    A ledger in PostgreSQL: pg_dump. How to restore either: docs/account.md.

    Exit code: 0 the copy is there, 2 bad input.
    """
    del verbose
    from ..core.ledger import back_up
    from .catalogs import catalog_url

    size = back_up(catalog_url(catalog), out)
    if json:
        print_json({"file": str(out), "bytes": size})
    else:
        stdout().print(f"{out}: {size:,} bytes", style="bold", soft_wrap=True)
    return OK
