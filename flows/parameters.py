"""Parameters that several flows have; and their documentation: at the annotation, and so in Prefect's forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo

from ..blocks import ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.credentials import ApiCredentials
from ..core.request import Delivery, Limits, Policy

F = TypeVar("F", bound=Callable[..., Any])

Prompts = Annotated[
    str | list[str],
    Field(
        description="Path or s3:// URI of a TXT, CSV, TSV, JSONL or Parquet file of prompts; the prompts themselves; "
        "or a plan of `prefect-imagen plan --out`, which is executed exactly."
    ),
]
Store = Annotated[
    S3ImageStore | LocalImageStore | str,
    Field(description="Where images go: a saved store, `s3://bucket/prefix`, or a folder."),
]
Credentials = Annotated[
    ApiCredentials | None,
    Field(
        description="API and key. None: AIMLAPI_API_KEY of the environment, or the key of the provider that the model "
        "names."
    ),
]
Catalog = Annotated[
    ImageCatalog | str | None,
    Field(description="Ledger and catalog: a saved block, or the path of an SQLite file. None: this user's own."),
]
RunLimits = Annotated[Limits, Field(description="Calls in flight, calls a minute, size of a chunk.")]
RunPolicy = Annotated[Policy, Field(description="What to do with items that are unknown, refused, or not delivered.")]
RunDelivery = Annotated[Delivery, Field(description="Names of objects, patience, what is kept on disk.")]


def document_parameters(function: F) -> F:
    """Put the descriptions of annotated parameters into the docstring: Prefect's forms take them from there only.

    Example:
        >>> from pydantic import Field
        >>> @document_parameters
        ... def paint(colour: Annotated[str, Field(description="Any colour.")]) -> None:
        ...     "Paint it."
        >>> print(paint.__doc__)
        Paint it.
        <BLANKLINE>
        Args:
            colour: Any colour.
    """
    arguments = [
        f"    {name}: {note.description}"
        for name, hint in get_type_hints(function, include_extras=True).items()
        if get_origin(hint) is Annotated
        for note in hint.__metadata__
        if isinstance(note, FieldInfo) and note.description
    ]
    text, separator, rest = (inspect.getdoc(function) or "").partition("\n\nReturns:")
    function.__doc__ = "\n".join([text, "", "Args:", *arguments]) + separator + rest
    return function
