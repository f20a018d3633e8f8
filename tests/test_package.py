"""What is imported from the top of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import prefect_imagen
import pytest


def test_importing_it_is_light() -> None:
    code = """
import sys
import prefect_imagen
assert prefect_imagen.__version__
print([name for name in ("prefect", "sqlalchemy", "pydantic", "boto3", "requests") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_and_type_checkers_see_the_same() -> None:
    for name in prefect_imagen.__all__:
        assert getattr(prefect_imagen, name) is not None
    assert set(prefect_imagen.__all__) <= set(dir(prefect_imagen))
    assert prefect_imagen.__version__ == version("prefect-imagen")
    tree = ast.parse(Path(prefect_imagen.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == prefect_imagen._MODULE_OF


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        prefect_imagen.nonsense  # noqa: B018
