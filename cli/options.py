"""The options that several commands share, each described once."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "AspectRatio",
    "BaseUrl",
    "Brief",
    "Catalog",
    "Edition",
    "EndpointUrl",
    "Exclude",
    "ExternalId",
    "Fallback",
    "Json",
    "KeyTemplate",
    "KmsKeyId",
    "Lenient",
    "Limit",
    "Matrix",
    "MaxPrompts",
    "Model",
    "Models",
    "NoVariants",
    "NumImages",
    "ObjectTag",
    "Offline",
    "OptionalDestination",
    "PerRow",
    "PromptColumn",
    "Prompts",
    "Repeat",
    "RequestsPerMinute",
    "Rewrite",
    "RewriteFallback",
    "RewritePrice",
    "Rewrites",
    "RoleArn",
    "Sample",
    "SampleSeed",
    "Seed",
    "Set",
    "SharedConcurrency",
    "SkipInvalid",
    "Sse",
    "StorageClass",
    "TagObjects",
    "Template",
    "Traceback",
    "Verbose",
    "Wildcards",
]

_WHICH = "Which prompts"
_REWRITING = "Rewriting prompts"
_WHAT = "Which image"
_WHERE = "Where to"
_STORE = "S3"
_HOW = "How"
_OUTPUT = "Output"


class _Fallback(StrEnum):
    KEEP = "keep"
    FAIL = "fail"


FAIL = _Fallback.FAIL

Prompts = Annotated[
    str,
    typer.Argument(
        metavar="PROMPTS",
        help="File or s3:// object of prompts: TXT, CSV, TSV, JSONL or Parquet; or a plan of `plan --out`.",
    ),
]

PromptColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column with the prompt; found by itself if obvious.", rich_help_panel=_WHICH),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|@FILE",
        help="Jinja2 template over a row's columns: '{{ product }} on {marble|oak}'.",
        rich_help_panel=_WHICH,
    ),
]
NoVariants = Annotated[
    bool,
    typer.Option("--no-variants", help="Take {a|b} literally; else it makes two prompts.", rich_help_panel=_WHICH),
]
Wildcards = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Where the values of __name__ lie: a folder or s3://….", rich_help_panel=_WHICH
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE", help="Leave out combinations: 'snow & beach'. May be repeated.", rich_help_panel=_WHICH
    ),
]
PerRow = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="N prompts of each row, drawn at random.", rich_help_panel=_WHICH),
]
MaxPrompts = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Refuse more prompts than this.", rich_help_panel=_WHICH)
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="The first N prompts only.", rich_help_panel=_WHICH)
]
Sample = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="N prompts drawn at random.", rich_help_panel=_WHICH)
]
SampleSeed = Annotated[int, typer.Option(metavar="SEED", help="Another seed, another sample.", rich_help_panel=_WHICH)]
SkipInvalid = Annotated[
    bool,
    typer.Option("--skip-invalid", help="Leave out prompts that do not fit the model.", rich_help_panel=_WHICH),
]

Rewrite = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Have a language model rewrite each prompt first: openai/gpt-4o-mini.",
        rich_help_panel=_REWRITING,
    ),
]
Rewrites = Annotated[
    int,
    typer.Option(
        min=1, max=100, metavar="N", help="Texts of each prompt, each with its own images.", rich_help_panel=_REWRITING
    ),
]
Brief = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|@FILE", help="What the new texts should be like: 'calm, hand-drawn'.", rich_help_panel=_REWRITING
    ),
]
RewriteFallback = Annotated[
    _Fallback,
    typer.Option(
        help="An image whose prompt could not be rewritten: fail, or keep the prompt as it is.",
        rich_help_panel=_REWRITING,
    ),
]
RewritePrice = Annotated[
    str | None,
    typer.Option(
        metavar="IN,OUT",
        help="USD per million tokens, for a language model whose price is not known.",
        rich_help_panel=_REWRITING,
    ),
]

Model = Annotated[
    str,
    typer.Option(metavar="MODEL", help="Id, alias or MODEL@CONTRACT: `models` lists them.", rich_help_panel=_WHAT),
]
AspectRatio = Annotated[
    str | None, typer.Option(metavar="W:H", help="Such as 16:9; the model's default is 1:1.", rich_help_panel=_WHAT)
]
NumImages = Annotated[
    int | None, typer.Option(metavar="N", help="Images a request; every one is paid.", rich_help_panel=_WHAT)
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="SEED", help="The same for every prompt; else each has its own.", rich_help_panel=_WHAT),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Another field: --set enhance_prompt=false.", rich_help_panel=_WHAT
    ),
]
Matrix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=V1,V2",
        help="Each prompt with each value: aspect_ratio=1:1,16:9. May be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Fallback = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL[,MODEL]",
        help="Models that stand in once the model is withdrawn; parameters are translated.",
        rich_help_panel=_WHAT,
    ),
]
Lenient = Annotated[
    bool,
    typer.Option(
        "--lenient", help="Leave out parameters the model cannot do; the report says which.", rich_help_panel=_WHAT
    ),
]
Edition = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Another edition buys fresh images of the same prompts; {scheduled_date} is today (UTC).",
        rich_help_panel=_WHAT,
    ),
]
Repeat = Annotated[
    int, typer.Option(min=1, max=1000, metavar="N", help="Images of each prompt, each paid.", rich_help_panel=_WHAT)
]

OptionalDestination = Annotated[
    str | None,
    typer.Option("--to", metavar="DEST", help="s3://bucket/prefix or a folder.", rich_help_panel=_WHERE),
]
Catalog = Annotated[
    str | None,
    typer.Option(
        envvar="PREFECT_IMAGEN_CATALOG",
        metavar="URL|PATH",
        help="Ledger and catalog: SQLite file or postgresql://… (default: ~/.prefect-imagen/ledger.db)",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Address of an S3 server that is not AWS.", rich_help_panel=_WHERE),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="AIMLAPI_BASE_URL",
        metavar="URL",
        help="An API that is not the public one, such as a sandbox.",
        rich_help_panel=_HOW,
    ),
]
Sse = Annotated[
    str | None,
    typer.Option(metavar="AES256|aws:kms|aws:kms:dsse", help="Encryption by the S3 server.", rich_help_panel=_STORE),
]
KmsKeyId = Annotated[str | None, typer.Option(metavar="KEY", help="KMS key: id, alias or ARN.", rich_help_panel=_STORE)]
StorageClass = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="STANDARD_IA, INTELLIGENT_TIERING, …", rich_help_panel=_STORE),
]
ObjectTag = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="S3 tag of every image. May be repeated.", rich_help_panel=_STORE),
]
TagObjects = Annotated[
    bool, typer.Option("--tag-objects", help="Put the run's --tag onto its images, as S3 tags.", rich_help_panel=_STORE)
]
RoleArn = Annotated[
    str | None, typer.Option(metavar="ARN", help="AWS role to assume for the store.", rich_help_panel=_STORE)
]
ExternalId = Annotated[str | None, typer.Option(metavar="ID", help="If the role asks for one.", rich_help_panel=_STORE)]
KeyTemplate = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Names of objects; default: {model}/{item_id}/{call}-{index}.{ext}",
        rich_help_panel=_STORE,
        show_default=False,
    ),
]

Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Do not ask the API's catalogue for prices and withdrawn models first.",
        rich_help_panel=_HOW,
    ),
]


def _use_models(path: str | None) -> str | None:
    """Let the registry, and every process that this one starts, read the file."""
    if path:
        os.environ["PREFECT_IMAGEN_MODELS"] = path
    return path


Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        envvar="PREFECT_IMAGEN_MODELS",
        metavar="FILE",
        help="Models of your own, or other prices: YAML or JSON (docs/models.md).",
        rich_help_panel=_WHAT,
        callback=_use_models,
        is_eager=True,
        show_default=False,
    ),
]
RequestsPerMinute = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Highest rate of paid calls, over all runs with this key and model; else learnt from 429s.",
        rich_help_panel=_HOW,
    ),
]
SharedConcurrency = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Paid calls in flight over all runs with this key and model.", rich_help_panel=_HOW
    ),
]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=_OUTPUT)]
Traceback = Annotated[
    bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.", rich_help_panel=_OUTPUT)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show Prefect's own log, and tracebacks.", rich_help_panel=_OUTPUT)
]
