"""No module of the package imports, directly or through others, a module that imports it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("core", "blocks", "tasks", "flows", "cli", "sandbox", "deployments")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below `prefect_imagen`."""
    files = (path for part in PARTS for path in (ROOT / part).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports, in functions, too, but for types alone. Its own packages are left out."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                target = ".".join([*base, alias.name])
                found = target if target in known else ".".join(base)
                if found in known and not f"{name}.".startswith(f"{found}."):
                    yield found


def test_no_circles() -> None:
    known = modules()
    TopologicalSorter({name: set(imported(name, path, known)) for name, path in known.items()}).prepare()
