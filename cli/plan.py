"""`prefect-imagen plan`: what a run would buy and cost. Buys nothing, makes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from ..core.request import RunRequest
from . import options
from .console import facts, print_json, stdout
from .exit_codes import OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.ledger import BudgetState, Ledger
    from ..core.plan import InputPlan, Plan, RewritePlan

_PARTS = frozenset({"model", "template", "aspect_ratio", "edition", "edition_timezone", "select", "image", "rewrite"})
_COPIES = 5
_ARRIVES = {
    "url": "by address, fetched from the provider's servers",
    "bytes": "in the reply; until it is stored, the spool of the worker has the only copy",
}
_ALSO = frozenset({"rewrite_fallback", "concurrency", "requests_per_minute", "offline"})


@with_flags
def plan(
    store: options.Endpoint,
    given: Annotated[Given, FlagsOf(RunRequest, only=_PARTS | _ALSO)],
    prompts: options.OptionalPrompts = None,
    regenerations: Annotated[
        bool, typer.Option("--regenerations", help="What is to be made anew: what `regenerate` would buy.")
    ] = False,
    to: options.OptionalDestination = None,
    catalog: options.Catalog = None,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    models: options.Models = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the plan; `run FILE` executes exactly that.", rich_help_panel="Output"
        ),
    ] = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show what a run would buy and what it would cost.

      prefect-imagen plan prompts.csv --template '{{ product }}, {studio|outdoor} light'

    It also shows what you own already, and every prompt that does not fit the model. The API is asked for prices.
    Nothing is bought.

    Exit code: 0 all prompts fit the model, 2 some do not, or bad input.
    """
    del verbose, models
    if regenerations:
        if prompts or given.values.keys() - _ALSO or out is not None:
            raise BadInput("--regenerations: prompts and parameters were said when they were asked for; leave them out")
        return _plan_regenerations(given, catalog, api, base_url, as_json=json)
    if not prompts:
        raise BadInput("name a file of prompts, or --regenerations")
    from ..core.inputs import InputReader
    from ..core.limits.circuit import most_calls
    from ..core.plan import BatchSpec, InvalidPrompts, PlanWriter, make_plan
    from ..core.run.checks import open_terms
    from ..core.storage import open_store
    from .budget import as_dict
    from .catalogs import ledger_if_any
    from .typed import endpoint_of, read_prompts, read_request, read_store

    endpoint = endpoint_of(given, api, base_url)
    source = read_prompts(prompts, given.values.get("format"))
    request = read_request(given, source, endpoint)
    target = open_store(to, **read_store(store)) if to is not None else None
    destination = target.destination if target is not None else None
    with ExitStack() as stack:
        ledger = stack.enter_context(ledger_if_any(catalog))
        reader = InputReader((lambda: ledger) if ledger is not None else None, target, trusted=(endpoint.base_url,))
        spec = open_terms(source, request, endpoint, reader)
        writer = None
        if out is not None:
            if not isinstance(spec, BatchSpec):
                raise BadInput(f"--out: {source} is a plan already")
            writer = stack.enter_context(PlanWriter(out, spec))
        made = make_plan(
            spec,
            ledger,
            destination=destination,
            requests_per_minute=request.limits.requests_per_minute,
            rewrite_fallback=request.policy.rewrite_fallback,
            each=writer.add if writer is not None else None,
        )
        where = ledger.description if ledger is not None else None
        budgets = _budgets(made, ledger)
        refused = bool(made.invalid) and (not request.select.skip_invalid or len(made.invalid) == made.prompts)
        if writer is not None and not refused:
            if not made.exact:
                raise BadInput(f"--out: {made.rows:,} rows are too many for a file; ask for fewer")
            writer.finish(items=made.items)
    at_risk = most_calls(request.limits.concurrency)
    if json:
        print_json(
            {
                **_document(made, destination, where),
                "calls_without_success": at_risk,
                "budgets": [as_dict(state) for state in budgets],
            }
        )
    else:
        _show(stdout(), made, destination, where, at_risk, budgets)
    if refused:
        raise InvalidPrompts(made.invalid, made.prompts)
    return OK


def _budgets(made: Plan, ledger: Ledger | None) -> list[BudgetState]:
    """The budgets of day and month that what is planned would count in."""
    states = ledger.budgets.states() if ledger is not None else []
    return [state for state in states if state.provider in (None, made.model.spec.provider)]


