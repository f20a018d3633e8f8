"""`prefect-imagen reconcile`: compare the ledger with a destination, repair the differences, or rebuild the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from . import options
from .console import facts, print_json, shorten, stderr, stdout, table
from .exit_codes import INCOMPLETE, OK
from .flags import with_flags

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.repair import RebuildReport, ReconcileReport

_SHOWN = 30


@with_flags
def reconcile(
    store: options.Endpoint,
    to: options.OptionalDestination = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Mend: fetch or copy what is missing, adopt what is not recorded.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare names and sizes only, not checksums.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="The ledger is gone: make it again from the objects, so that nothing is rebought."
        ),
    ] = False,
    adopt_ledger: Annotated[
        bool,
        typer.Option("--adopt-ledger", help="With --rebuild: take another ledger's images into one that is not empty."),
    ] = False,
    catalog: options.Catalog = None,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Compare the ledger and the catalog with the store.

      prefect-imagen reconcile --to s3://bucket/spring --apply

    It lists objects that are missing, that the ledger does not know, or that have another size or checksum. Without
    --to it looks at every destination of the ledger. Nothing is bought, overwritten or deleted.

    Exit code: 0 nothing differs or everything was mended, 1 something differs or a paid image is lost, 2 bad input.
    """
    del verbose
    from ..core.ledger import Ledger
    from ..core.providers import Endpoint
    from ..core.repair import Stores
    from ..core.repair import rebuild as rebuild_ledger
    from ..core.repair import reconcile as compare
    from .catalogs import catalog_url, existing_ledger
    from .typed import read_store

    if rebuild and (apply or quick):
        raise BadInput("--rebuild goes without --apply and --quick")
    if rebuild and to is None:
        raise BadInput("--rebuild needs --to: where the images are")
    stores = Stores(options=read_store(store))

    def say(text: str) -> None:
        if not json:
            stderr().print(f"… {text}", style="dim", soft_wrap=True)

    if rebuild and to is not None:
        ledger = Ledger(catalog_url(catalog))
        try:
            made = rebuild_ledger(ledger, stores.open(to), adopt=adopt_ledger, say=say)
        finally:
            ledger.close()
        if json:
            print_json(made.as_dict())
        else:
            _show_rebuilt(stdout(), made)
        return OK
    endpoint = Endpoint.find(api=api, base_url=base_url)
    key = endpoint.provider.key()
    client = endpoint.open(key) if key or not endpoint.provider.wants_key(endpoint.base_url) else None
    with existing_ledger(catalog) as known:
        reports = [
            compare(known, stores.open(place), apply=apply, quick=quick, stores=stores, client=client, say=say)
            for place in ([to] if to is not None else known.deliveries.destinations())
        ]
    if json:
        print_json([report.as_dict() for report in reports])
    else:
        for report in reports:
            _show(stdout(), report)
    return OK if all(report.clean for report in reports) else INCOMPLETE


def _show(console: Console, report: ReconcileReport) -> None:
    style = "bold green" if report.clean else "bold yellow"
    differ = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items()) or "nothing differs"
    console.print(f"{report.destination}: {differ}", style=style, soft_wrap=True)
    facts(
        console,
        [
            ("objects", f"{report.objects:,}"),
            ("recorded", f"{report.recorded:,} images"),
            (
                "archived",
                f"{report.archived:,} images, not compared: `archive --restore` first" if report.archived else "",
            ),
            ("mended", f"{report.mended:,}" if report.mended else ""),
            (
                "lost",
                f"{report.lost:,} paid for and nowhere to be had; `prefect-imagen repair --lost` tries again"
                if report.lost
                else "",
            ),
        ],
    )
    if not report.findings:
        return
    rows = table("what", "where", "why", "mended")
    for finding in report.findings[:_SHOWN]:
        rows.add_row(
            finding.kind.value,
            finding.uri.removeprefix(report.destination).lstrip("/"),
            shorten(finding.detail, 90),
            shorten(finding.mended or "", 60),
        )
    console.print(rows)
    if len(report.findings) > _SHOWN:
        console.print(f"  … and {len(report.findings) - _SHOWN:,} more: --json", style="dim")


def _show_rebuilt(console: Console, report: RebuildReport) -> None:
    from ..core.money import format_usd

    console.print(f"{report.items:,} items taken in from {report.destination}", style="bold", soft_wrap=True)
    facts(
        console,
        [
            ("images", f"{report.images:,} of {report.objects:,} objects"),
            ("calls", f"{report.calls:,}, {format_usd(report.credits)}"),
            ("estimated", f"{report.estimated:,} of the calls, by the price list" if report.estimated else ""),
            ("left alone", f"{report.foreign:,} other objects" if report.foreign else ""),
            ("ledger", report.ledger_id),
        ],
    )
    console.print(
        "The same run buys none of these again. Calls that were unknown or refused, and images that were paid for and "
        "not stored yet, left no object: what they cost is not in this ledger.",
        soft_wrap=True,
    )
