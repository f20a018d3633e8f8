"""The audit of provenance as a flow: for a schedule, over the prefix that pictures are delivered to."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..core.provenance import UnsoundAudit
from ..tasks.provenance import check_provenance
from .parameters import document_parameters


@flow(name="imagen_provenance", validate_parameters=True)
@document_parameters
def imagen_provenance(
    where: Annotated[
        list[str],
        Field(description="s3://bucket/prefix, folders, single pictures. Empty: the store's own destination."),
    ] = [],  # noqa: B006 - Prefect's form shows it, and nothing changes it
    store: Annotated[S3ImageStore | LocalImageStore | str | None, Field(description="How S3 is reached.")] = None,
    trust: Annotated[
        str | None,
        Field(description="PEM file on the worker with the roots that C2PA signatures are trusted under."),
    ] = None,
    catalog: Annotated[
        ImageCatalog | str | None, Field(description="Ledger whose verdicts are told. Empty: those of the marks.")
    ] = None,
) -> State[Any]:
    """Check that every picture says that an AI made it: how, by whom, whether it holds, what is missing.

    Reads only. The pictures are listed in the artifact `imagen-provenance`.

    Returns:
        `Completed`, or `Failed` named `Unmarked` where a picture is unmarked or broken. The result is an `Audit`, or an
        `UnsoundAudit` with one.

    Raises:
        BadInput: A place is not there or has no pictures.
    """
    done = check_provenance(where, store, trust, catalog)
    if done.sound:
        return Completed(message=done.summary(), data=done)
    return Failed(name="Unmarked", message=done.summary(), data=UnsoundAudit(done))
