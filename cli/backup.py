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
    """Copy a SQLite ledger while runs use it.

      prefect-imagen backup ledger-2026-03-01.db

    The copy is consistent, and only you can read it. For a ledger in PostgreSQL use pg_dump. docs/account.md says how
    to restore either.

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
