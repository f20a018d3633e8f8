"""What is imported from the top of the package."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
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


def test_a_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    source = tmp_path / "source"
    # A build leaves folders behind: not in the sources.
    names = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "prefect_imagen")
    for name in (*names, "blocks", "cli", "core", "deployments", "flows", "sandbox", "tasks"):
        target = source / name
        target.parent.mkdir(exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(
                root / name, target, ignore=shutil.ignore_patterns("__pycache__")
            )  # others compile meanwhile
        else:
            shutil.copy(root / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    command += [str(tmp_path), str(source)]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {Path(name).name for name in archive.namelist() if "core/review/static/" in name}
    assert packed == {path.name for path in (root / "core" / "review" / "static").iterdir()}
    assert {"index.html", "review.css", "review.js"} <= packed
