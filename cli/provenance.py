"""`prefect-imagen provenance`: what pictures say of their origin, and whether all of a delivery say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from . import options
from .commands import Commands
from .console import facts, print_json, stderr, stdout, table
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

if TYPE_CHECKING:
    from ..core.provenance import Audit, Checked

_SHOWN = 40

provenance = Commands(help="Show what pictures say of their origin: C2PA, XMP, sidecars.", no_args_is_help=True)

Trust = Annotated[
    str | None,
    typer.Option(
        "--trust",
        envvar="PREFECT_IMAGEN_C2PA_TRUST",
        metavar="FILE",
        help="PEM file with the root certificates that C2PA signatures are trusted under.",
    ),
]


@provenance.command("check")
@with_flags
def check(
    store: options.Endpoint,
    where: Annotated[
        list[str],
        typer.Argument(metavar="WHERE", help="s3://bucket/prefix, folder, picture, or the id of a run."),
    ],
    trust: Trust = None,
    catalog: options.Catalog = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output, a line a picture.")] = False,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Check that every picture says that an AI made it.

      prefect-imagen provenance check s3://bucket/delivered --trust roots.pem --csv > audit.csv

    Exit code: 0 all are marked and none is broken, 1 one is not, 2 bad input.
    """
    del verbose
    from ..core.provenance import audit, load_trust
    from .catalogs import existing_ledger, ledger_if_any
    from .typed import read_store

    if csv and json:
        raise BadInput("standard output takes one thing only: --csv or --json")
    roots = load_trust(trust)
    places = [one for one in where if "://" in one or Path(one).exists() or "/" in one]
    names = [one for one in where if one not in places]

    def say(text: str) -> None:
        if not (csv or json):
            stderr().print(f"… {text}", style="dim", soft_wrap=True)

    with (existing_ledger if names else ledger_if_any)(catalog) as ledger:
        runs = [ledger.runs.find(name) for name in names] if ledger is not None else []
        done = audit(places, runs=runs, ledger=ledger, trust=roots, say=say, **read_store(store))
    if json:
        print_json(done.as_dict())
    elif csv:
        stdout().file.write(done.as_csv())
    else:
        _show(done)
    return OK if done.sound else INCOMPLETE


@provenance.command("show")
@with_flags
def show(
    store: options.Endpoint,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A picture: file, or s3://bucket/key.")],
    trust: Trust = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show what one picture says of its origin, and whether that can be trusted.

      prefect-imagen provenance show cat.png

    Exit code: 0 it is marked and not broken, 1 it is not, 2 bad input.
    """
    del verbose
    from ..core.provenance import audit, load_trust
    from .typed import read_store

    done = audit([file], trust=load_trust(trust), **read_store(store))
    if len(done.pictures) != 1:
        raise BadInput(f"{file}: {len(done.pictures)} pictures; `prefect-imagen provenance check {file}` checks all")
    (picture,) = done.pictures
    if json:
        print_json(picture.as_dict())
    else:
        _show_one(picture)
    return OK if done.sound else INCOMPLETE


def _show(done: Audit) -> None:
    console = stdout()
    console.print(done.summary(), style="bold green" if done.sound else "bold yellow", soft_wrap=True)
    # What has to be mended comes first; a list of thousands is for --csv.
    ordered = sorted(done.pictures, key=lambda picture: picture.sound)[:_SHOWN]
    rows = table("picture", "state", "marked", "by", "C2PA", "source type", "verdict", "what is wrong or missing")
    for picture in ordered:
        wrong = [*picture.problems, *(f"no {name}" for name in picture.missing)]
        rows.add_row(
            picture.uri,
            picture.state,
            picture.marked or "-",
            picture.by or "-",
            picture.c2pa,
            picture.source_type or "-",
            picture.verdict or "-",
            "; ".join(wrong) or "-",
        )
    console.print(rows)
    if len(done.pictures) > len(ordered):
        console.print(f"and {len(done.pictures) - len(ordered):,} more: --csv and --json have all")
    if done.others:
        console.print(f"{done.others:,} other objects are not named as pictures and were not looked at")
    _say_what_is_missing(done.pictures)


def _show_one(picture: Checked) -> None:
    console = stdout()
    console.print(
        f"{picture.uri}: {picture.state}", style="bold green" if picture.sound else "bold yellow", soft_wrap=True
    )
    facts(
        console,
        [
            ("marked", picture.marked),
            ("by", picture.by or ""),
            ("C2PA", picture.c2pa),
            ("generator", picture.generator or ""),
            ("actions", ", ".join(picture.actions)),
            ("signed before by", picture.parent or ""),
            ("source type", picture.source_type or ""),
            ("AI system", picture.system or ""),
            ("made at", picture.made_at or ""),
            ("verdict", picture.verdict or ""),
            ("SHA-256", picture.sha256 or ""),
            ("of the original", picture.original_sha256 or ""),
            ("missing", ", ".join(picture.missing)),
            *(("problem", problem) for problem in picture.problems),
        ],
    )
    _say_what_is_missing([picture])


def _say_what_is_missing(pictures: Sequence[Checked]) -> None:
    from ..core.provenance import C2pa
    from ..core.provenance.manifest import INSTALL

    if any(picture.c2pa is C2pa.PRESENT for picture in pictures):
        stderr().print(f"C2PA manifests were found and not read: {INSTALL}", soft_wrap=True)
