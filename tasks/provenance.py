"""The audit of provenance as a task: reads pictures, changes nothing, and leaves a table in Prefect's UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.references import catalog_block, image_store_block
from ..core.errors import BadInput
from ..core.markdown import cell
from ..core.provenance import Audit, audit, load_trust
from ..core.storage import S3Store

AUDIT_KEY = "imagen-provenance"
_ROWS = 500


@task(name="check_provenance", task_run_name="check provenance")
def check_provenance(
    where: Sequence[str] = (),
    store: S3ImageStore | LocalImageStore | str | None = None,
    trust: str | None = None,
    catalog: ImageCatalog | str | None = None,
) -> Audit:
    """Check that every picture says that an AI made it, and that this holds.

    Args:
        where: Prefixes (`s3://bucket/prefix`), folders, single pictures; empty for the store's own destination.
        store: Block, slug, or address: how S3 is reached.
        trust: Path of a PEM file with the roots that C2PA signatures are trusted under; None for that of
            `PREFECT_IMAGEN_C2PA_TRUST`.
        catalog: Block, slug, or address of the ledger whose verdicts are told; None for those of the marks alone.

    Returns:
        What was found; `sound` says whether all is well. Its pictures are also in the artifact `imagen-provenance`.

    Raises:
        BadInput: A place is not there or has no pictures; no place is named.
        Unavailable: A store does not answer.
    """
    opened = image_store_block(store).get_store() if store is not None else None
    places = list(where) or ([opened.destination] if opened is not None else [])
    if not places:
        raise BadInput("say where the pictures are: places, or a store")
    options = dict(opened.options) if isinstance(opened, S3Store) else {}
    ledger = catalog_block(catalog).get_ledger() if catalog is not None else None
    done = audit(places, trust=load_trust(trust), ledger=ledger, say=get_run_logger().info, **options)
    leave_audit(done)
    return done


def leave_audit(done: Audit) -> None:
    """Create the table: what has to be mended first, at most 500 pictures."""
    ordered = sorted(done.pictures, key=lambda picture: picture.sound)[:_ROWS]
    rows: list[dict[str, Any]] = [
        {
            "picture": cell(picture.uri),
            "state": picture.state,
            "marked": picture.marked,
            "by": cell(picture.by or ""),
            "C2PA": picture.c2pa.value,
            "source type": cell(picture.source_type or ""),
            "verdict": picture.verdict or "",
            "missing": ", ".join(picture.missing),
            "problems": cell("; ".join(picture.problems)),
        }
        for picture in ordered
    ]
    more = f"; the first {_ROWS} of {len(done.pictures):,} are shown" if len(done.pictures) > _ROWS else ""
    create_table_artifact(rows, key=AUDIT_KEY, description=f"{done.summary()}{more}")
