"""The whole chain without Prefect: plan, buy, download, upload, catalog. Also as a process that can be killed.

python tests/chain.py '{"catalog": "...", "base_url": "...", "store": "...", "spool": "...", "count": 20}'
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_imagen.core.aimlapi import AimlApiClient
from prefect_imagen.core.delivery import record
from prefect_imagen.core.ledger import ItemState, Ledger, RunSpec, UnknownPolicy
from prefect_imagen.core.plan import open_batch
from prefect_imagen.core.purchase import PurchaseSettings, recover_replies
from prefect_imagen.core.repair import ask_log
from prefect_imagen.core.run.checks import check_services
from prefect_imagen.core.run.services import RunContext, RunSettings
from prefect_imagen.core.storage import open_store
from prefect_imagen.core.values import batched

__all__ = ["run_chain"]


def run_chain(
    *,
    catalog: str | Ledger,
    base_url: str,
    store: str,
    spool: str,
    count: int,
    prefix: str = "fox",
    unknown: str = "hold",
    budget: int | None = None,
    tags: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    log: bool = True,
    trust_unbilled_5xx: bool = False,
    concurrency: int = 8,
    chunk: int = 10,
    read_timeout: float = 20.0,
    s3: Mapping[str, Any] | None = None,
    adopt: bool = False,
    key: str = "key-of-the-tests",
) -> dict[str, Any]:
    """Run so many prompts once, as the flow does; returns the run's id and its items by state."""
    ledger = catalog if isinstance(catalog, Ledger) else Ledger(catalog)
    client = AimlApiClient(key, base_url=base_url, read_timeout=read_timeout)
    target = open_store(store, **(s3 or {}))
    settings = RunSettings(
        concurrency=concurrency,
        unknown=UnknownPolicy(unknown),
        spool=spool,
        patience=20.0,
        purchase=PurchaseSettings(trust_unbilled_5xx=trust_unbilled_5xx),
    )
    spec = open_batch([f"{prefix} number {n}" for n in range(count)], parameters=dict(parameters or {}))
    check_services(client, ledger, target, adopt=adopt)
    run_id = uuid.uuid4().hex
    context = RunContext(run_id, ledger=ledger, store=target, client=client, settings=settings)
    try:
        ledger.release_dead_workers()
        recover_replies(ledger, context.spool.replies)
        ledger.runs.start(
            RunSpec(
                run_id,
                spec.resolve().name,
                dict(parameters or {}),
                destination=target.destination,
                budget=budget,
                tags=dict(tags or {}),
            )
        )
        ledger.runs.add_items(run_id, spec.run_items())
        if log:
            ask_log(ledger, client, run_id=run_id)
        pending = ledger.items.pending(run_id, destination=target.destination, unknown=settings.unknown)
        for batch in batched(pending, chunk):
            _chunk(context, batch)
        ledger.runs.finish(run_id, "Completed")
        states = {state.value: number for state, number in ledger.runs.progress(run_id).items.items() if number}
        return {"run": run_id, "states": states, "halt": context.halt.message}
    finally:
        context.close()
        client.close()
        if ledger is not catalog:
            ledger.close()


def _chunk(context: RunContext, item_ids: list[str]) -> None:
    ledger = context.ledger
    claimed = ledger.items.claim(item_ids, unknown=context.settings.unknown)
    to_buy = [item for item in claimed if item.state is ItemState.CLAIMED]
    try:
        list(context.purchase_pool.map(context.purchaser().buy, to_buy))
        ledger.items.release([item.id for item in to_buy], keep_paid=True)
        tasks = ledger.images.to_deliver([item.id for item in claimed], destination=context.destination)
        files = list(context.delivery_pool.map(context.downloader.download, tasks))
        record(ledger, context.spool, list(context.delivery_pool.map(context.uploader().upload, files)))
    finally:
        ledger.items.release(item_ids)


def as_process(options: Mapping[str, Any]) -> list[str]:
    """The command line of a process that runs the chain and prints what came of it."""
    return [sys.executable, str(Path(__file__)), json.dumps(dict(options))]


if __name__ == "__main__":
    print(json.dumps(run_chain(**json.loads(sys.argv[1]))))