def _plan_regenerations(
    given: Given, catalog: str | None, api: str | None, base_url: str | None, *, as_json: bool
) -> int:
    from ..core.limits.circuit import most_calls
    from ..core.plan import make_plan
    from ..core.providers import Endpoint
    from ..core.review.regenerate import open_batches
    from ..core.run.checks import with_terms
    from .catalogs import existing_ledger
    from .typed import read_request

    request = read_request(given)
    with existing_ledger(catalog) as ledger:
        made = []
        for destination, batch in open_batches(ledger, ledger.revisions.open()):
            endpoint = Endpoint.find(api=api, base_url=base_url, model=batch.model)
            ready = with_terms(batch, endpoint, offline=not request.policy.ask_catalogue)
            rate = request.limits.requests_per_minute
            made.append((make_plan(ready, ledger, destination=destination, requests_per_minute=rate), destination))
        where = ledger.description
    if as_json:
        print_json({"regenerations": [_document(plan, destination, where) for plan, destination in made]})
        return OK
    for plan, destination in made:
        _show(stdout(), plan, destination, where, most_calls(request.limits.concurrency))
    if not made:
        stdout().print("Nothing is to be made anew.")
    return OK


def _document(made: Plan, destination: str | None, catalog: str | None) -> dict[str, Any]:
    from ..core.money import credits_to_usd
    from ..core.providers import load_registry

    spec = made.model.spec
    items = ("items", "duplicates", "owned", "to_copy", "archived", "paid", "held", "refused", "erased", "to_buy")
    counted = ("exact", "prompts", "combinations", "rows", *items, "images", "bytes", "seconds")
    return {
        "model": made.model.name,
        "contract": made.model.contract_name,
        "replaced": made.replaced,
        "omitted": [{"field": one.field, "value": one.value, "why": one.why} for one in made.omitted],
        "notes": list(made.notes),
        "column": made.column,
        "inputs": asdict(made.inputs) if made.inputs is not None else None,
        "lifecycle": spec.lifecycle.model_dump(),
        "returns": load_registry().provider(spec.provider).contract.returns,
        "destination": destination,
        "catalog": catalog,
        **{name: getattr(made, name) for name in counted},
        "price_credits": made.price,
        "price_usd": float(credits_to_usd(made.price)),
        "price_high_credits": made.price_high,
        "price_high_usd": float(credits_to_usd(made.price_high)),
        "rewrites": _rewrites_document(made.rewrites) if made.rewrites is not None else None,
        "price_source": f"{spec.price.source} ({spec.price.as_of})" if spec.price is not None else None,
        "invalid": [{"source": bad.source, "line": bad.line, "problem": bad.problem} for bad in made.invalid],
        "samples": list(made.samples),
    }


def _rewrites_document(made: RewritePlan) -> dict[str, Any]:
    from ..core.money import credits_to_usd

    counted = asdict(made)
    for name in ("price", "price_high"):
        credits_ = counted.pop(name)
        counted |= {f"{name}_credits": credits_, f"{name}_usd": float(credits_to_usd(credits_))}
    return counted


