"""`prefect-imagen models`: what can be asked for, at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .console import facts, print_json, stdout, table
from .failures import OK

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.aimlapi.registry import FieldSpec, ModelSpec, ResolvedModel

__all__ = ["models"]


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Id, alias or MODEL@CONTRACT, for all its fields.")
    ] = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """List the known models; with a name, everything that can be asked of one.

    [dim]prefect-imagen models google/imagen4/preview[/dim]
    """
    del verbose
    from ..core.aimlapi import load_registry

    registry = load_registry()
    if name is not None:
        resolved = registry.resolve(name, allow_withdrawn=True)
        if json:
            print_json({**_document(resolved.spec), "contract": resolved.contract_name})
        else:
            _show_one(stdout(), resolved)
    elif json:
        print_json([_document(spec) for spec in registry.models])
    else:
        _show_all(stdout(), registry.models)
    return OK


def _document(spec: ModelSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _ratios(resolved: ResolvedModel) -> str:
    field = resolved.contract.fields.get("aspect_ratio")
    return " ".join(field.choices if field is not None else resolved.contract.aspect_ratios or ())


def _show_all(console: Console, specs: tuple[ModelSpec, ...]) -> None:
    from ..core.aimlapi.registry import ResolvedModel
    from ..core.money import format_usd

    rows = table("model", "an image", "aspect ratios", "prompt", "state", right=("an image", "prompt"))
    notes: dict[str, None] = {}
    for spec in specs:
        resolved = ResolvedModel(spec, spec.default_contract)
        limit = resolved.contract.prompt_limit
        names = "\n".join((spec.id, *(f"  = {alias.name}" for alias in spec.aliases)))
        state: str = spec.lifecycle.status
        if spec.lifecycle.withdrawn_at:
            state = f"withdrawn {spec.lifecycle.withdrawn_at}\nnow {spec.lifecycle.successor}"
        elif spec.lifecycle.upstream_shutdown:
            state = f"{state}; upstream\nshut {spec.lifecycle.upstream_shutdown}"
        if spec.lifecycle.note:
            notes[spec.lifecycle.note] = None
        rows.add_row(
            names,
            format_usd(spec.price.credits) if spec.price else "ask",
            _ratios(resolved),
            f"≤ {limit}" if limit else "any",
            state,
        )
    console.print(rows)
    for note in notes:
        console.print("Note  ", style="bold yellow", end="")
        console.print(note, soft_wrap=True)
    console.print("\n`prefect-imagen models MODEL` shows every field, and a model's other contracts.", style="dim")


def _show_one(console: Console, resolved: ResolvedModel) -> None:
    from ..core.money import format_usd

    spec, contract = resolved.spec, resolved.contract
    price = "no public price: the API's catalogue is asked"
    if spec.price is not None:
        price = format_usd(spec.price.credits)
        if spec.price.credits_high != spec.price.credits:
            price += f", at most {format_usd(spec.price.credits_high)}"
        price += f" ({spec.price.source}, {spec.price.as_of})"
    limit = contract.prompt_limit
    lifecycle = spec.lifecycle
    console.print(f"{spec.title}  ", style="bold", end="")
    console.print(resolved.name)
    facts(
        console,
        [
            ("aliases", ", ".join(_alias(spec, alias.name) for alias in spec.aliases)),
            ("an image", price),
            ("prompt", f"up to {limit:,} characters" if limit else "no limit is stated"),
            ("pixels", ", ".join(f"{name} {width}×{height}" for name, (width, height) in spec.pixels.items())),
            ("state", " ".join(filter(None, (lifecycle.status, lifecycle.withdrawn_at)))),
            ("note", lifecycle.note or ""),
            ("successor", lifecycle.successor or ""),
            ("source", contract.source),
        ],
    )
    rows = table("field", "values", "default", "", title=f"\nFields of contract {resolved.contract_name}")
    for name, field in contract.fields.items():
        default = "" if field.default is None else str(field.default).lower()
        rows.add_row(name, _values(field), default, field.description)
    console.print(rows)
    if contract.aspect_ratios:
        pairs = ", ".join(f"{ratio} = {size}" for ratio, size in contract.aspect_ratios.items())
        console.print(f"--aspect-ratio works here, too: {pairs}", soft_wrap=True)
    console.print("Fields without an option of their own are given as --set NAME=VALUE.", style="dim")
    if len(spec.contracts) > 1:
        others = table("contract", "documented", "prompt", "fields", title="\nContracts")
        for name, other in spec.contracts.items():
            mark = f"{name} *" if name == resolved.contract_name else name
            limit = other.prompt_limit
            others.add_row(mark, other.since, f"≤ {limit:,}" if limit else "any", ", ".join(other.fields))
        console.print(others)
        console.print(
            f"Choose one as {spec.id}@CONTRACT; without it {spec.default_contract} is used. A contract is only how one "
            "asks: the same prompt through another one is the same purchase.",
            soft_wrap=True,
        )


def _alias(spec: ModelSpec, name: str) -> str:
    bound = next(alias.contract for alias in spec.aliases if alias.name == name)
    return f"{name} (contract {bound})" if bound else name


def _values(field: FieldSpec) -> str:
    match field.kind:
        case "boolean":
            return "true, false"
        case "integer":
            low, high = ("…" if bound is None else f"{bound}" for bound in (field.minimum, field.maximum))
            return f"{low} to {high}"
        case "size":
            return f"{', '.join(field.choices)}, or WIDTHxHEIGHT of {field.minimum} to {field.maximum} pixels"
        case "choice":
            return ", ".join(field.choices)
    return "text"
