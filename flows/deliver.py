"""Delivery as a flow: for a schedule, an automation, or the end of a chain."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from ..blocks import LocalImageStore, S3ImageStore, SigningCertificate
from ..blocks.references import catalog_block, image_store_block, picture_signer
from ..core.provenance import Marking, MarkMode
from ..core.request import ImageChoice
from ..core.review.choice import image_filter
from ..core.review.deliver import DEFAULT_NAMES, IncompleteDelivery, deliver
from .parameters import Catalog, document_parameters

HoldFlagged = Annotated[bool, Field(description="Leave out images that `check` has flagged.")]
Names = Annotated[str, Field(description="Names of the copies; {row[COLUMN]} takes a column of the source.")]
Target = Annotated[
    S3ImageStore | LocalImageStore | str,
    Field(description="Where approved images go: a saved store, `s3://bucket/prefix`, a folder, or a .zip file."),
]


@flow(name="imagen_deliver", validate_parameters=True)
@document_parameters
def imagen_deliver(
    to: Target,
    catalog: Catalog = None,
    images: Annotated[
        ImageChoice, Field(description="Which images; approved ones, unless another verdict is named.")
    ] = ImageChoice(),
    names: Names = DEFAULT_NAMES,
    hold_flagged: HoldFlagged = False,
    keep: Annotated[bool, Field(description="Name images whose verdict was withdrawn; do not take them back.")] = False,
    mark: Annotated[
        MarkMode,
        Field(description="Say of each copy that an AI made it: with XMP inside, a sidecar, or auto: either."),
    ] = MarkMode.NONE,
    mark_prompt: Annotated[bool, Field(description="Marks have the prompt, too.")] = False,
    credit: Annotated[str | None, Field(description="Credit line of the marks.")] = None,
    certificate: Annotated[
        SigningCertificate | str | None,
        Field(description="For c2pa: a saved certificate, or the path of a PEM file on the worker."),
    ] = None,
    key: Annotated[
        str | None, Field(description="With the path of a certificate: that of its private key's PEM file.")
    ] = None,
    timestamp_url: Annotated[str | None, Field(description="Time stamp service for signatures.")] = None,
) -> State[Any]:
    """Copy approved images to the place that others take them from, with a manifest. Buys nothing.

    The same again copies only what is missing, and takes back what is not approved any more.

    Returns:
        `Completed` with a `DeliveryReport`; or `Failed` named `Incomplete`, whose result is an `IncompleteDelivery`.

    Raises:
        BadInput: Names that do not fit; a place of another ledger, or one where runs store their images; a certificate
            that is not there or cannot sign.
    """
    logger = get_run_logger()
    ledger = catalog_block(catalog).get_ledger()
    signer = picture_signer(mark, certificate, key, timestamp_url)
    is_file = isinstance(to, str) and to.lower().endswith(".zip")
    report = deliver(
        ledger,
        to if is_file and isinstance(to, str) else image_store_block(to).get_store(),
        image_filter(ledger, images, verdict="approved"),
        names=names,
        keep=keep,
        hold_flagged=hold_flagged,
        marking=Marking(mark, mark_prompt, credit, signer),
        say=logger.info,
    )
    for problem in report.problems:
        logger.warning("%s: %s", problem.image_id, problem.reason)
    if report.complete:
        return Completed(message=report.summary(), data=report)
    return Failed(name="Incomplete", message=report.summary(), data=IncompleteDelivery(report))
