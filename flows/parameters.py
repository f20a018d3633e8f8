"""Documentation of flow parameters: written once, at the annotation, and shown in Prefect's forms as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

from pydantic.fields import FieldInfo

F = TypeVar("F", bound=Callable[..., Any])


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
