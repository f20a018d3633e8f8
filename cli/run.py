"""`prefect-imagen run`: buy, verify, deliver and catalog an image for every prompt."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import BadInput
from . import options
from .console import print_json, stderr, stdout

if TYPE_CHECKING:
    from .job import Ready

__all__ = ["run"]

_KEY = "AIMLAPI_API_KEY"
_ASK_ABOVE_USD = 10
_HOW = "How"
_MONEY = "Money"
_DEFAULT_MODEL = "google/imagen4/preview"


class _OnIncomplete(StrEnum):
    FAIL = "fail"
    WARN = "warn"


class _Unknown(StrEnum):
    HOLD = "hold"
    RETRY = "retry"
    FAIL = "fail"


def run(
    context: typer.Context,
    prompts: options.Prompts,
    to: Annotated[
        str, typer.Option("--to", metavar="DEST", help="s3://bucket/prefix or a folder.", rich_help_panel="Where to")
    ],
    catalog: options.Catalog = None,
    endpoint_url: options.EndpointUrl = None,
    sse: options.Sse = None,
    kms_key_id: options.KmsKeyId = None,
    storage_class: options.StorageClass = None,
    object_tag: options.ObjectTag = None,
    tag_objects: options.TagObjects = False,
    role_arn: options.RoleArn = None,
    external_id: options.ExternalId = None,
    key_template: options.KeyTemplate = None,
    adopt_ledger: Annotated[
        bool,
        typer.Option("--adopt-ledger", help="Take over a destination of another ledger.", rich_help_panel="Where to"),
    ] = False,
    prompt_column: options.PromptColumn = None,
    template: options.Template = None,
    no_variants: options.NoVariants = False,
    wildcards: options.Wildcards = None,
    exclude: options.Exclude = None,
    per_row: options.PerRow = None,
    limit: options.Limit = None,
    sample: options.Sample = None,
    sample_seed: options.SampleSeed = 0,
    max_prompts: options.MaxPrompts = None,
    skip_invalid: options.SkipInvalid = False,
    rewrite: options.Rewrite = None,
    rewrites: options.Rewrites = 1,
    brief: options.Brief = None,
    rewrite_fallback: options.RewriteFallback = options.FAIL,
    rewrite_price: options.RewritePrice = None,
    model: options.Model = _DEFAULT_MODEL,
    aspect_ratio: options.AspectRatio = None,
    num_images: options.NumImages = None,
    seed: options.Seed = None,
    further: options.Set = None,
    matrix: options.Matrix = None,
    fallback: options.Fallback = None,
    lenient: options.Lenient = False,
    models: options.Models = None,
    edition: options.Edition = "",
    repeat: options.Repeat = 1,
    budget_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Most this run may cost; nothing beyond it is sent.", rich_help_panel=_MONEY),
    ] = None,
    unknown: Annotated[
        _Unknown,
        typer.Option(
            help="Items that may have been billed: hold them for you to decide, retry them now (may pay twice), or "
            "fail: the next run buys them again.",
            rich_help_panel=_MONEY,
        ),
    ] = _Unknown.HOLD,
    retry_refused: Annotated[
        bool,
        typer.Option("--retry-refused", help="Ask again for what the provider refused.", rich_help_panel=_MONEY),
    ] = False,
    trust_unbilled_5xx: Annotated[
        bool,
        typer.Option(
            "--trust-unbilled-5xx",
            help="Take a 5xx as unbilled, as the API's docs say, and try again; without it such a call is unknown.",
            rich_help_panel=_MONEY,
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help=f"Do not ask before spending more than ${_ASK_ABOVE_USD}.", rich_help_panel=_MONEY
        ),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, max=512, metavar="N", help="Paid calls in flight.", rich_help_panel=_HOW)
    ] = 8,
    requests_per_minute: options.RequestsPerMinute = None,
    offline: options.Offline = False,
    shared_concurrency: options.SharedConcurrency = None,
    chunk_size: Annotated[
        str, typer.Option(metavar="N|auto", help="Items of one Prefect task run.", rich_help_panel=_HOW)
    ] = "auto",
    patience: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="How long to wait for a store that is away.",
            rich_help_panel=_HOW,
        ),
    ] = 120.0,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=3600,
            metavar="SECONDS",
            help="When stopped, how long calls in flight have to be answered.",
            rich_help_panel=_HOW,
        ),
    ] = 25.0,
    spool_max_bytes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="BYTES",
            help="Paid and not stored yet, above which nothing more is bought.",
            show_default="10 GiB",
            rich_help_panel=_HOW,
        ),
    ] = 10 * 2**30,
    on_incomplete: Annotated[
        _OnIncomplete,
        typer.Option(help="How Prefect shows a run that left something undone.", rich_help_panel=_HOW),
    ] = _OnIncomplete.FAIL,
    base_url: options.BaseUrl = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="Label kept with every image.", rich_help_panel="Output"),
    ] = None,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Generate, verify, deliver and catalog an image for every prompt; buy nothing that is owned.

    [dim]prefect-imagen run prompts.csv --to s3://bucket/spring --aspect-ratio 16:9 --budget-usd 25[/dim]

    The key is taken from AIMLAPI_API_KEY, S3 credentials from where AWS tools look.
    The same command again buys only what is missing.

    Exit code: 0 all delivered, 1 something is missing (the report says what), 2 bad input.
    """
    del models
    from ..core.aimlapi import DEFAULT_BASE_URL
    from .batch import Batch, read_pairs, typed_options
    from .catalogs import catalog_url
    from .job import Job
    from .logs import set_up
    from .stores import store_options
    from .summary import print_summary

    if chunk_size != "auto" and not chunk_size.isdecimal():
        raise BadInput(f"--chunk-size: {chunk_size!r} is not allowed (1 to 1000, or auto)")
    job = Job(
        batch=Batch.typed(
            prompts=prompts,
            prompt_column=prompt_column,
            template=template,
            variants=not no_variants,
            wildcards=wildcards,
            exclude=exclude,
            per_row=per_row,
            limit=limit,
            sample=sample,
            sample_seed=sample_seed,
            max_prompts=max_prompts,
            model=model,
            aspect_ratio=aspect_ratio,
            num_images=num_images,
            seed=seed,
            further=further,
            matrix=matrix,
            fallback=fallback,
            lenient=lenient,
            edition=edition,
            repeat=repeat,
            skip_invalid=skip_invalid,
            rewrite=rewrite,
            rewrites=rewrites,
            brief=brief,
            rewrite_price=rewrite_price,
            options=typed_options(context),
        ),
        to=to,
        api_key=os.environ.get(_KEY, "").strip(),
        base_url=base_url or DEFAULT_BASE_URL,
        catalog=catalog_url(catalog),
        store_options=store_options(
            endpoint_url=endpoint_url,
            sse=sse,
            kms_key_id=kms_key_id,
            storage_class=storage_class,
            object_tags=read_pairs(object_tag, "--object-tag"),
            run_tags=tag_objects,
            role_arn=role_arn,
            external_id=external_id,
        ),
        options={
            "tag": read_pairs(tag, "--tag"),
            "budget_usd": budget_usd,
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "shared_concurrency": shared_concurrency,
            "chunk_size": chunk_size if chunk_size == "auto" else int(chunk_size),
            "unknown": unknown.value,
            "retry_refused": retry_refused,
            "trust_unbilled_5xx": trust_unbilled_5xx,
            "rewrite_fallback": rewrite_fallback.value,
            "on_incomplete": on_incomplete.value,
            "offline": offline,
            "key_template": key_template,
            "adopt_ledger": adopt_ledger,
            "patience": patience,
            "drain_seconds": drain_seconds,
            "spool_max_bytes": spool_max_bytes,
        },
    )
    ready = job.check()
    arguments = context.obj or tuple(sys.argv[1:])
    if not yes:
        _ask(ready)
    set_up(verbose=verbose)
    ended = ready.run(verbose=verbose, live=stderr().is_terminal and not verbose)
    if ended.report is None:
        stderr().print("Nothing was sent.")
    elif json:
        print_json(ended.report.as_dict())
    else:
        print_summary(stdout(), ended.report, arguments)
    return ended.exit_code


def _ask(ready: Ready) -> None:
    """On a terminal, ask before spending much; where nobody can answer, the budget is what bounds the spending.

    Raises:
        typer.Abort: The answer is no.
    """
    if not (sys.stdin.isatty() and stderr().is_terminal):
        return
    from ..core.money import format_usd, usd_to_credits
    from ..core.plan import make_plan

    spec, most = ready.batch, usd_to_credits(_ASK_ABOVE_USD)
    if spec.rewrite is None and ready.prompts * spec.repeat * sum(form.price for form in spec.forms()) <= most:
        return
    plan = make_plan(spec, ready.ledger)
    if plan.price > most:
        price = f"{format_usd(plan.price)} (at most {format_usd(plan.price_high)})"
        if ready.prepared.request.budget_usd is not None:
            price += f", under a budget of ${ready.prepared.request.budget_usd:,.2f}"
        typer.confirm(f"Buy {plan.images:,} images for about {price}?", abort=True, err=True)
