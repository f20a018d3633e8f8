"""`prefect-imagen export`: the catalog as a file."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from ..core.errors import BadInput
from . import options
from .console import print_json, stdout
from .exit_codes import OK
from .flags import with_flags

_OUTPUT = "Output"


class _Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@with_flags
def export(
    store: options.Endpoint,
    chosen: options.Chosen,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="File or s3://bucket/key ending in .csv, .jsonl or .parquet; - for standard output."
        ),
    ],
    catalog: options.Catalog = None,
    format_: Annotated[
        _Format | None, typer.Option("--format", help="Else the ending of OUT says it.", rich_help_panel=_OUTPUT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=_OUTPUT)
    ] = False,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe/--raw-text",
            help="Of CSV: put an apostrophe before what a spreadsheet would run as a formula.",
            rich_help_panel=_OUTPUT,
        ),
    ] = True,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Write the catalog as CSV, JSON Lines or Parquet.

      prefect-imagen export images.parquet --edition 2026-03-01

    The file has one row per image. It appears whole or not at all. Without options it has every image.
    """
    del verbose
    from ..core.export import Format, export_catalog, export_stream
    from ..core.review.choice import image_filter
    from .catalogs import existing_ledger
    from .typed import read_choice, read_store

    wanted = Format(format_.value) if format_ is not None else None
    if out == "-" and wanted is None:
        raise BadInput("--format says how to write to standard output: csv or jsonl")
    if out == "-" and (json or (wanted is Format.PARQUET and sys.stdout.isatty())):
        raise BadInput("standard output takes one thing only: the rows, as text")
    with existing_ledger(catalog) as ledger:
        selection = image_filter(ledger, read_choice(chosen), states=())
        if out == "-":
            export_stream(ledger, sys.stdout.buffer, wanted or Format.CSV, selection, spreadsheet_safe=spreadsheet_safe)
            sys.stdout.buffer.flush()
            return OK
        done = export_catalog(
            ledger,
            out,
            selection,
            format_=wanted,
            overwrite=overwrite,
            spreadsheet_safe=spreadsheet_safe,
            **read_store(store),
        )
    if json:
        print_json({"uri": done.uri, "format": done.format, "rows": done.rows, "bytes": done.bytes})
    else:
        stdout().print(f"{done.rows:,} images → {done.uri} ({done.bytes:,} bytes)", soft_wrap=True)
    return OK
