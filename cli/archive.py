"""`prefect-imagen archive`: move the rows of finished items out of the ledger, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from ..core.store_options import StoreOptions
from . import options
from .console import facts, print_json, stderr, stdout, table
from .exit_codes import OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from ..core.ledger import Archive, ArchivePreview


@with_flags
def archive(
    which: options.Items,
    store: Annotated[Given, FlagsOf(StoreOptions, only={"endpoint_url", "role_arn", "external_id"})],
    to: options.OptionalDestination = None,
    restore: Annotated[
        str | None,
        typer.Option(metavar="ARCHIVE", help="Put the rows of an archive back: its id, or where its folder is now."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it. Without it, this only says what would be done.")
    ] = False,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Move finished rows out of the ledger, and back.

      prefect-imagen archive --edition 2025 --to s3://bucket/archives

      prefect-imagen archive --restore archive-20260131T120000Z-1a2b3c4d

    Images stay where they are. The ledger keeps what was paid, and which items are owned: they are not bought again.
    They leave the catalog and the review. Nothing is deleted before its copy was read back. Whatever breaks off, the
    same command goes on. Without options, the archives are listed.

    Exit code: 0 done, 2 bad input.
    """
    del verbose
    from ..core.archive import archive as archive_items
    from ..core.archive import preview
    from ..core.archive import restore as put_back
    from ..core.archive.restore import find
    from .catalogs import existing_ledger
    from .chosen import read_selection
    from .typed import read_store

    def say(text: str) -> None:
        if not json:
            stderr().print(f"… {text}", style="dim", soft_wrap=True)

    with existing_ledger(catalog) as ledger:
        selection = read_selection(ledger, which)
        if restore is not None:
            if not selection.everything or to is not None:
                raise BadInput("--restore goes without --to and without options that select items")
            known = find(ledger, restore)
            if not yes:
                return _show_restorable(known, json=json)
            back = put_back(ledger, restore, store_options=read_store(store), say=say)
            return _say_done({"id": back.id, "uri": back.uri, "items": back.items}, "put back", json=json)
        if selection.everything:
            if to is not None or yes:
                raise BadInput("say what to archive: --edition, --older-than, --run or --tag")
            return _show_all(ledger.archives.all(), json=json)
        if not yes:
            return _show_preview(preview(ledger, selection), json=json)
        if to is None:
            raise BadInput("--to says where the files go: s3://bucket/prefix or a folder")
        done = archive_items(ledger, selection, to, store_options=read_store(store), say=say)
    counts = {name: getattr(done, name) for name in ("id", "uri", "items", "changed", "bytes")}
    return _say_done(counts, "archived", json=json)


def _say_done(counts: dict[str, Any], what: str, *, json: bool) -> int:
    if json:
        print_json(counts)
        return OK
    console = stdout()
    console.print(f"{counts['items']:,} items {what}", style="bold")
    rows = [("archive", counts["id"] or "none was made"), ("files", counts["uri"])]
    if counts.get("changed"):
        rows.append(("stayed", f"{counts['changed']:,} items that were changed meanwhile: the same command moves them"))
    facts(console, rows)
    return OK


def _show_all(found: list[Archive], *, json: bool) -> int:
    if json:
        names = ("id", "destination", "state", "items", "selection", "created_at")
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return OK
    rows = table("archive", "state", "items", "which", "files", right=("items",))
    for one in found:
        which = ", ".join(f"{name} {value}" for name, value in one.selection.items())
        rows.add_row(one.id, one.state, f"{one.items:,}", which, one.destination)
    stdout().print(f"{len(found)} {'archive' if len(found) == 1 else 'archives'}", style="bold")
    if found:
        stdout().print(rows)
    return OK


def _show_restorable(known: Archive, *, json: bool) -> int:
    if json:
        print_json({"id": known.id, "uri": known.destination, "restored": False})
        return OK
    stdout().print(f"The rows of {known.id} would be put back from {known.destination}", soft_wrap=True)
    stdout().print("\nNothing was changed. The same command with --yes puts them back.", soft_wrap=True)
    return OK


def _show_preview(found: ArchivePreview, *, json: bool) -> int:
    from ..core.ledger.archivable import REASONS
    from ..core.money import format_usd

    if json:
        counts = {name: getattr(found, name) for name in ("items", "images", "calls", "credits", "archived")}
        print_json({**counts, "stay": dict(found.stay), "done": False})
        return OK
    console = stdout()
    console.print(f"{found.items:,} items would be archived", style="bold")
    rows = [("images", f"{found.images:,}, which stay where they are")] if found.images else []
    if found.items:
        rows.append(("paid", f"{format_usd(found.credits)} for {found.calls:,} calls: this stays on the account"))
    if found.archived:
        rows.append(("archived", f"{found.archived:,} items before"))
    rows += [("stay", f"{count:,}: {REASONS[reason]}") for reason, count in found.stay.items()]
    facts(console, rows)
    if found.items:
        console.print("\nNothing was changed. The same command with --yes moves the rows.", soft_wrap=True)
    return OK
