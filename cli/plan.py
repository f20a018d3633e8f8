"""`prefect-imagen plan`: what a run would buy and cost. Sends nothing, makes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import options
from .console import facts, print_json, stdout
from .failures import OK

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.plan import Plan

__all__ = ["plan"]


def plan(
    prompts: options.Prompts,
    to: options.OptionalDestination = None,
    catalog: options.Catalog = None,
    endpoint_url: options.EndpointUrl = None,
    prompt_column: options.PromptColumn = None,
    template: options.Template = None,
    no_variants: options.NoVariants = False,
    limit: options.Limit = None,
    sample: options.Sample = None,
    sample_seed: options.SampleSeed = 0,
    skip_invalid: options.SkipInvalid = False,
    model: options.Model = "google/imagen4/preview",
    aspect_ratio: options.AspectRatio = None,
    num_images: options.NumImages = None,
    seed: options.Seed = None,
    further: options.Set = None,
    edition: options.Edition = "",
    repeat: options.Repeat = 1,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show what a run would buy and cost, what is owned already, and every prompt that does not fit.

    [dim]prefect-imagen plan prompts.csv --template '{{ product }}, {studio|outdoor} light'[/dim]

    Sends nothing and makes nothing. Exit code 2 if prompts do not fit the model.
    """
    del verbose
    from ..core.plan import InvalidPrompts, make_plan
    from ..core.storage import open_store
    from .batch import Batch
    from .catalogs import existing_ledger

    batch = Batch.typed(
        prompts=prompts,
        prompt_column=prompt_column,
        template=template,
        variants=not no_variants,
        limit=limit,
        sample=sample,
        sample_seed=sample_seed,
        model=model,
        aspect_ratio=aspect_ratio,
        num_images=num_images,
        seed=seed,
        further=further,
        edition=edition,
        repeat=repeat,
        skip_invalid=skip_invalid,
    )
    destination = open_store(to, endpoint_url=endpoint_url).destination if to is not None else None
    with existing_ledger(catalog, required=False) as ledger:
        made = make_plan(batch.spec(), ledger)
        where = ledger.description if ledger is not None else None
    if json:
        print_json(_document(made, destination, where))
    else:
        _show(stdout(), made, destination, where)
    if made.invalid and (not skip_invalid or len(made.invalid) == made.prompts):
        raise InvalidPrompts(made.invalid, made.prompts)
    return OK


def _document(made: Plan, destination: str | None, catalog: str | None) -> dict[str, Any]:
    from ..core.money import credits_to_usd

    spec = made.model.spec
    counted = ("prompts", "rows", "items", "duplicates", "owned", "paid", "held", "refused", "to_buy", "images")
    return {
        "model": made.model.name,
        "contract": made.model.contract_name,
        "lifecycle": spec.lifecycle.model_dump(),
        "destination": destination,
        "catalog": catalog,
        **{name: getattr(made, name) for name in counted},
        "price_credits": made.price,
        "price_usd": float(credits_to_usd(made.price)),
        "price_high_credits": made.price_high,
        "price_high_usd": float(credits_to_usd(made.price_high)),
        "price_source": f"{spec.price.source} ({spec.price.as_of})",
        "invalid": [{"source": bad.source, "line": bad.line, "problem": bad.problem} for bad in made.invalid],
        "samples": list(made.samples),
    }


def _show(console: Console, made: Plan, destination: str | None, catalog: str | None) -> None:
    from ..core.money import format_usd

    spec = made.model.spec
    console.print(
        f"{made.to_buy:,} of {made.items:,} items to buy: {made.images:,} images, {format_usd(made.price)}",
        style="bold",
    )
    price = spec.price
    a_piece = format_usd(price.credits)
    if price.credits_high != price.credits:
        a_piece += f", {format_usd(price.credits_high)} at most"
    repeats = made.rows // max(1, made.prompts - len(made.invalid))
    facts(
        console,
        [
            ("model", f"{made.model.name}, contract {made.model.contract_name}"),
            ("price", f"{format_usd(made.price)} expected, {format_usd(made.price_high)} at most"),
            ("an image", f"{a_piece} ({price.source}, {price.as_of})"),
            ("prompts", f"{made.prompts:,}" + (f", each {repeats} times" if repeats > 1 else "")),
            ("duplicates", f"{made.duplicates:,}, bought once" if made.duplicates else ""),
            ("invalid", f"{len(made.invalid):,}" if made.invalid else ""),
            ("owned", f"{made.owned:,}, not bought again" if made.owned else ""),
            ("paid", f"{made.paid:,}, still to be fetched or stored" if made.paid else ""),
            ("held", f"{made.held:,} that may have been billed (see --unknown of `run`)" if made.held else ""),
            ("refused", f"{made.refused:,} refused or lost before, not asked for again" if made.refused else ""),
            ("images to", destination or ""),
            ("catalog", catalog or "none there yet: nothing is owned"),
        ],
    )
    if spec.lifecycle.note:
        console.print("\nNote  ", style="bold yellow", end="")
        console.print(_lifecycle(made), soft_wrap=True)
    if made.samples:
        console.print("\nPrompts, a sample", style="bold")
        for text in made.samples:
            console.print(f"  {' '.join(text.split())}", soft_wrap=True)


def _lifecycle(made: Plan) -> str:
    lifecycle = made.model.spec.lifecycle
    successor = f" Successor: {lifecycle.successor}." if lifecycle.successor else ""
    return f"{lifecycle.note}{successor}"
