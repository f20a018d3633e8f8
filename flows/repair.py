"""Repair as a flow: for a schedule, an automation, or a button in Prefect's UI."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from ..blocks import LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..blocks.references import catalog_block, credentials_block, image_store_block
from ..core import request as options
from ..core.providers import ImageClient, client_of_any
from ..core.repair import IncompleteRepair, Stores, repair
from ..core.request import Delivery, Limits, RunRequest, UnknownPolicy
from .parameters import Catalog, document_parameters


@flow(name="imagen_repair", validate_parameters=True)
@document_parameters
def imagen_repair(
    store: Annotated[
        S3ImageStore | LocalImageStore | str | None,
        Field(description="A store of the runs' images; its access is used for other buckets, too."),
    ] = None,
    credentials: Annotated[
        ApiCredentials | None,
        Field(description="To ask the API's log, and to buy again. None: the key of the environment."),
    ] = None,
    catalog: Catalog = None,
    run_id: Annotated[str | None, Field(description="Only this run's items. None: the whole ledger.")] = None,
    items: Annotated[list[str] | None, Field(description="Decide on these unknown items only: their ids.")] = None,
    unknown: Annotated[
        UnknownPolicy,
        Field(description="Items that may have been billed: hold, retry now (may pay twice), or fail."),
    ] = UnknownPolicy.HOLD,
    lost: Annotated[bool, Field(description="Also fetch again what is lost or was unreadable.")] = False,
    concurrency: options.Concurrency = 8,
    patience: options.Patience = 120.0,
    key_template: options.KeyTemplate = None,
) -> State[Any]:
    """Deliver what is paid for; ask the API's log about unknown calls; decide on what it does not know.

    Buys nothing, except with `unknown="retry"`, and then only what is unknown, or known to be billed and lost.

    Returns:
        `Completed`, or `Failed` named `Incomplete` where something is left. The result is a `RepairReport`, or an
        `IncompleteRepair` with one.

    Raises:
        BadInput: A run, block or time that is not there; a client of another API.
    """
    logger = get_run_logger()
    ledger = catalog_block(catalog).get_ledger()
    if credentials is not None:
        client: ImageClient | None = credentials_block(credentials).get_client()
    else:
        client = client_of_any([account.provider for account in ledger.accounts])
        if client is None and unknown is UnknownPolicy.RETRY:
            client = credentials_block(None).get_client()  # says what is missing
    report = repair(
        ledger,
        Stores(image_store_block(store).get_store() if store is not None else None),
        client=client,
        request=RunRequest(
            limits=Limits(concurrency=concurrency), delivery=Delivery(patience=patience, key_template=key_template)
        ),
        run_id=run_id,
        item_ids=items,
        unknown=unknown,
        lost=lost,
        say=logger.info,
    )
    for problem in report.problems:
        logger.warning(problem)
    if report.complete:
        return Completed(message=report.summary(), data=report)
    return Failed(name="Incomplete", message=report.summary(), data=IncompleteRepair(report))
