"""`prefect-imagen verdicts`: what reviewers said, as a list or a file; and verdicts of a file taken in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput, Unavailable
from . import options
from .console import facts, print_json, shorten, stdout, table
from .exit_codes import INCOMPLETE, OK
from .flags import Given, with_flags

if TYPE_CHECKING:
    from ..core.ledger import Ledger

_SHOWN = 10
_ROWS = 50


@with_flags
def verdicts(
    chosen: options.Chosen,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them as JSON Lines.", rich_help_panel="Output")
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option("--apply", metavar="FILE", help="Take in the verdicts of a file, each once."),
    ] = None,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """List what reviewers said about images, or read it from a file.

      prefect-imagen verdicts --apply verdicts.jsonl

    The list shows one verdict per image. A file has every verdict, with its reviewer and time.

    Exit code: 0 all of it is done, 1 some images of the file are unknown or have changed, 2 bad input.
    """
    del verbose
    from .catalogs import existing_ledger

    with existing_ledger(catalog) as ledger:
        if apply is not None:
            if out is not None or chosen.values:
                raise BadInput("--apply takes a whole file; leave the other options out")
            return _apply(ledger, apply, as_json=json)
        if out is not None:
            return _write(ledger, chosen, out, as_json=json)
        return _list(ledger, chosen, as_json=json)


def _apply(ledger: Ledger, path: Path, *, as_json: bool) -> int:
    from dataclasses import asdict

    from ..core.review.verdict_files import apply_verdicts

    done = apply_verdicts(ledger, path)
    if as_json:
        print_json(asdict(done))
    else:
        stdout().print(done.summary(), style="bold", soft_wrap=True)
        facts(
            stdout(),
            [("unknown", ", ".join(done.unknown[:_SHOWN])), ("changed", ", ".join(done.changed[:_SHOWN]))],
        )
    return OK if done.complete else INCOMPLETE


def _write(ledger: Ledger, chosen: Given, out: Path, *, as_json: bool) -> int:
    from ..core.files import AtomicFile
    from ..core.review.choice import image_filter
    from ..core.review.verdict_files import verdict_lines
    from .typed import read_choice

    images = image_filter(ledger, read_choice(chosen), states=())
    among = {row["image_id"] for row in ledger.review.all(images, columns=())} if chosen.values else None
    given = (one for one in ledger.verdicts.all() if among is None or one.image_id in among)
    written = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(out, sync=True) as file:
            for line in verdict_lines(ledger, given):
                file.write(line.encode("utf-8", "backslashreplace") + b"\n")
                written += 1
            file.commit()
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror or error}") from None
    if as_json:
        print_json({"file": str(out), "verdicts": written})
    else:
        stdout().print(f"{written:,} verdicts in {out}", soft_wrap=True)
    return OK


def _list(ledger: Ledger, chosen: Given, *, as_json: bool) -> int:
    from ..core.review.choice import image_filter, iso
    from .typed import read_choice

    columns = ("image_id", "verdict", "stars", "reviewer", "reviewed_at", "review_reason", "review_note", "prompt")
    images = image_filter(ledger, read_choice(chosen), states=())
    found = [row for row in ledger.review.all(images, columns=columns) if row["reviewer"] is not None or chosen.values]
    if as_json:
        print_json([{**row, "reviewed_at": iso(row["reviewed_at"])} for row in found])
        return OK
    rows = table("image", "verdict", "stars", "reviewer", "when", "why", "prompt")
    for row in found[:_ROWS]:
        why = row["review_reason"] or row["review_note"] or ""
        said = (row["verdict"], "★" * row["stars"], row["reviewer"] or "", iso(row["reviewed_at"]) or "")
        rows.add_row(row["image_id"], *said, shorten(why, 30), shorten(row["prompt"], 40))
    stdout().print(ledger.review.counts(images).summary(), style="bold")
    if found:
        stdout().print(rows)
    if len(found) > _ROWS:
        stdout().print(f"  … and {len(found) - _ROWS:,} more: --json, or --out FILE", style="dim")
    return OK
