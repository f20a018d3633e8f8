"""All SQL is in core/ledger: no other module imports SQLAlchemy or the tables, or takes a connection."""

from __future__ import annotations

import ast
from pathlib import Path

import prefect_imagen.core

_CORE = Path(prefect_imagen.core.__file__).parent
_PARTS = ("core", "blocks", "tasks", "flows", "cli", "sandbox", "deployments")
_INNER = ("ledger.schema", "ledger.engine", "ledger.database", "ledger.writer")


def _modules() -> list[Path]:
    folders = [_CORE.parent / part for part in _PARTS]
    return [path for folder in folders for path in folder.rglob("*.py") if _CORE / "ledger" not in path.parents]


def _imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_sql_outside_the_ledger() -> None:
    modules = _modules()
    assert len(modules) > 100
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in _imported(tree):
            assert name.partition(".")[0] != "sqlalchemy", path
            assert not name.endswith(_INNER), path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                opens = node.func.attr in {"read", "ask", "write", "write_together", "write_apart"}
                assert not (opens and owner.endswith("ledger")), f"{path}: {ast.unparse(node)}"