def _show(
    console: Console,
    made: Plan,
    destination: str | None,
    catalog: str | None,
    at_risk: int,
    budgets: Sequence[BudgetState] = (),
) -> None:
    from ..core.money import format_usd
    from ..core.providers import load_registry
    from ..core.run.progress import duration

    spec = made.model.spec
    console.print(
        f"{made.to_buy:,} of {made.items:,} items to buy: {made.images:,} images, {format_usd(made.price)}",
        style="bold",
    )
    a_piece = ""
    if (price := spec.price) is not None:
        most = f", {format_usd(price.credits_high)} at most" if price.credits_high != price.credits else ""
        a_piece = f"{format_usd(price.credits)}{most} ({price.source}, {price.as_of})"
    valid = max(1, made.prompts - len(made.invalid))
    texts = made.rewrites.variations if made.rewrites is not None else 1
    repeats = made.rows // (valid * texts * made.combinations)
    each = f", each rewritten to {texts:,}" if texts > 1 else ""
    each += f", each in {made.combinations:,} combinations" if made.combinations > 1 else ""
    each += f", each {repeats} times" if repeats > 1 else ""
    size = f"about {_size(made.bytes)}" if made.bytes else ""
    if made.seconds:
        size += f"; at least {duration(made.seconds)} at that rate"
    facts(
        console,
        [
            ("model", f"{made.model.name}, contract {made.model.contract_name}"),
            ("in place of", f"{made.replaced}, which is withdrawn" if made.replaced else ""),
            ("left out", "; ".join(map(str, made.omitted))),
            ("price", f"{format_usd(made.price)} expected, {format_usd(made.price_high)} at most"),
            ("an image", a_piece),
            *(
                (state.name.removeprefix("the "), f"{format_usd(state.left)} of {format_usd(state.limit)} left")
                for state in budgets
            ),
            ("size", size),
            ("arrives", _ARRIVES[load_registry().provider(spec.provider).contract.returns]),
            ("at risk", _at_risk(made, at_risk)),
            ("prompts", f"{made.prompts:,}{each}"),
            ("from column", made.column or ""),
            ("pictures", _inputs(made.inputs) if made.inputs is not None else ""),
            ("rewriting", _rewriting(made.rewrites) if made.rewrites is not None else ""),
            ("duplicates", f"{made.duplicates:,}, bought once" if made.duplicates else ""),
            ("invalid", f"{len(made.invalid):,}" if made.invalid else ""),
            ("owned", f"{made.owned:,}, not bought again" if made.owned else ""),
            ("to copy", f"{made.to_copy:,} of them, to where images go to" if made.to_copy else ""),
            ("archived", f"{made.archived:,} of them are not where images go to: {_ARCHIVED}" if made.archived else ""),
            ("paid", f"{made.paid:,}, still to be fetched or stored" if made.paid else ""),
            ("held", f"{made.held:,} that may have been billed (see --unknown of `run`)" if made.held else ""),
            ("erased", f"{made.erased:,} erased on request, not bought again" if made.erased else ""),
            ("refused", f"{made.refused:,} refused or lost before, not asked for again" if made.refused else ""),
            ("images to", destination or ""),
            ("catalog", catalog or "none there yet: nothing is owned"),
        ],
    )
    if not made.exact:
        console.print("\nNote  ", style="bold yellow", end="")
        console.print(
            "These are too many to look at one by one. Counts and prices are upper bounds: what fits the model, comes "
            "twice or is owned is not known.",
            soft_wrap=True,
        )
    for note in filter(None, (_lifecycle(made), *made.notes)):
        console.print("\nNote  ", style="bold yellow", end="")
        console.print(note, soft_wrap=True)
    if made.samples:
        console.print("\nPrompts, a sample", style="bold")
        for text in made.samples:
            console.print(f"  {' '.join(text.split())}", soft_wrap=True)


_ARCHIVED = "neither bought nor copied until `prefect-imagen archive --restore` puts their rows back"


def _at_risk(made: Plan, calls: int) -> str:
    """What is spent at most while nothing succeeds."""
    from ..core.money import format_usd

    if made.to_buy <= calls:
        return ""
    price = made.price_high * calls // made.to_buy
    return f"{calls:,} calls, {format_usd(price)}: while no call or no picture succeeds, buying pauses"


def _rewriting(made: RewritePlan) -> str:
    from ..core.money import format_usd

    text = f"{made.texts:,} texts by {made.model}: {made.to_buy:,} to buy"
    if made.to_buy:
        text += f" for {format_usd(made.price)}, {format_usd(made.price_high)} at most"
    for count, what in (
        (made.owned, "owned"),
        (made.held, "that may have been billed"),
        (made.failed, "that came to nothing before"),
    ):
        text += f"; {count:,} {what}" if count else ""
    return text


def _inputs(made: InputPlan) -> str:
    text = f"{made.pictures:,} go in, {_size(made.bytes)}"
    if made.copies:
        named = "; ".join(made.copies[:_COPIES])
        more = f"; and {len(made.copies) - _COPIES:,} more" if len(made.copies) > _COPIES else ""
        text += f"; of {len(made.copies):,} a smaller copy is sent: {named}{more}"
    return text


def _size(count: int) -> str:
    """Bytes, in the unit that object stores are billed in."""
    for unit, size in (("TB", 10**12), ("GB", 10**9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 10**6:,.1f} MB"


def _lifecycle(made: Plan) -> str:
    lifecycle = made.model.spec.lifecycle
    if not lifecycle.note:
        return ""
    successor = f" Successor: {lifecycle.successor}." if lifecycle.successor else ""
    return f"{lifecycle.note}{successor}"
