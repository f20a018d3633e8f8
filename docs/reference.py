"""Writes the API reference from the docstrings: `python docs/reference.py FOLDER`, which `make docs` calls.

A warning is an error: a docstring or an annotation that cannot be read ends it with exit code 1.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pdoc
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


def _show_functions(name: str) -> None:
    """Put the functions in the place of flows and tasks, which pdoc would show as objects without parameters."""
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        function = getattr(getattr(module, public), "fn", None)
        if function is not None:
            setattr(module, public, function)


def main(folder: str) -> None:
    """Write the pages."""
    for name in MODULES:
        _show_functions(name)
    warnings.simplefilter("error")
    pdoc.render.configure(docformat="google", include_undocumented=False, search=True)
    pdoc.pdoc(*MODULES, output_directory=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
