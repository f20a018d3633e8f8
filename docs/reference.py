"""Writes the API reference from the docstrings: `python docs/reference.py FOLDER`, which `make docs` calls.

A warning is an error: a docstring or an annotation that cannot be read ends it with exit code 1.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pdoc
import pdoc.doc_ast
import pdoc.render

MODULES = [
    "prefect_imagen",
    "prefect_imagen.blocks",
    "prefect_imagen.flows",
    "prefect_imagen.flows.events",
    "prefect_imagen.tasks",
    "prefect_imagen.core.request",
    "prefect_imagen.core.errors",
    "prefect_imagen.core.ledger",
    "prefect_imagen.core.prompts",
    "prefect_imagen.core.storage",
    "prefect_imagen.sandbox",
]


def _show_members(name: str) -> None:
    """Load what a module loads lazily, and put the functions in the place of flows and tasks.

    pdoc would not find the former, and would show the latter as objects without parameters.
    """
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        member = getattr(module, public)
        setattr(module, public, getattr(member, "fn", member))


def _show_comments() -> None:
    """Take the comment behind a field of a class as the field's documentation, where it has no other."""
    walk = pdoc.doc_ast.walk_tree

    def walk_with_comments(obj: Any) -> pdoc.doc_ast.AstInfo:
        info = walk(obj)
        if isinstance(obj, type):
            for name, comment in re.findall(r"^    (\w+): .*?  # (.+)$", pdoc.doc_ast.get_source(obj), re.MULTILINE):
                info.var_docstrings.setdefault(name, comment[0].upper() + comment[1:])
        return info

    pdoc.doc_ast.walk_tree = walk_with_comments


def main(folder: str) -> None:
    """Write the pages."""
    for name in MODULES:
        _show_members(name)
    _show_comments()
    warnings.simplefilter("error")
    pdoc.render.configure(docformat="google", include_undocumented=False, search=True)
    pdoc.pdoc(*MODULES, output_directory=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
