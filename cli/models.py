"""`prefect-imagen models`: what can be asked for, at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.request import RunRequest
from . import options
from .commands import Commands, Group
from .console import facts, print_json, stdout, table
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.providers.spec import FieldSpec, ModelSpec, ResolvedModel

_SOON = 90


class _Models(Group):
    """`models NAME` is `models show NAME`, as it was before there were other words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


models = Commands(cls=_Models, name="models")

_OneModel = Annotated[str, typer.Argument(metavar="MODEL", help="Id, alias or MODEL@CONTRACT.")]


@models.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Models with this in their id, title or maker.")
    ] = None,
    takes: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Models that take it: seed, resolution. May be repeated.")
    ] = None,
    aspect_ratio: Annotated[str | None, typer.Option(metavar="W:H", help="Models that make this shape.")] = None,
    num_images: Annotated[
        int | None, typer.Option(metavar="N", help="Models that make this many images per request.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="Models that cost at most this per image.")
    ] = None,
    withdrawn: Annotated[bool, typer.Option("--all", help="Also models that are withdrawn.")] = False,
    models: options.Models = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """List the models, their prices and what they can do.

    prefect-imagen models --takes seed --aspect-ratio 16:9 --max-usd 0.05
    """
    del verbose, models
    if context.invoked_subcommand is not None:
        return OK
    from ..core.providers import load_registry
    from ..core.providers.common_parameters import to_native
    from ..core.providers.spec import ResolvedModel

    asked = {name: value for name, value in (("aspect_ratio", aspect_ratio), ("num_images", num_images)) if value}
    found = []
    for spec in load_registry().models:
        resolved = ResolvedModel(spec, spec.default_contract)
        words = " ".join((*spec.names, spec.title, spec.family)).lower()
        fits = (
            (withdrawn or spec.lifecycle.status != "withdrawn")
            and (search is None or search.lower() in words)
            and all(resolved.contract.field_for(word) for word in takes or ())
            and not to_native(resolved, asked).problems
            and (max_usd is None or (spec.price is not None and spec.price.usd <= max_usd))
        )
        if fits:
            found.append(spec)
    if json:
        print_json([_document(spec) for spec in found])
    elif found:
        _show_all(stdout(), tuple(sorted(found, key=_order)))
    else:
        stdout().print("No model can do all of that.")
    return OK


@models.command()
def show(
    name: _OneModel,
    models: options.Models = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show the fields of one model, and its other contracts.

    prefect-imagen models show google/imagen4/preview
    """
    del verbose, models
    from ..core.providers import load_registry

    resolved = load_registry().resolve(name, allow_withdrawn=True)
    if json:
        print_json({**_document(resolved.spec), "contract": resolved.contract_name})
    else:
        _show_one(stdout(), resolved)
    return OK


@models.command()
@with_flags
def check(
    given: Annotated[Given, FlagsOf(RunRequest, only={"offline"})],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="Which; by default all that the catalog has used.")
    ] = None,
    catalog: options.Catalog = None,
    base_url: options.BaseUrl = None,
    days: Annotated[int, typer.Option(min=0, metavar="N", help="What counts as soon.")] = _SOON,
    models: options.Models = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Show which models are being retired, when, and what replaces them.

      prefect-imagen models check --days 30

    The API's catalogue is asked. If it does not answer, the dates are those of this package.

    Exit code: 0 no model that you use is retired within --days, 1 one is, 2 bad input.
    """
    del verbose, models
    from datetime import UTC, datetime

    from ..core.files import home
    from ..core.providers import Endpoint, load_registry
    from ..core.providers.providers import DEFAULT_PROVIDER
    from .catalogs import ledger_if_any

    offline = "offline" in given.values
    registry = load_registry()
    used = list(names or ())
    if not used:
        with ledger_if_any(catalog) as ledger:
            used = ledger.items.used_models() if ledger is not None else []
    specs = [registry.resolve(name, allow_withdrawn=True).spec for name in dict.fromkeys(used)]
    provider = Endpoint.find(api=DEFAULT_PROVIDER, base_url=base_url).catalog(
        home() / "cache", offline=offline, fresh=True
    )
    today = datetime.now(UTC).date()
    rows = []
    for spec in specs:
        notice = provider.notice(spec)
        left = (notice.shutdown - today).days if notice.shutdown is not None else None
        soon = notice.withdrawn(today) or (left is not None and left <= days)
        rows.append(
            {
                "model": spec.id,
                "status": "withdrawn" if notice.withdrawn(today) else notice.status,
                "shutdown": notice.shutdown.isoformat() if notice.shutdown is not None else None,
                "days": left,
                "successor": notice.successor,
                "listed": provider.lists(spec),
                "soon": soon,
                "reason": notice.reason,
            }
        )
    if json:
        asked = provider.heard_at.isoformat() if provider.heard_at is not None else None
        print_json({"models": rows, "catalogue_heard_at": asked, "problem": provider.problem})
    else:
        _show_check(stdout(), rows, provider.problem)
    return INCOMPLETE if any(row["soon"] for row in rows) else OK


def _show_check(console: Console, rows: list[dict[str, Any]], problem: str) -> None:
    if not rows:
        console.print("No model has been used yet. Name some: prefect-imagen models check MODEL")
        return
    shown = table("model", "state", "shut down", "days left", "successor", right=("days left",))
    for row in rows:
        style = "bold red" if row["soon"] else ""
        left = "" if row["days"] is None else f"{row['days']:,}"
        shown.add_row(row["model"], row["status"], row["shutdown"] or "", left, row["successor"] or "", style=style)
    console.print(shown)
    for reason in dict.fromkeys(row["reason"] for row in rows if row["reason"] and row["soon"]):
        console.print(reason, soft_wrap=True)
    if problem:
        console.print(f"{problem}: what this package knows is shown.", style="dim", soft_wrap=True)


def _document(spec: ModelSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _order(spec: ModelSpec) -> tuple[bool, bool, int, str]:
    """Those that can be used first, the cheapest first."""
    gone = spec.lifecycle.status == "withdrawn" or spec.lifecycle.upstream_shutdown is not None
    return gone, spec.price is None, spec.price.credits if spec.price is not None else 0, spec.id


def _show_all(console: Console, specs: tuple[ModelSpec, ...]) -> None:
    from ..core.money import format_usd
    from ..core.providers.spec import ResolvedModel

    rows = table("model", "an image", "prompt", "state", right=("an image", "prompt"))
    rows.columns[0].no_wrap = True  # an id is there to be copied
    notes: dict[str, None] = {}
    for spec in specs:
        limit = ResolvedModel(spec, spec.default_contract).contract.prompt_limit
        state: str = spec.lifecycle.status
        if spec.lifecycle.withdrawn_at:
            state = f"withdrawn {spec.lifecycle.withdrawn_at}, now {spec.lifecycle.successor}"
        elif spec.lifecycle.upstream_shutdown:
            state = f"shut down {spec.lifecycle.upstream_shutdown}"
        if spec.lifecycle.note:
            notes[spec.lifecycle.note] = None
        price = format_usd(spec.price.credits) if spec.price else "ask"
        rows.add_row(spec.id, price, f"≤ {limit}" if limit else "any", state)
    console.print(rows)
    for note in notes:
        console.print("Note  ", style="bold yellow", end="")
        console.print(note, soft_wrap=True)
    console.print("\n`prefect-imagen models show MODEL` shows its fields, shapes, aliases and contracts.", style="dim")


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
        case "number":
            return f"{field.minimum} to {field.maximum}"
        case "list":
            return "a list"
        case "choice":
            return ", ".join(field.choices)
    return "text"
