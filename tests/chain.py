"""A whole run without Prefect, on the pieces that flows and the command line use. Also as a process to be killed.

python tests/chain.py '{"catalog": "...", "base_url": "...", "store": "...", "spool": "...", "count": 20}'
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from prefect_imagen.core.ledger import Ledger
from prefect_imagen.core.money import credits_to_usd
from prefect_imagen.core.providers import Endpoint, open_client
from prefect_imagen.core.request import RunRequest
from prefect_imagen.core.run.checks import check_request, prepare
from prefect_imagen.core.run.chunks import Threads
from prefect_imagen.core.run.run import Run
from prefect_imagen.core.storage import open_store


def run_chain(
    *,
    catalog: str | Ledger,
    base_url: str,
    store: str,
    spool: str,
    count: int = 0,
    prompts: str | None = None,
    options: Mapping[str, Any] | None = None,
    prefix: str = "fox",
    unknown: str = "hold",
    budget: int | None = None,
    tags: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    log: bool = True,
    trust_unbilled_5xx: bool = False,
    concurrency: int = 8,
    patience: float = 20.0,
    chunk: int = 10,
    read_timeout: float = 20.0,
    s3: Mapping[str, Any] | None = None,
    adopt: bool = False,
    key: str = "key-of-the-tests",
    model: str | None = None,
    price: float | None = None,
) -> dict[str, Any]:
    """Run so many prompts once; returns the run's id, its items by state, and how it ended.

    Args:
        catalog: A ledger, or where it is.
        base_url: Of the API.
        store: Address of the destination.
        spool: Folder of the spools.
        count: Prompts.
        prompts: A file, in place of so many prompts.
        options: Further options, by their flags.
        prefix: First word of each.
        unknown: As the option.
        budget: In credits.
        tags: Of the run.
        parameters: Of the model.
        log: Whether to ask the API's log first.
        trust_unbilled_5xx: As the option.
        concurrency: As the option.
        patience: As the option.
        chunk: Items of a chunk.
        read_timeout: Seconds for an answer.
        s3: Options of the store.
        adopt: Take over the destination of another ledger.
        key: Of the API.
        model: None: the default one.
        price: As the option.
    """
    ledger = catalog if isinstance(catalog, Ledger) else Ledger(catalog)
    client = open_client(key, base_url=base_url, model=model, read_timeout=read_timeout)
    request = RunRequest.by_flag(
        {
            "set": dict(parameters or {}),
            "tag": dict(tags or {}),
            "budget_usd": float(credits_to_usd(budget)) if budget is not None else None,
            "concurrency": concurrency,
            "chunk_size": chunk,
            "unknown": unknown,
            "trust_unbilled_5xx": trust_unbilled_5xx,
            "adopt_ledger": adopt,
            "patience": patience,
            "offline": True,
            "price": price,
            **({"model": model} if model is not None else {}),
            **(options or {}),
        }
    )
    request = request.with_("delivery", spool=spool).with_("policy", wait_for_others=0.0)
    source = prompts or [f"{prefix} number {n}" for n in range(count)]
    try:
        target = open_store(store, **(s3 or {}))
        checked = check_request(source, request, Endpoint.of(client), ledger=lambda: ledger, store=target)
        prepared = prepare(request, client=client, ledger=ledger, store=target, checked=checked)
        with closing(Run.open(prepared, uuid.uuid4().hex)) as run:
            planned = run.plan()
            if log:
                run.ask_log()
            with run.stopping(), Threads(run.process) as threads:
                failures = run.buy(threads, planned.items)
            run.finish(failures)
            states = {state.value: number for state, number in ledger.runs.progress(run.id).items.items() if number}
            services = run.services
            return {
                "run": run.id,
                "states": states,
                "outcome": run.outcome,
                "halt": services.halt.message,
                "reason": services.halt.reason,
                "pauses": services.accounts.pauses,
            }
    finally:
        client.close()
        if ledger is not catalog:
            ledger.close()


def run_steps(steps: Sequence[Mapping[str, Any]], **common: Any) -> list[dict[str, Any]]:
    """Run the steps of a chain, each with options of its own; the pictures of one go into the next."""
    ended: list[dict[str, Any]] = []
    for options in steps:
        source = f"catalog:run={ended[-1]['run']}" if ended else None
        ended.append(run_chain(**common, prompts=source, options=options))
    return ended


def as_process(options: Mapping[str, Any]) -> list[str]:
    """The command line of a process that runs the chain and prints what came of it."""
    return [sys.executable, str(Path(__file__)), json.dumps(dict(options))]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(run_steps(**given) if "steps" in given else run_chain(**given)))
