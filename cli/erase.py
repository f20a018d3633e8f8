"""`prefect-imagen erase`: delete what must not be kept; the account of the money stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.request import ItemChoice
from ..core.store_options import StoreOptions
from . import options
from .console import facts, print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from ..core.erase import Erased
    from ..core.ledger import ErasurePreview


@with_flags
def erase(
    which: options.Items,
    store: Annotated[Given, FlagsOf(StoreOptions, only={"endpoint_url", "role_arn", "external_id"})],
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="Also what runs without that tag or id ask for, too.",
            rich_help_panel=ItemChoice.section,
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Erase. Without it, this only says what would be erased.")
    ] = False,
    catalog: options.Catalog = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Erase images for good: objects, prompts, links and rows.

      prefect-imagen erase --tag client=acme --older-than 90d

    Only images that match all options are erased, and nothing is without --yes. Their costs stay in the ledger. The
    command that bought them does not buy them again; another --edition does. docs/export.md says which copies this
    command cannot reach.

    Exit code: 0 done, 1 something could not be deleted (run the same command again), 2 bad input.
    """
    del verbose
    from ..core.erase import erase as erase_items
    from ..core.erase import preview
    from ..core.files import home
    from .catalogs import existing_ledger
    from .chosen import read_selection
    from .typed import read_store

    with existing_ledger(catalog) as ledger:
        selection = read_selection(ledger, which)
        found = preview(ledger, selection, shared=shared)
        if not yes:
            return _show_preview(found, json=json)
        done = erase_items(ledger, selection, shared=shared, spool=home() / "spool", store_options=read_store(store))
    artifacts = _forget_artifacts(done)
    if json:
        print_json({**_document(found), **_result(done), "artifacts": artifacts})
    else:
        _show_done(found, done, artifacts)
    return INCOMPLETE if done.failed else OK


def _show_preview(found: ErasurePreview, *, json: bool) -> int:
    if json:
        print_json({**_document(found), "erased": False})
        return OK
    console = stdout()
    console.print(f"{found.items:,} items would be erased", style="bold")
    facts(console, _facts(found))
    if found.items:
        console.print("\nNothing was erased. The same command with --yes erases for good.", soft_wrap=True)
    return OK


def _facts(found: ErasurePreview) -> list[tuple[str, str]]:
    from ..core.money import format_usd

    rows = [("images", f"{found.images:,}, {found.bytes:,} bytes")] if found.images else []
    rows += [("objects", f"{count:,} in {destination}") for destination, count in found.objects.items()]
    if found.items:
        rows.append(("paid", f"{format_usd(found.credits)}: this stays on the account"))
    if found.unknown:
        rows.append(("unknown", f"{found.unknown:,} calls stay unknown; `prefect-imagen repair` first can settle them"))
    if found.shared:
        rows.append(("shared", f"{found.shared:,} items are left, since other runs ask for them too (--shared)"))
    if found.archived:
        rows.append(
            (
                "archived",
                f"{found.archived:,} items are left, since their rows are archived: `prefect-imagen archive` names "
                "them; put it back (--restore), erase, then delete the archive's files",
            )
        )
    if found.held:
        rows.append(("at work", f"{found.held:,} items are left, since a run works on them"))
    return rows


def _document(found: ErasurePreview) -> dict[str, Any]:
    names = ("items", "images", "objects", "bytes", "credits", "unknown", "held", "shared", "archived")
    return {"survey": {name: getattr(found, name) for name in names}}


def _result(done: Erased) -> dict[str, Any]:
    names = ("items", "objects", "kept", "hidden", "failed", "scrubbed")
    return {"erased": True, **{name: getattr(done, name) for name in names}, "flow_runs": sorted(done.flow_runs)}


def _forget_artifacts(done: Erased) -> int | None:
    """Delete the runs' artifacts where a Prefect API is configured; None where it is not, or does not answer."""
    if not done.flow_runs:
        return 0
    from .prefect_server import configured_api

    if configured_api() is None:
        return None
    from ..flows.erasure import delete_traces

    try:
        return delete_traces(done.flow_runs)
    except Exception as error:  # noqa: BLE001 - what is erased is erased; this is said, and done again by hand
        stderr().print(f"the artifacts in Prefect could not be deleted: {error}", soft_wrap=True)
        return None


def _show_done(found: ErasurePreview, done: Erased, artifacts: int | None) -> None:
    console = stdout()
    console.print(f"{done.items:,} items erased", style="bold")
    rows = [("objects", f"{done.objects:,} deleted")]
    if done.kept:
        rows.append(("kept", f"{done.kept:,} objects that other images are, too"))
    if done.hidden:
        rows.append(
            ("hidden", f"{done.hidden:,} objects in buckets with versions: their older versions are still there")
        )
    rows += [row for row in _facts(found) if row[0] in ("paid", "shared", "archived", "at work", "unknown")]
    if artifacts:
        rows.append(("in Prefect", f"{artifacts:,} artifacts deleted, and the prompts among the parameters"))
    elif artifacts is None:
        rows.append(
            ("in Prefect", f"{len(done.flow_runs):,} runs still show them: set PREFECT_API_URL, or delete them")
        )
    if done.scrubbed is False:
        rows.append(
            ("the file", "others use the database, whose free space still holds what was erased: run VACUUM later")
        )
    facts(console, rows)
    for uri, reason in done.failed.items():
        console.print(f"  not deleted: {uri} ({reason})", style="yellow", soft_wrap=True)
