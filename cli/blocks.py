"""`prefect-imagen blocks`: the three blocks a deployment refers to, each tried before it is saved."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput, ImagenError
from ..core.store_options import StoreOptions
from . import options
from .commands import Commands
from .console import print_json, stdout, table
from .exit_codes import OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from prefect.blocks.core import Block

    from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
    from ..blocks.credentials import ApiCredentials
    from ..core.providers import Endpoint

_BLOCKS = "Blocks"

blocks = Commands()


@blocks.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    """Create the Prefect blocks that deployments use."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@blocks.command("create")
@with_flags
def create(
    store: Annotated[Given, FlagsOf(StoreOptions, only={"endpoint_url", "region"})],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of all three.", rich_help_panel=_BLOCKS)] = "main",
    to: Annotated[
        str | None,
        typer.Option(
            envvar="PREFECT_IMAGEN_TO",
            metavar="DEST",
            help="s3://bucket/prefix, or a folder.",
            rich_help_panel="Where to",
        ),
    ] = None,
    catalog: options.Catalog = None,
    save_s3_keys: Annotated[
        bool,
        typer.Option(
            "--save-s3-keys",
            help="Keep AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the block; else each worker's AWS chain is used.",
            rich_help_panel="Where to",
        ),
    ] = False,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Create or update the three blocks: key, destination, catalog.

      prefect-imagen blocks create --to s3://my-images/spring

    Each block is tried against its service first. Nothing is saved unless all of them work. The API key comes from
    AIMLAPI_API_KEY (with --api from OPENAI_API_KEY, GEMINI_API_KEY or FAL_KEY). On a terminal you are asked for what
    is missing, and a key is not shown; elsewhere it is an error.
    """
    del verbose
    from ..core.providers import Endpoint
    from .checks import check_prefect

    check_prefect()
    endpoint = Endpoint.find(api=api, base_url=base_url)
    provider = endpoint.provider
    key = provider.key()
    if not key and provider.wants_key(endpoint.base_url):
        key = _asked(None, f"API key of {provider.label}", provider.key_variable, hide=True)
    destination = _asked(to, "Where images go (s3://bucket/prefix, or a folder)", "--to")
    made = _make(key, endpoint, destination, store.values, catalog, save_s3_keys=save_s3_keys)
    found = _check(made)
    saved = [(block, *_save(block, name), sentence) for block, sentence in zip(made, found, strict=True)]
    references = {
        field: {"$ref": {"block_document_slug": f"{block.get_block_type_slug()}/{name}"}}
        for field, block in zip(("credentials", "store", "catalog"), made, strict=True)
    }
    if json:
        documents = [
            {"block": slug, "type": type(block).__name__, "state": state, "checked": sentence}
            for block, slug, state, sentence in saved
        ]
        print_json({"blocks": documents, "parameters": references})
        return OK
    console = stdout()
    rows = table("block", "", "checked")
    for _, slug, state, sentence in saved:
        rows.add_row(slug, state, sentence)
    console.print(rows)
    console.print("In a deployment", style="bold")
    console.print("  parameters:")
    for field, reference in references.items():
        slug = reference["$ref"]["block_document_slug"]
        console.print(f"    {field}: {{ $ref: {{ block_document_slug: {slug} }} }}", soft_wrap=True)
    return OK


def _asked(given: str | None, question: str, where: str, *, hide: bool = False) -> str:
    """A setting as given; else from the terminal.

    Raises:
        BadInput: It is missing and there is no terminal.
    """
    if given and given.strip():
        return given.strip()
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadInput(f"{where} is not set, and there is no terminal to ask for it")
    return str(typer.prompt(question, hide_input=hide, err=True)).strip()


def _make(
    key: str,
    endpoint: Endpoint,
    destination: str,
    given: Mapping[str, Any],
    catalog: str | None,
    *,
    save_s3_keys: bool,
) -> tuple[ApiCredentials, S3ImageStore | LocalImageStore, ImageCatalog]:
    from pathlib import Path

    from pydantic import SecretStr

    from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
    from ..blocks.credentials import credentials_for
    from ..blocks.stores import store_block
    from ..core.ledger import normalise_url
    from .catalogs import catalog_url

    store = store_block(destination, endpoint_url=given.get("endpoint_url"))
    if isinstance(store, S3ImageStore):
        extra: dict[str, Any] = {"region": given.get("region")}
        if save_s3_keys:
            extra |= {field: _from_environment(variable) for field, variable in _S3_KEYS.items()}
        store = store.model_copy(update=extra)
    elif given.get("region") or save_s3_keys:
        raise BadInput(f"--region and --save-s3-keys go with s3://bucket/prefix, not with the folder {destination}")
    else:
        store = LocalImageStore(folder=str(Path(store.folder).expanduser().absolute()))
    # In a form that is good in any folder: a worker's is not this one.
    url = normalise_url(catalog_url(catalog)).render_as_string(hide_password=False)
    return (
        credentials_for(endpoint, key),
        store,
        ImageCatalog(url=SecretStr(url)),
    )


_S3_KEYS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}


def _from_environment(variable: str) -> Any:
    from pydantic import SecretStr

    value = os.environ.get(variable)
    if value:
        return SecretStr(value)
    if variable == "AWS_SESSION_TOKEN":
        return None
    raise BadInput(f"--save-s3-keys: {variable} is not set")


def _check(made: tuple[ApiCredentials, S3ImageStore | LocalImageStore, ImageCatalog]) -> tuple[str, str, str]:
    """Try all three, the free and harmless first.

    Raises:
        BadInput: Everything that is wrong, at once.
    """
    from .checks import check_api, check_store, describe_ledger, one_line

    credentials, store, catalog = made
    steps: tuple[Callable[[], str], ...] = (
        lambda: check_api(credentials.get_client()),
        lambda: check_store(store.get_store()),
        lambda: describe_ledger(catalog.get_ledger()),
    )
    found: list[str] = []
    wrong: list[str] = []
    for step in steps:
        try:
            found.append(step())
        except ImagenError as error:
            wrong.append(one_line(error))
    if wrong:
        raise BadInput("\n  ".join(["nothing was saved:", *wrong]))
    return found[0], found[1], found[2]


def _save(block: Block, name: str) -> tuple[str, str]:
    """Save a block; returns its slug and what that did."""
    kind = type(block)
    try:
        there: Any = kind.load(name)
    except ValueError:
        there = None
    slug = f"{kind.get_block_type_slug()}/{name}"
    if there is not None and all(getattr(there, field) == getattr(block, field) for field in kind.model_fields):
        return slug, "unchanged"
    block.save(name, overwrite=True)
    return slug, "created" if there is None else "updated"
