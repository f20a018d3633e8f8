"""`prefect-imagen deliver`: copy what is approved to the place that others take it from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..core.request import MarkMode
from . import options
from .console import facts, print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

if TYPE_CHECKING:
    from ..core.provenance import PictureSigner

_NAMES = "{prompt}-{id}.{ext}"
_SHOWN = 10


@with_flags
def deliver(
    store: options.Store,
    chosen: options.Chosen,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DEST",
            help="s3://bucket/prefix, a folder, or a file ending in .zip, here or in S3.",
            rich_help_panel="Where to",
        ),
    ],
    names: Annotated[
        str,
        typer.Option(
            "--names",
            metavar="TEXT",
            help="Names of the copies; {row[COLUMN]} takes a column of the source.",
            rich_help_panel="Where to",
        ),
    ] = _NAMES,
    hold_flagged: Annotated[
        bool, typer.Option("--hold-flagged", help="Leave out images that `check` has flagged.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Name images whose verdict was withdrawn; do not take them back.")
    ] = False,
    mark: Annotated[
        MarkMode,
        typer.Option(
            help="Say of each copy that an AI made it: in XMP inside, in a file NAME.EXT.xmp beside it, or auto: "
            "inside, and beside what is signed. c2pa signs.",
            rich_help_panel="Marks",
        ),
    ] = MarkMode.NONE,
    mark_prompt: Annotated[
        bool, typer.Option("--mark-prompt", help="Marks have the prompt, too.", rich_help_panel="Marks")
    ] = False,
    credit: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Credit line of the marks.", rich_help_panel="Marks")
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --mark c2pa: PEM file of the certificate, or picture-signing-certificate/NAME of a saved block.",
            rich_help_panel="Marks",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM file of its private key.", rich_help_panel="Marks")
    ] = None,
    timestamp_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Time stamp service for signatures.", rich_help_panel="Marks")
    ] = None,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Copy approved images to a prefix, a folder or a ZIP file.

      prefect-imagen deliver --to s3://shop/spring --edition spring

    A manifest lists them. The same command again copies only what is missing, and removes its copies of images that
    are no longer approved. With --verdict any it copies all stored images. Nothing is bought.

    Exit code: 0 everything is delivered, 1 something is not (the output says what), 2 bad input.
    """
    del verbose
    from ..core.provenance import Marking
    from ..core.review.choice import image_filter
    from ..core.review.deliver import deliver as deliver_images
    from .catalogs import existing_ledger
    from .typed import read_choice, read_store

    signer = _signer(mark, certificate, key, timestamp_url)
    with existing_ledger(catalog) as ledger:
        report = deliver_images(
            ledger,
            to,
            image_filter(ledger, read_choice(chosen), verdict="approved"),
            names=names,
            keep=keep,
            hold_flagged=hold_flagged,
            marking=Marking(mark, mark_prompt, credit, signer),
            store_options=read_store(store),
            say=lambda text: None if json else stderr().print(f"… {text}", style="dim", soft_wrap=True),
        )
    if json:
        print_json(report.as_dict())
        return OK if report.complete else INCOMPLETE
    console = stdout()
    console.print(report.summary(), style="bold green" if report.complete else "bold yellow", soft_wrap=True)
    left = len(report.withdrawn) - report.taken_back
    facts(
        console,
        [
            ("withdrawn", f"{', '.join(report.withdrawn[:_SHOWN])}, left there (--keep)" if left and keep else ""),
            ("changed", ", ".join(report.changed[:_SHOWN]) + " are to be reviewed again" if report.changed else ""),
            *(("problem", f"{problem.image_id}: {problem.reason}") for problem in report.problems[:_SHOWN]),
        ],
    )
    return OK if report.complete else INCOMPLETE


def _signer(
    mark: MarkMode, certificate: str | None, key: str | None, timestamp_url: str | None
) -> PictureSigner | None:
    if mark is not MarkMode.C2PA and not (certificate or key or timestamp_url):
        return None  # Prefect, which knows blocks, takes a second to be imported.
    from ..blocks.references import picture_signer

    return picture_signer(mark, certificate, key, timestamp_url)
